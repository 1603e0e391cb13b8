"""Data that was declared to be another format: the fault names its place and the likely format."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from decoding import RECORDIO, rows
from runtime.formats import Schema, read_channel
from runtime.formats.errors import FormatError
from runtime.formats.recordio import frame, record_class
from runtime.formats.sniff import guess
from test_formats_binary import npy, record

pyarrow = pytest.importorskip("pyarrow")
pyarrow_parquet = pytest.importorskip("pyarrow.parquet")


def parquet() -> bytes:
    stream = io.BytesIO()
    pyarrow_parquet.write_table(pyarrow.table({"y": [1, 0], "a": [2.5, 3], "b": [4, 5]}), stream)
    return stream.getvalue()


def labelled() -> bytes:
    message = record_class()()
    message.label["values"].float32_tensor.values.append(1)
    message.features["values"].float32_tensor.values.extend([1, 2])
    return frame(message.SerializeToString())


TRAINING = {
    "csv": b"1,2.5,4\n0,3,5\n",
    "csv with header": b"y,a,b\n1,2.5,4\n0,3,5\n",
    "csv with spaces": b"1 2.5 4\n0 3 5\n",
    "csv with semicolons": b"1;2.5;4\n0;3;5\n",
    "libsvm": b"1 1:2.5 2:4\n0 1:3 2:5\n",
    "libsvm with qid": b"1 qid:1 1:2.5\n0 qid:1 1:3\n",
    "jsonlines": b"[1,2.5,4]\n[0,3,5]\n",
    "jsonlines by name": b'{"label":1,"a":2}\n{"label":0,"a":3}\n',
    "json": json.dumps([[1, 2], [3, 4]], indent=1).encode(),
    "parquet": parquet(),
    "recordio-protobuf": labelled() * 2,
    "npy": npy(np.zeros((2, 3))),
}
DECLARED = ["csv", "libsvm", "jsonlines", "parquet", "recordio-protobuf"]
NAMES = {"csv": "CSV", "json": "JSON", "jsonlines": "JSON Lines", "parquet": "Parquet"}


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("actual", TRAINING)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_training_files_of_another_format_are_refused_with_its_name(
    tmp_path: Path, actual: str, declared: str, zipped: bool
) -> None:
    kind = actual.partition(" ")[0]
    content = TRAINING[actual]
    (tmp_path / "part").write_bytes(gzip.compress(content) if zipped else content)
    if kind == declared:
        assert len(read_channel(tmp_path, declared, "csv")) == 2
        return
    with pytest.raises(FormatError) as caught:
        read_channel(tmp_path, declared, "csv")
    assert f"{tmp_path.name}/part: " in str(caught.value)
    found = f"not {NAMES.get(declared, declared)}: is this {NAMES.get(kind, kind)}?"
    assert str(caught.value).endswith(found)


REQUESTS = {
    "csv": (b"1,2.5,4\n0,3,5\n", "text/csv"),
    "libsvm": (b"1 0:2.5 2:4\n0 1:3 2:5\n", "text/libsvm"),
    "jsonlines": (b"[1,2.5,4]\n[0,3,5]\n", "application/jsonlines"),
    "json": (b'{"instances": [\n[1, 2, 3]]}', "application/json"),
    "npy": (npy(np.zeros((2, 3))), "application/x-npy"),
    "parquet": (parquet(), "application/x-parquet"),
    "recordio-protobuf": (record([1, 2, 3]), RECORDIO),
}


@pytest.mark.parametrize("declared", REQUESTS)
@pytest.mark.parametrize("actual", REQUESTS)
def test_requests_of_another_format_are_refused_with_its_name(actual: str, declared: str) -> None:
    body, content_type = REQUESTS[actual][0], REQUESTS[declared][1]
    if actual == declared:
        assert rows(body, content_type, Schema(3)).shape[1] == 3
        return
    with pytest.raises(FormatError) as caught:
        rows(body, content_type, Schema(3))
    assert str(caught.value).endswith(f"is this {NAMES.get(actual, actual)}?")


def test_a_gzip_body_without_its_header_is_recognized() -> None:
    with pytest.raises(FormatError, match="Content-Encoding: gzip"):
        rows(gzip.compress(b"1,2,3"), "text/csv")


@pytest.mark.parametrize(
    ("head", "declared"),
    [
        (b"1,x,3\n", "csv"),
        (b"a,b\n1,2\n", "csv"),
        (b"[1,x]", "jsonlines"),
        (b"[1,x]", "json"),
        (b"x 1:2", "libsvm"),
        (b"", "csv"),
        (b"\xff\xfe\x00", "csv"),
        (b"hello", "libsvm"),
        (b"\n\n", "parquet"),
    ],
)
def test_no_other_format_is_suggested_without_evidence(head: bytes, declared: str) -> None:
    assert guess(head, declared) == ""


def test_a_label_of_libsvm_is_one_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1 0:1\n0,5 0:1 1:2\n")
    with pytest.raises(FormatError, match=r"a: row 2, column 1: '0,5' is not a number"):
        read_channel(tmp_path, "libsvm", "csv")
