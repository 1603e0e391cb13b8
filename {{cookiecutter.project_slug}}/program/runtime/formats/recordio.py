"""application/x-recordio-protobuf: records of SageMaker's aialgs.data.Record message.

A record is a magic number, a length, that many bytes, and padding to four bytes. The message is
documented at docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html; it is described here with
the protobuf library, so that no generated file is needed.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from runtime.formats import numbers
from runtime.formats.errors import DecodeError, FormatError
from runtime.formats.table import (
    LARGEST_INDEX,
    Floats,
    Reading,
    Rows,
    Schema,
    Table,
    blank,
    positions,
)

MAGIC = 0xCED7230A
HEADER = struct.Struct("<II")
LENGTH_BITS = 29  # the upper three bits of the length tell parts of a record that was split
BLOCK_ROWS = 16384
RECORD_CELLS = 256  # of a matrix, that reading a record takes as long as
TENSORS = {
    "float32_tensor": ("Float32Tensor", 2, "TYPE_FLOAT"),
    "float64_tensor": ("Float64Tensor", 3, "TYPE_DOUBLE"),
    "int32_tensor": ("Int32Tensor", 7, "TYPE_INT32"),
}


@cache
def record_class() -> Any:
    """Return the class of the Record message.

    The first one who needs it imports the protobuf library: most jobs and servers never do.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package="aialgs.data")

    def add(
        message: Any, name: str, number: int, kind: str, target: str = "", label: str = "OPTIONAL"
    ) -> Any:
        field = message.field.add(name=name, number=number, type=types.Type.Value(kind))
        field.label = types.Label.Value(f"LABEL_{label}")
        if target:
            field.type_name = f".aialgs.data.{target}"
        return field

    value = descriptor_pb2.DescriptorProto(name="Value")
    value.oneof_decl.add(name="value")
    for field_name, (tensor_name, number, kind) in TENSORS.items():
        tensor = file.message_type.add(name=tensor_name)
        for name, tag, element in (
            ("values", 1, kind),
            ("keys", 2, "TYPE_UINT64"),
            ("shape", 3, "TYPE_UINT64"),
        ):
            add(tensor, name, tag, element, label="REPEATED").options.packed = True
        add(value, field_name, number, "TYPE_MESSAGE", tensor_name).oneof_index = 0
    text = file.message_type.add(name="Bytes")
    add(text, "value", 1, "TYPE_BYTES", label="REPEATED")
    add(text, "content_type", 2, "TYPE_STRING")
    add(value, "bytes", 9, "TYPE_MESSAGE", "Bytes").oneof_index = 0
    file.message_type.append(value)
    record = file.message_type.add(name="Record")
    for name, number, entry_name in (("features", 1, "FeaturesEntry"), ("label", 2, "LabelEntry")):
        entry = record.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        add(entry, "key", 1, "TYPE_STRING")
        add(entry, "value", 2, "TYPE_MESSAGE", "Value")
        add(record, name, number, "TYPE_MESSAGE", f"Record.{entry_name}", "REPEATED")
    for number, name in enumerate(("uid", "metadata", "configuration"), 3):
        add(record, name, number, "TYPE_STRING")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aialgs.data.Record"))


def frame(payload: bytes) -> bytes:
    """Return `payload` as a record."""
    return HEADER.pack(MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)


def payloads(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of each record. Raises DecodeError at damaged framing."""
    while head := stream.read(HEADER.size):
        magic, length = HEADER.unpack(head) if len(head) == HEADER.size else (0, 0)
        if magic != MAGIC or length >> LENGTH_BITS:
            raise DecodeError("no record starts here: wrong magic number, or a split record")
        payload = stream.read(length)
        if len(payload) != length or len(stream.read(-length % 4)) != -length % 4:
            raise DecodeError("the last record is cut off")
        yield payload


def label_record(label: Mapping[str, Any]) -> bytes:
    """Return the message that has `label`'s numbers (or texts) by key."""
    record = record_class()()
    for key, value in label.items():
        array = np.atleast_1d(value)
        if array.dtype.kind == "U":
            record.label[key].bytes.value.extend(text.encode() for text in array.tolist())
        else:
            record.label[key].float32_tensor.values.extend(array.tolist())
    return bytes(record.SerializeToString())


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request; labels are ignored."""
    if (values := alike(body)) is not None:
        return Rows(numbers.narrow(values.astype(np.float64)))
    most = schema.max_cells // RECORD_CELLS
    if next(islice(payloads(io.BytesIO(body)), most, None), None) is not None:
        raise DecodeError(f"more than {most} records at once; send fewer rows", expected=most)
    source, blocks, start = payloads(io.BytesIO(body)), [], 0
    while block := list(islice(source, BLOCK_ROWS)):
        try:
            blocks.append(rows_of(block, schema))
        except FormatError as error:
            error.row = error.row and error.row + start
            raise
        if blocks[-1].shape[1] != blocks[0].shape[1]:
            raise DecodeError(
                f"{blocks[-1].shape[1]} values where the first row has {blocks[0].shape[1]}",
                row=start + 1,
            )
        start += len(block)
    return Rows(blocks[0] if len(blocks) == 1 else np.concatenate(blocks))


def alike(body: bytes) -> NDArray[np.float32] | None:
    """Return the values of dense float32 records that differ in nothing else, float32 [n, columns].

    None where they differ, or where the first is not such a record: then they are read one by one.
    """
    magic, length = HEADER.unpack_from(body) if len(body) >= HEADER.size else (0, 0)
    stride = HEADER.size + length + -length % 4
    if magic != MAGIC or len(body) < 2 * stride or len(body) % stride:
        return None
    payload = body[HEADER.size : HEADER.size + length]
    values = values_of(payload)
    start = payload.find(values.tobytes()) if values is not None and len(values) else -1
    if values is None or start < 0:
        return None
    # Other numbers in this place must be what a reader of the message finds.
    marks = np.arange(1, len(values) + 1, dtype="<f4") / 4
    marked = payload[:start] + marks.tobytes() + payload[start + values.nbytes :]
    if (found := values_of(marked)) is None or not np.array_equal(found, marks):
        return None
    records = np.frombuffer(body, np.uint8).reshape(-1, stride)
    first, last = HEADER.size + start, HEADER.size + start + values.nbytes
    for part in (records[:, :first], records[:, last:]):
        if not (part == part[0]).all():
            return None
    return np.ascontiguousarray(records[:, first:last]).view("<f4")


def values_of(payload: bytes) -> NDArray[np.float32] | None:
    """Return the numbers of a record's dense float32 tensor; None where it has no such tensor."""
    from google.protobuf.message import DecodeError as MessageError

    try:
        entries = record_class().FromString(payload).features
    except MessageError:
        return None
    if "values" not in entries or entries["values"].WhichOneof("value") != "float32_tensor":
        return None
    tensor = entries["values"].float32_tensor
    return None if is_sparse(tensor) else np.array(tensor.values, "<f4")


def rows_of(block: list[bytes], schema: Schema) -> Floats:
    """Return the rows of some records, float32 [records, columns]."""
    records = parse_records(block)
    tensors = [tensor_of(record.features, row) for row, record in enumerate(records, 1)]
    if not any(map(is_sparse, tensors)):
        return dense(tensors)
    values = blank(len(tensors), schema)
    for row, tensor in enumerate(tensors, 1):
        keys, cells = pairs_of(tensor, row)
        values[row - 1, positions(keys, schema.num_features, row)] = cells
    return numbers.finite(values)


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file: dense, or sparse with column 0 as key 0."""
    source = payloads(stream)
    while block := list(islice(source, BLOCK_ROWS)):
        records = parse_records(block)
        tensors = [tensor_of(record.features, row) for row, record in enumerate(records, 1)]
        labels = dense([tensor_of(record.label, row) for row, record in enumerate(records, 1)])
        if labels.shape[1] != 1:
            raise DecodeError("a label is one number", row=1, found=labels.shape[1])
        if any(map(is_sparse, tensors)):
            yield Table(sparse(tensors), labels=labels[:, 0], index_base=0)
        else:
            yield Table(dense(tensors), labels=labels[:, 0])


def parse_records(block: list[bytes]) -> list[Any]:
    """Return the Record of each payload. Raises DecodeError naming the row."""
    from google.protobuf.message import DecodeError as MessageError

    records, parse = [], record_class().FromString
    for row, payload in enumerate(block, 1):
        try:
            records.append(parse(payload))
        except MessageError:
            raise DecodeError("the record is not a protobuf message", row=row) from None
    return records


def tensor_of(entries: Any, row: int) -> Any:
    """Return the number tensor under `values`. Raises DecodeError."""
    kind = entries["values"].WhichOneof("value") if "values" in entries else None
    if kind not in TENSORS:
        raise DecodeError("no tensor of float32, float64 or int32 under 'values'", row=row)
    return getattr(entries["values"], kind)


def is_sparse(tensor: Any) -> bool:
    """Whether `tensor` has keys; one with a shape alone has no cell set."""
    return bool(tensor.keys) or (bool(tensor.shape) and not tensor.values)


def dense(tensors: list[Any]) -> Floats:
    """Return the values as float32 [tensors, columns]."""
    width = len(tensors[0].values) if tensors else 0
    for row, tensor in enumerate(tensors, 1):
        if len(tensor.values) != width:
            raise DecodeError(
                f"{len(tensor.values)} values where the first row has {width}",
                row=row,
                expected=width,
                found=len(tensor.values),
            )
    cells = chain.from_iterable(tensor.values for tensor in tensors)
    return numbers.narrow(np.fromiter(cells, np.float64).reshape(len(tensors), width))


def pairs_of(tensor: Any, row: int) -> tuple[list[int], list[float]]:
    """Return the keys and the values of a sparse tensor. Raises DecodeError."""
    if len(tensor.keys) != len(tensor.values):
        raise DecodeError("as many keys as values are needed", row=row)
    return list(tensor.keys), list(tensor.values)


def sparse(tensors: list[Any]) -> csr_matrix:
    """Return sparse tensors as float32 [tensors, columns], as wide as the widest shape or key."""
    pairs = [pairs_of(tensor, row) for row, tensor in enumerate(tensors, 1)]
    widths = [max([*tensor.shape[-1:], *(key + 1 for key in tensor.keys)]) for tensor in tensors]
    width = max(widths)
    if width > LARGEST_INDEX + 1:
        raise DecodeError(
            f"a shape or key of {width} is beyond {LARGEST_INDEX}, the last column of XGBoost",
            row=widths.index(width) + 1,
        )
    indices = [positions(keys, width, row) for row, (keys, _) in enumerate(pairs, 1)]
    cells = np.fromiter(chain.from_iterable(values for _, values in pairs), np.float64)
    indptr = np.cumsum([0, *map(len, indices)])
    data = numbers.narrow(cells.reshape(-1, 1))[:, 0]
    return csr_matrix((data, np.concatenate(indices), indptr), shape=(len(tensors), width))
