"""npy and RecordIO requests become the model's matrix, or a clear fault."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
import pytest

from decoding import NAN, rows, same
from runtime.formats import recordio
from runtime.formats.errors import ColumnsError, DecodeError
from runtime.formats.recordio import frame, record_class

RECORDIO = "application/x-recordio-protobuf"


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def record(
    values: list[float],
    keys: tuple[int, ...] = (),
    kind: str = "float32_tensor",
    shape: int = 0,
) -> bytes:
    message = record_class()()
    tensor = getattr(message.features["values"], kind)
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend([shape] if shape else [])
    return frame(message.SerializeToString())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("1,2", "text/csv"),
        ("1,2,3,4", "text/csv"),
        ('{"instances":[[1,2]]}', "application/json"),
        ("[1,2,3,4]\n", "application/jsonlines"),
        (npy(np.zeros((2, 5))), "application/x-npy"),
        (record([1, 2]), RECORDIO),
    ],
)
def test_another_number_of_columns_is_told(body: bytes | str, content_type: str) -> None:
    with pytest.raises(ColumnsError, match="the model has 3") as caught:
        rows(body, content_type)
    assert caught.value.expected == 3


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<i4", "u1", "?", "<f2", ">i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_number_type_is_read(dtype: str, order: Any) -> None:
    array = np.asarray([[1, 0, 1], [0, 1, 1]], dtype, order=order)
    same(rows(npy(array), "application/x-npy"), [[1, 0, 1], [0, 1, 1]])
    same(rows(npy(array[0]), "application/x-npy"), [[1, 0, 1]])


@pytest.mark.parametrize(
    "body",
    [
        npy(np.array([[1, None, 3]], object)),
        npy(np.array([["1", "2", "3"]])),
        npy(np.zeros((1, 3), complex)),
        npy(np.zeros((1, 3, 1))),
        npy(np.float32(1)),
        npy(np.array([[1, np.inf, 3]])),
        npy(np.array([[1, 1e39, 3]])),
        npy(np.zeros((2, 3)))[:-1],
        npy(np.zeros((2, 3))) + b"\0",
        npy(np.zeros((2, 3)))[:9],
        npy(np.zeros((2, 3))).replace(b"(2, 3)", b"(2,-3)"),
        npy(np.zeros((2, 3))).replace(b"(2, 3)", b"exit()"),
        npy(np.zeros((2, 3))).replace(b"<f8", b"<zz"),
        b"\x93NUMPY\x07\x00" + bytes(200),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535,
        pickle.dumps([1, 2, 3]),
        b"1,2,3",
    ],
)
def test_npy_that_is_no_matrix_of_numbers_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="Loading npy data failed"):
        rows(body, "application/x-npy")


@pytest.mark.parametrize("kind", ["float32_tensor", "float64_tensor", "int32_tensor"])
def test_recordio_tensors_of_every_type_are_read(kind: str) -> None:
    dense = record([1, 2, 3], kind=kind) + record([4, 5, 6], kind=kind, shape=3)
    same(rows(dense, RECORDIO), [[1, 2, 3], [4, 5, 6]])
    sparse = record(
        [7, 8],
        (
            2,
            0,
        ),
        kind,
    ) + record([], shape=3, kind=kind)
    same(rows(sparse, RECORDIO), [[8, NAN, 7], [NAN] * 3])


def test_recordio_written_by_hand_is_read() -> None:
    """Bytes as the published format has them: no library took part."""
    packed = struct.pack("<3f", 1, 2, 3)
    tensor = b"\x0a" + bytes([len(packed)]) + packed  # Float32Tensor.values
    value = b"\x12" + bytes([len(tensor)]) + tensor  # Value.float32_tensor
    entry = b"\x0a\x06values\x12" + bytes([len(value)]) + value
    message = b"\x0a" + bytes([len(entry)]) + entry  # Record.features
    padding = bytes(-len(message) % 4)
    body = struct.pack("<II", 0xCED7230A, len(message)) + message + padding
    same(rows(body * 2, RECORDIO), [[1, 2, 3]] * 2)


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 40,
        record([1, 2, 3])[:-1],
        record([1, 2, 3])[:5],
        frame(b"\xff\xff\xff"),
        frame(b""),
        record([1, 2, 3]) + record([1, 2]),
        record([1, 2, NAN]) + record([1, 2, np.inf]),
        record([1, 2], (1,)),
        record(
            [1, 2],
            (
                1,
                1,
            ),
        ),
        record([1e39, 2, 3], kind="float64_tensor"),
    ],
)
def test_recordio_that_is_damaged_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="Loading recordio-protobuf data failed"):
        rows(body, RECORDIO)


@pytest.mark.parametrize("seed", range(40))
def test_records_that_are_alike_are_read_as_those_that_are_not(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read at once or one by one: zeros, numbers given twice, labels, missing values, shapes."""
    random = np.random.default_rng(seed)
    values = random.choice([0.0, 1.0, -0.0, 0.25, np.nan, 3e38, 1e-45], (5, 3)).astype(np.float32)
    body = b""
    for row in values:
        message = recordio.record_class()()
        tensor = message.features["values"].float32_tensor
        tensor.values.extend(row.tolist())
        if seed % 3 == 1:
            tensor.shape.append(3)
        if seed % 3 == 2:  # numbers that look like the row's own, elsewhere in the record
            message.label["values"].float32_tensor.values.extend(values[0].tolist())
        body += recordio.frame(message.SerializeToString())
    assert recordio.alike(body) is not None
    quick = rows(body, RECORDIO)
    monkeypatch.setattr(recordio, "alike", lambda body: None)
    np.testing.assert_array_equal(quick, rows(body, RECORDIO))
    np.testing.assert_array_equal(quick, values)


def test_records_of_one_length_that_differ_are_not_taken_for_alike() -> None:
    messages = []
    for key in ("values", "valuez"):
        message = recordio.record_class()()
        message.features[key].float32_tensor.values.extend([1, 2])
        messages.append(recordio.frame(message.SerializeToString()))
    assert len(set(map(len, messages))) == 1
    assert recordio.alike(b"".join(messages)) is None
    with pytest.raises(DecodeError, match="under 'values'"):
        rows(b"".join(messages), RECORDIO)
