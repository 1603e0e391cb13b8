"""Training channels: every format, many files, and faults that name file, row and column."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import dump_svmlight_file

from locations import PROGRAM
from runtime.formats import iterate_channel, read_channel
from runtime.formats.errors import ColumnsError, DecodeError, FormatError, MediaTypeError
from runtime.formats.recordio import frame, record_class
from runtime.formats.table import Table

GENERATOR = np.random.default_rng(5)
FEATURES = GENERATOR.normal(size=(300, 4)).astype(np.float32)
FEATURES[GENERATOR.random(FEATURES.shape) < 0.1] = np.nan
LABELS = (GENERATOR.random(300) < 0.5).astype(np.float32)
NAMES = ("age", "bmi", "blood, pressure", "s1")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def csv_text(delimiter: str = ",", header: bool = False, quoting: Any = csv.QUOTE_MINIMAL) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    if header:
        writer.writerow(("target", *NAMES))
    for row, label in zip(FEATURES, LABELS, strict=True):
        writer.writerow([str(label), *("" if np.isnan(cell) else str(cell) for cell in row)])
    return stream.getvalue()


def same(table: Table, features: np.ndarray = FEATURES, labels: np.ndarray = LABELS) -> None:
    found = table.features
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found if isinstance(found, np.ndarray) else dense(found), features
    )
    assert table.labels is not None
    np.testing.assert_array_equal(table.labels, labels, strict=True)


def dense(matrix: csr_matrix) -> np.ndarray:
    """Return `matrix` with NaN where no cell is set."""
    coordinates = matrix.tocoo()
    values = np.full(matrix.shape, np.nan, np.float32)
    values[coordinates.row, coordinates.col] = coordinates.data
    return values


def recordio(sparse: bool) -> bytes:
    body = b""
    for row, label in zip(FEATURES, LABELS, strict=True):
        message = record_class()()
        message.label["values"].float32_tensor.values.append(label)
        tensor = message.features["values"].float32_tensor
        keep = np.flatnonzero(~np.isnan(row)) if sparse else np.arange(4)
        tensor.values.extend(row[keep].tolist())
        if sparse:
            tensor.keys.extend(keep.tolist())
            tensor.shape.append(4)
        body += frame(message.SerializeToString())
    return body


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_csv_of_every_dialect_is_read(
    tmp_path: Path, delimiter: str, header: bool, quoting: Any
) -> None:
    write(tmp_path / "train" / "part.csv", csv_text(delimiter, header, quoting))
    table = read_channel(tmp_path / "train", "text/csv; label_size=1", "libsvm")
    same(table)
    assert table.names == (NAMES if header else None)
    assert isinstance(table.features, np.ndarray)
    assert table.features.flags.c_contiguous


def test_csv_weights_are_column_one(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "y,w,f\n1,0.5,7\n0,2,\n")
    table = read_channel(tmp_path, "csv", "csv", csv_weights=True)
    assert (table.labels.tolist(), table.weights.tolist()) == ([1, 0], [0.5, 2])  # type: ignore[union-attr]
    np.testing.assert_array_equal(table.features, np.float32([[7], [np.nan]]))
    assert table.names == ("f",)


def test_files_in_nested_folders_are_one_table_and_markers_are_ignored(tmp_path: Path) -> None:
    lines = csv_text().splitlines(keepends=True)
    write(tmp_path / "a.csv", "".join(lines[:100]).rstrip("\n"))
    write(tmp_path / "b" / "c" / "part-0.csv.gz", gzip.compress("".join(lines[100:200]).encode()))
    write(tmp_path / "z", "".join(lines[200:]).replace("\n", "\r\n"))
    for name in ("_SUCCESS", ".part.crc", "empty.csv", "_temporary/0/x.csv", ".hidden/y.csv"):
        write(tmp_path / name, "" if name in {"_SUCCESS", "empty.csv"} else "not data")
    same(read_channel(tmp_path, None, "csv"))


def test_a_channel_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    assert len(read_channel(tmp_path, "csv", "csv")) == 0
    write(tmp_path / "only-a-header.csv", "y,a,b\n")
    assert len(read_channel(tmp_path, "csv", "csv")) == 0


def test_a_validation_channel_takes_the_order_of_the_names(tmp_path: Path) -> None:
    write(tmp_path / "v.csv", "y,b,a\n1,2,3\n")
    table = read_channel(tmp_path, "csv", "csv", names=("a", "b"), num_features=2)
    assert table.features.tolist() == [[3, 2]]
    assert table.names == ("a", "b")
    with pytest.raises(ColumnsError, match=r"v\.csv: .*unknown: b; missing: c"):
        read_channel(tmp_path, "csv", "csv", names=("a", "c"), num_features=2)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("1,2,3\n1,x,3\n", "f.csv: row 2, column 2: 'x' is not a number"),
        ("1,2,3\n1,2\n", "f.csv: row 2: 2 cells where the first row has 3"),
        ("1,2,3\n,2,3\n", "f.csv: row 2, column label: the label is missing"),
        ("1,2,3\n1,2,1e39\n", "f.csv: row 2, column 3: infinite"),
        ("y,a,\n1,2,3\n", "f.csv: column 3: header row: the column has no name"),
        ("y,a,a\n1,2,3\n", "f.csv: column 3: header row: duplicate name 'a'"),
        ("y,a,2\n1,2,3\n", "f.csv: row 1, column 1: 'y' is not a number"),
        ("1\n2\n", "f.csv: row 1: a training row needs a label and features"),
        (b"1,2,3\n1,\xff,3\n", "f.csv: row 2, column 2"),
        (gzip.compress(b"1,2,3\n" * 9, mtime=0)[:-12], "f.csv: the gzip data is damaged"),
        ("1,2,3\n" * 90_000 + "1,2,y\n", "f.csv: row 90001, column 3: 'y'"),
    ],
)
def test_csv_faults_name_file_row_and_column(
    tmp_path: Path, content: str | bytes, place: str
) -> None:
    write(tmp_path / "a.csv", "1,2,3\n")
    write(tmp_path / "f.csv", content)
    with pytest.raises(FormatError) as caught:
        read_channel(tmp_path, "csv", "csv")
    assert str(caught.value).startswith(f"{tmp_path.name}/{place}")


def test_files_of_different_widths_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "1,2,3\n")
    write(tmp_path / "b.csv", "1,2,3,4\n")
    with pytest.raises(ColumnsError, match=r"b\.csv: 3 feature columns where 2 are expected"):
        read_channel(tmp_path, "csv", "csv")


@pytest.mark.parametrize("base", [0, 1])
def test_libsvm_index_base_is_found_over_the_whole_channel(tmp_path: Path, base: int) -> None:
    filled = np.nan_to_num(FEATURES)
    filled[:100, 0] = 0  # the first file does not show the base
    groups = np.repeat(np.arange(30), 10)
    for start in (0, 100, 200):
        part = slice(start, start + 100)
        dump_svmlight_file(
            filled[part],
            LABELS[part],
            str(tmp_path / f"{start}.svm"),
            zero_based=base == 0,
            query_id=groups[part],
        )
    table = read_channel(tmp_path, "text/x-libsvm", "csv")
    assert table.index_base == base
    np.testing.assert_allclose(table.features.toarray(), filled, rtol=1e-6)  # type: ignore[union-attr]
    np.testing.assert_array_equal(table.labels, LABELS)
    np.testing.assert_array_equal(table.query_ids, groups)
    blocks = list(iterate_channel(tmp_path, "libsvm", "csv", index_base=base, num_features=4))
    assert {block.features.shape[1] for block in blocks} == {4}


def test_a_validation_channel_replays_base_and_width_of_libsvm(tmp_path: Path) -> None:
    write(tmp_path / "v.svm", "1:0.25 2:5 # note\n0\t3:6   4:7\n\n0:2 9:1\n")
    table = read_channel(tmp_path, "libsvm", "csv", num_features=3, index_base=1)
    nan = np.nan
    expected = np.float32([[nan, 5, nan], [nan, nan, 6], [nan] * 3])
    np.testing.assert_array_equal(dense(table.features), expected)  # type: ignore[arg-type]
    assert table.weights is not None
    assert table.weights.tolist() == [0.25, 1, 2]
    zero_based = read_channel(tmp_path, "libsvm", "csv", num_features=12, index_base=0)
    assert dense(zero_based.features)[0, 2] == 5  # type: ignore[arg-type]
    write(tmp_path / "w.svm", "1 0:1\n")
    with pytest.raises(ColumnsError, match="index 0 where"):
        read_channel(tmp_path, "libsvm", "csv", num_features=3, index_base=1)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("1 1:2\nx 1:2\n", "row 2, column 1: 'x' is not a number"),
        ("1 1:2\n1 1:x\n", "row 2: '1:x' is not index:value"),
        ("1 1:2\n1 2\n", "row 2: '2' is not index:value"),
        ("1 qid:1 1:2\n1 1:2\n", "row 2: every row needs qid:N"),
        ("1:1 1:2\n1:-1 1:2\n", "row 2, column weight: the weight must be"),
        ("nan 1:2\n", "row 1, column label: the label is missing"),
    ],
)
def test_libsvm_faults_name_file_and_row(tmp_path: Path, content: str, fault: str) -> None:
    write(tmp_path / "f.svm", content)
    with pytest.raises(DecodeError) as caught:
        read_channel(tmp_path, "libsvm", "csv")
    assert str(caught.value).startswith(f"{tmp_path.name}/f.svm: {fault}")


@pytest.mark.parametrize("sparse", [False, True])
def test_recordio_is_read_dense_and_sparse(tmp_path: Path, sparse: bool) -> None:
    write(tmp_path / "train.pbr", recordio(sparse))
    write(tmp_path / "train2.pbr", gzip.compress(recordio(sparse)))
    table = read_channel(tmp_path, "application/x-recordio-protobuf", "csv")
    same(table, np.concatenate([FEATURES] * 2), np.concatenate([LABELS] * 2))
    assert isinstance(table.features, np.ndarray) is not sparse


def test_recordio_without_label_is_refused(tmp_path: Path) -> None:
    message = record_class()()
    message.features["values"].float32_tensor.values.append(1)
    write(tmp_path / "x", frame(message.SerializeToString()))
    with pytest.raises(DecodeError, match="row 1: no tensor"):
        read_channel(tmp_path, "recordio-protobuf", "csv")


def as_json(row: np.ndarray) -> list[float | None]:
    return [None if np.isnan(cell) else float(cell) for cell in row]


@pytest.mark.parametrize("form", ["array", "features", "names", "sparse"])
def test_json_lines_of_every_form_are_read(tmp_path: Path, form: str) -> None:
    lines = []
    for row, label in zip(FEATURES, LABELS.tolist(), strict=True):
        cells = as_json(row)
        present = [i for i, cell in enumerate(cells) if cell is not None]
        tensor = {"keys": present, "values": [cells[i] for i in present], "shape": [4]}
        forms: dict[str, Any] = {
            "array": [label, *cells],
            "features": {"label": label, "features": cells},
            "names": {**dict(zip(NAMES, cells, strict=True)), "label": label},
            "sparse": {"label": label, "data": {"features": tensor}},
        }
        lines.append(json.dumps(forms[form]))
    write(tmp_path / "a.jsonl", "\n".join(lines) + "\n")
    table = read_channel(tmp_path, "application/jsonlines", "csv")
    same(table)
    assert table.names == (NAMES if form == "names" else None)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"label":1,"a":2}\n{"a":2}\n', "row 2: no label"),
        ('{"label":1,"a":2}\n{"label":1,"b":2}\n', "the columns are not"),
        ('{"label":1,"a":2}\n{"label":null,"a":2}\n', "row 2, column label: the label is missing"),
        ("[1,2]\n[1,2\n", "row 2: unexpected end"),
        ("[1,2]\n[1,[2]]\n", "row 2, column 1"),
        ("[1,2]\n7\n", "row 2: no label"),
        (
            '{"label":1,"data":{"features":{"keys":[3],"values":[1]}}}\n',
            "row 1: a sparse instance needs its number of columns",
        ),
        (
            '{"label":1,"data":{"features":{"keys":[4],"values":[1],"shape":[4]}}}\n',
            "row 1: key 4 is not one of the 4 columns, 0 to 3",
        ),
        (
            '{"label":1,"data":{"features":{"keys":[1,1],"values":[1,1],"shape":[4]}}}\n',
            "row 1: duplicate key",
        ),
    ],
)
def test_json_lines_faults_name_file_and_row(tmp_path: Path, content: str, fault: str) -> None:
    write(tmp_path / "f.jsonl", content)
    with pytest.raises(FormatError) as caught:
        read_channel(tmp_path, "jsonlines", "csv")
    assert str(caught.value).startswith(f"{tmp_path.name}/f.jsonl: {fault}")
    assert str(caught.value).count("row ") == fault.count("row ")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-npy", "image/png"])
def test_formats_that_are_only_for_requests_are_refused(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(MediaTypeError):
        read_channel(tmp_path, content_type, "csv")


READ = """
import sys
from pathlib import Path
from runtime.formats import read_channel

def memory(name):  # proc(5): in kilobytes; of this program alone, unlike getrusage after exec
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

read_channel(Path(sys.argv[2]), "csv", "csv")  # what the reader itself needs, once
before = memory("VmRSS")
table = read_channel(Path(sys.argv[1]), "csv", "csv")
print(*table.features.shape, (memory("VmHWM") - before) / table.features.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_reading_needs_little_more_memory_than_the_matrix(tmp_path: Path) -> None:
    """By the memory of a process: tracemalloc counts moved pages twice under numpy 2.5."""
    line = b"1," + b",".join(b"%d.5" % i for i in range(28)) + b"\n"
    for name, rows in (("large", 400_000), ("small", 20_000)):
        write(tmp_path / name / "a.csv", line * rows)
    command = [sys.executable, "-c", READ, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROGRAM)
    rows, columns, share = done.stdout.split()
    assert (rows, columns) == ("400000", "28")
    assert float(share) < 1.5
