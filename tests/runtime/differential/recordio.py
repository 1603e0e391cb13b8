"""Records of aialgs.data.Record written and read by hand: independent of both programs under test.

https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

MAGIC = 0xCED7230A
FEATURES, LABEL = 1, 2  # fields of Record: maps from a name to a Value
FLOAT32, FLOAT64 = 2, 3  # fields of Value: a tensor of `values`, `keys` and `shape`
VALUES, KEYS, SHAPE = 1, 2, 3


def varint(number: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(
    values: Sequence[float], keys: Sequence[int] | None = None, size: int | None = None
) -> bytes:
    """Return a Value of float32; with `keys` and `size` a sparse one."""
    body = field(VALUES, struct.pack(f"<{len(values)}f", *values))
    if keys is not None:
        body += field(KEYS, b"".join(map(varint, keys)))
    if size is not None:
        body += field(SHAPE, varint(size))
    return field(FLOAT32, body)


def record(features: bytes, label: float | None = None) -> bytes:
    """Return a framed record with a Value of features and maybe a label."""

    def entry(value: bytes) -> bytes:
        return field(1, b"values") + field(2, value)

    message = field(FEATURES, entry(features))
    if label is not None:
        message += field(LABEL, entry(tensor([label])))
    return struct.pack("<II", MAGIC, len(message)) + message + b"\0" * (-len(message) % 4)


def dense(rows: np.ndarray, labels: np.ndarray | None = None) -> bytes:
    """Return a record for each row."""
    each = [None] * len(rows) if labels is None else [float(label) for label in labels]
    return b"".join(
        record(tensor(row.tolist()), label) for row, label in zip(rows, each, strict=True)
    )


def sparse(rows: np.ndarray, labels: np.ndarray | None = None) -> bytes:
    """Return a sparse record for each row; a NaN is not stored."""
    out = b""
    for index, row in enumerate(rows):
        keys = np.flatnonzero(~np.isnan(row)).tolist()
        label = None if labels is None else float(labels[index])
        out += record(tensor(row[keys].tolist(), keys, len(row)), label)
    return out


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field of a message that has length-delimited ones only."""
    at = 0

    def read() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, size = read() >> 3, read()
        yield number, message[at : at + size]
        at += size


def frames(body: bytes) -> Iterator[bytes]:
    """Yield the messages of a RecordIO body."""
    at = 0
    while at < len(body):
        magic, size = struct.unpack_from("<II", body, at)
        assert magic == MAGIC, f"no record at byte {at}"
        yield body[at + 8 : at + 8 + size]
        at += 8 + size + -size % 4


def labels_of(body: bytes) -> list[dict[str, list[float]]]:
    """Return the label map of each record of an answer: a list of floats for each key.

    Of a key that is repeated the last one counts, as protobuf has it.
    """
    entries = [[each for at, each in fields(message) if at == LABEL] for message in frames(body)]
    return [dict(sorted(dict(map(_entry, each)).items())) for each in entries]


def _entry(entry: bytes) -> tuple[str, list[float]]:
    parts = dict(fields(entry))
    ((kind, body),) = fields(parts[2])
    packed = b"".join(content for number, content in fields(body) if number == VALUES)
    return parts[1].decode(), np.frombuffer(packed, "<f4" if kind == FLOAT32 else "<f8").tolist()
