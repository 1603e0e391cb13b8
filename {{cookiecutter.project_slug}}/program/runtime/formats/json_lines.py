"""application/jsonlines: an instance a line, in the forms of `json_rows`.

A training line has the label first in its array, or under the key `label` of its object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from runtime.formats import numbers
from runtime.formats.errors import DecodeError
from runtime.formats.json_rows import dense, is_named, load, matrix, rows_of, tensor_of
from runtime.formats.table import Reading, Rows, Schema, Table
from runtime.formats.text import blocks, lines_of


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request."""
    text = lines_of(body)
    values = dense_lines(text)
    if values is not None:
        return Rows(numbers.narrow(values))
    return rows_of(load_lines(text), schema)


def dense_lines(text: bytes) -> numbers.Doubles | None:
    """Return lines that are arrays of plain numbers as float64 [lines, columns]; else None.

    One opening and one closing bracket a line, at its ends: no array goes on to the next line.
    """
    lines = text.count(b"\n") + 1
    ends = text[:1] == b"[" and text[-1:] == b"]" and text.count(b"]\n[") == lines - 1
    if not ends or text.count(b"[") != lines:
        return None
    return dense(b"[" + text.replace(b"\n", b",") + b"]")


def load_lines(text: bytes) -> list[Any]:
    """Parse each line. Raises DecodeError naming the line."""
    instances = []
    for row, line in enumerate(text.split(b"\n") if text else (), 1):
        try:
            instances.append(load(line))
        except DecodeError as error:
            error.row = row
            raise
    return instances


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file. The first object's keys name the columns."""
    schema = None
    for block in blocks(stream):
        text = lines_of(block)
        values = dense_lines(text)
        if values is not None:
            cells = numbers.narrow(values)
            yield Table(np.ascontiguousarray(cells[:, 1:]), labels=cells[:, 0].copy())
            continue
        instances = load_lines(text)
        if not instances:
            continue
        labels = [split_label(instance, row) for row, instance in enumerate(instances, 1)]
        schema = schema or schema_of(instances[0])
        rows = rows_of(instances, schema)
        yield Table(rows.values, labels=matrix([labels])[0], names=rows.names)


def split_label(instance: Any, row: int) -> Any:
    """Take the label out of `instance` and return it."""
    try:
        return instance.pop("label") if isinstance(instance, dict) else instance.pop(0)
    except (AttributeError, IndexError, KeyError):
        raise DecodeError(
            "no label: neither first in an array nor under 'label'", row=row
        ) from None


def schema_of(instance: Any) -> Schema:
    """Return what a first instance without its label says about the columns: those of objects by
    name, the shape of a sparse tensor. Raises DecodeError where that is missing."""
    if is_named(instance):
        return Schema(len(instance), tuple(instance))
    tensor = tensor_of(instance, 1)
    if isinstance(tensor, list):
        return Schema(len(tensor))
    try:
        return Schema(int(tensor["shape"][-1]))
    except (KeyError, TypeError, IndexError, ValueError, OverflowError):
        raise DecodeError(
            'a sparse instance needs its number of columns: "shape":[n]', row=1
        ) from None
