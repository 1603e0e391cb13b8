"""application/jsonlines: an instance a line, in the forms of `json_rows`.

A training line has the label first in its array, or under the key `label` of its object.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from runtime.formats import numbers
from runtime.formats.categories import NO_ENCODERS
from runtime.formats.errors import DecodeError, FormatError, NotANumberError
from runtime.formats.json_rows import (
    dense,
    is_named,
    load,
    matrix,
    rows_of,
    tensor_of,
)
from runtime.formats.strings import LABEL, Strings
from runtime.formats.table import (
    LARGEST_QUERY_ID,
    QUERY_ID,
    Reading,
    Rows,
    Schema,
    Table,
    check_names,
    check_size,
    query_id_fault,
)
from runtime.formats.text import blocks, line_of_row, lines_of, without_blank_lines

DECODE_BYTES = 1 << 20  # of a request: objects of Python are much larger than their text


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request."""
    text = lines_of(body)
    recoder = schema.categories.recoder() if schema.categories else None
    if not recoder and (values := dense_lines(text)) is not None:
        return Rows(numbers.narrow(values))
    encoders = recoder.encoders(schema.num_features) if recoder else NO_ENCODERS
    check_size(text.count(b"\n") + 1, schema)
    parts: list[Rows] = []
    for block in blocks(io.BytesIO(text), DECODE_BYTES):
        try:
            parts.append(rows_of(load_lines(block.removesuffix(b"\n")), schema, encoders))
            if recoder:
                recoder.rows += len(parts[-1].values)
        except FormatError as error:
            error.row = error.row and error.row + sum(len(part.values) for part in parts)
            raise
        if parts[-1].names != parts[0].names:
            raise DecodeError("arrays or tensors among objects by name")
        if parts[-1].values.shape[1] != parts[0].values.shape[1]:
            found, width = parts[-1].values.shape[1], parts[0].values.shape[1]
            raise DecodeError(f"a row of {found} cells where the first row has {width}")
    if not parts:
        return Rows.none(schema.num_features)
    every = np.concatenate([part.values for part in parts])
    return Rows(every, parts[0].names, recoder.unseen if recoder else ())


def dense_lines(text: bytes) -> numbers.Doubles | None:
    """Return lines that are arrays of plain numbers as float64 [lines, columns]; else None.

    One opening and one closing bracket a line, at its ends: no array goes on to the next line.
    """
    lines = text.count(b"\n") + 1
    ends = text[:1] == b"[" and text[-1:] == b"]" and text.count(b"]\n[") == lines - 1
    if not ends or text.count(b"[") != lines:
        return None
    return dense(b"[" + text.replace(b"\n", b",") + b"]")


def flat_objects(text: bytes) -> list[Any] | None:
    """Return lines that are objects without arrays, parsed at once; else None.

    Without a square bracket, what goes on from one line to the next is not JSON between commas.
    """
    lines = text.count(b"\n") + 1
    ends = text[:1] == b"{" and text[-1:] == b"}" and text.count(b"}\n{") == lines - 1
    if not ends or b"[" in text:
        return None
    try:
        instances: list[Any] = orjson.loads(b"[" + text.replace(b"\n", b",") + b"]")
    except orjson.JSONDecodeError:
        return None
    return instances if len(instances) == lines else None


def load_lines(text: bytes) -> list[Any]:
    """Parse each line. Raises DecodeError naming the line."""
    if (instances := flat_objects(text)) is not None:
        return instances
    instances = []
    for row, line in enumerate(text.split(b"\n") if text else (), 1):
        try:
            instances.append(load(line))
        except DecodeError as error:
            error.row = row
            raise
    return instances


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file. The first object's keys name the columns; `qid` holds
    query ids. Blank lines are no rows."""
    schema, queries = None, False
    for block in blocks(stream):
        text, strings = lines_of(block), reading.strings
        known = strings is not None and strings.columns
        if not known and (values := dense_lines(text)) is not None:
            cells = numbers.narrow(values)
            yield Table(np.ascontiguousarray(cells[:, 1:]), labels=cells[:, 0].copy())
            continue
        instances = load_lines(without_blank_lines(text))
        if not instances:
            continue
        labels = [take(instance, "label", row) for row, instance in enumerate(instances, 1)]
        if schema is None:
            queries = isinstance(instances[0], dict) and QUERY_ID in instances[0]
        ids = [take(line, QUERY_ID, row) for row, line in enumerate(instances, 1) if queries]
        schema = schema or schema_of(instances[0])
        encoders = strings.encoders(schema.num_features, schema.feature_names) if strings else {}
        try:
            rows = rows_of(instances, schema, encoders)
            found = encoders[LABEL](labels) if LABEL in encoders else matrix([labels])[0]
        except NotANumberError:
            if strings:
                raise_on_strings(instances, labels, schema, strings)
            raise
        yield Table(
            rows.values,
            labels=found,
            query_ids=query_ids_of(ids) if queries else None,
            names=rows.names,
        )


def raise_on_strings(
    instances: list[Any], labels: list[Any], schema: Schema, strings: Strings
) -> None:
    """Raise StringsFoundError if cells of the block are strings, and may be."""
    names = schema.feature_names
    rows = [
        [instance.get(name) for name in names] if names else tensor_of(instance, row)
        for row, instance in enumerate(instances, 1)
    ]
    cells = [row for row in rows if isinstance(row, list)]
    found = {column for row in cells for column, cell in enumerate(row) if type(cell) is str}
    strings.found(found | ({LABEL} if str in set(map(type, labels)) else set()), names)


def line_of(stream: BinaryIO, row: int) -> int:
    """Return the line of a training file that holds a row."""
    return line_of_row(stream, row, lambda line: bool(line.strip(b" ")))


def query_ids_of(ids: list[Any]) -> NDArray[np.int64]:
    """Return query ids as int64 [rows]. Raises DecodeError naming the row."""
    for row, number in enumerate(ids, 1):
        if type(number) is not int or not 0 <= number <= LARGEST_QUERY_ID:
            raise query_id_fault(row)
    return np.array(ids, np.int64)


def take(instance: Any, key: str, row: int) -> Any:
    """Take the label (first in an array) or the query id out of `instance` and return it."""
    try:
        return instance.pop(key) if isinstance(instance, dict) else instance.pop(0)
    except (AttributeError, IndexError, KeyError):
        place = "under 'qid'" if key == QUERY_ID else "first in an array or under 'label'"
        raise DecodeError(f"no {key}: it must be {place}", row=row) from None


def schema_of(instance: Any) -> Schema:
    """Return what a first instance without its label says about the columns: those of objects by
    name, the shape of a sparse tensor. Raises DecodeError where that is missing."""
    if is_named(instance):
        check_names(tuple(instance))
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
