"""application/json: `{"instances":[…]}`, `{"features":[…]}`, or a bare array.

An instance is an array of numbers (null is missing), `{"features":[…]}`, an object of values by
column name, or SageMaker's tensor `{"data":{"features":{"values":[…],"keys":[…],"shape":[n]}}}`;
with keys it is sparse. See docs.aws.amazon.com/sagemaker/latest/dg/cdf-inference.html.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
import orjson

from runtime.formats import numbers
from runtime.formats.categories import NO_ENCODERS, Encoders
from runtime.formats.errors import ColumnsError, DecodeError
from runtime.formats.table import QUERY_ID, Floats, Rows, Schema, blank, order_of, positions
from runtime.formats.text import BYTE_ORDER_MARK

ARRAY_CELLS, OBJECT_CELLS = 32, 128  # of a matrix, that they cost in Python
NUMBER_TYPES = {int, float, type(None)}


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request."""
    body = body.removeprefix(BYTE_ORDER_MARK)
    if schema.categories is None and (values := dense(body)) is not None:
        return Rows(numbers.narrow(values))
    check_nesting(body, schema)
    if schema.categories is None:
        return rows_of(instances_of(load(body)), schema)
    recoder = schema.categories.recoder()
    rows = rows_of(instances_of(load(body)), schema, recoder.encoders(schema.num_features))
    return rows._replace(unseen=recoder.unseen)


def dense(body: bytes) -> numbers.Doubles | None:
    """Return an array of arrays of plain numbers, bare or under `instances`, as float64; else None.

    A single key and as many brackets as rows leave no room for keys given twice or for nested
    arrays, which simdjson's buffer would flatten.
    """
    quotes = body.count(b'"')
    if quotes not in {0, 2} or body.count(b"[") * 4 > len(body) + 8:  # `[1],` is the shortest row
        return None
    try:
        document: Any = numbers.simdjson.Parser().parse(body)
        rows = document["instances"] if quotes else document
        widths = {len(row) for row in rows}
        if len(widths) != 1 or body.count(b"[") != len(rows) + 1:
            return None
        flat = np.frombuffer(rows.as_buffer(of_type="d"), np.float64)
        return flat.reshape(len(rows), widths.pop())
    except (*numbers.NOT_PLAIN, KeyError, AttributeError):
        return None


MORE_KEYS = 100_000  # of an object than four times the columns: names may hold colons
TENSOR_KEYS = {"features", "data"}  # of an object that may be a tensor, not a row by name


def check_nesting(text: bytes, schema: Schema) -> None:
    """Raise DecodeError where the objects of a small body would fill the memory."""
    arrays, objects = text.count(b"["), text.count(b"{")
    if objects and text.count(b":") > objects * (MORE_KEYS + 4 * schema.num_features):
        raise ColumnsError(
            f"an object has far more keys than the model has columns, {schema.num_features}",
            expected=schema.num_features,
        )
    if arrays * ARRAY_CELLS + objects * OBJECT_CELLS > schema.max_cells:
        raise DecodeError(
            f"{arrays} arrays and {objects} objects are too many at once; send fewer rows",
            found=arrays + objects,
        )


def load(text: bytes) -> Any:
    """Parse JSON; NaN, which Python's json module writes, counts as null. Raises DecodeError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in text:
            raise DecodeError(str(error)) from None
    try:
        return json.loads(text, parse_constant={"NaN": None}.__getitem__)
    except (ValueError, KeyError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None


def instances_of(document: Any) -> list[Any]:
    """Return the instances of a request's document."""
    if isinstance(document, dict):
        if "instances" in document:
            document = document["instances"]
        elif isinstance(document.get("features"), list):
            document = document["features"]
        else:
            return [document]
    if not isinstance(document, list):
        raise DecodeError('the document is neither an array nor {"instances":[...]}')
    nested = any(isinstance(item, list | dict) for item in document)
    return document if nested or not document else [document]


def rows_of(instances: list[Any], schema: Schema, encoders: Encoders = NO_ENCODERS) -> Rows:
    """Return a row for each instance; objects by name take the order of the schema's names.

    Raises DecodeError or ColumnsError.
    """
    if not instances:
        return Rows.none(schema.num_features)
    numbered = list(enumerate(instances, 1))
    if is_named(instances[0]):
        names = schema.feature_names
        if not names:
            raise ColumnsError("the model has no column names: send arrays in place of objects")
        wanted, plain = set(names), not TENSOR_KEYS & set(names)
        cells = [
            [item[name] for name in names]
            if plain and type(item) is dict and item.keys() == wanted
            else by_name(item, names, row)
            for row, item in numbered
        ]
        return Rows(matrix(cells, encoders), names)
    tensors = [tensor_of(instance, row) for row, instance in numbered]
    if isinstance(tensors[0], dict):
        return Rows(from_sparse(tensors, schema, encoders))
    return Rows(matrix(tensors, encoders))


def is_named(instance: Any) -> bool:
    """Whether `instance` is an object of values by column name."""
    if not isinstance(instance, dict):
        return False
    return not isinstance(instance.get("features", instance.get("data")), list | dict)


def by_name(instance: Any, names: tuple[str, ...], row: int) -> list[Any]:
    """Return the values of `instance` in the order of `names`."""
    if not is_named(instance):
        raise DecodeError("an array or tensor among objects by name", row=row)
    if instance.keys() != set(names):
        order_of(tuple(name for name in instance if name != QUERY_ID or name in names), names)
    return [instance[name] for name in names]


def tensor_of(instance: Any, row: int) -> list[Any] | dict[str, Any]:
    """Return the list of a dense instance, or the object with the keys of a sparse one."""
    if isinstance(instance, dict):
        data = instance.get("data")
        instance = data.get("features") if isinstance(data, dict) else instance.get("features")
        if isinstance(instance, dict) and "keys" not in instance:
            instance = instance.get("values")
    if isinstance(instance, list | dict):
        return instance
    raise DecodeError("an instance is an array, an object by name, or a tensor", row=row)


def matrix(rows: list[Any], encoders: Encoders = NO_ENCODERS) -> Floats:
    """Return lists of numbers and None as float32 [rows, columns]; columns of strings encoded."""
    width = len(rows[0])
    for row, cells in enumerate(rows, 1):
        if not isinstance(cells, list) or len(cells) != width:
            found = len(cells) if isinstance(cells, list) else "a sparse row"
            raise DecodeError(
                f"{found} cells where the first row has {width}",
                row=row,
                expected=width,
                found=found,
            )
    codes: dict[int, Floats] = {}
    if encoders:
        for column, encode in encoders.items():
            if 0 <= column < width:
                codes[column] = encode([row[column] for row in rows])
        for row_cells in rows:
            for column in codes:
                row_cells[column] = 0
    if not set(map(type, chain.from_iterable(rows))) <= NUMBER_TYPES:
        for row, cells in enumerate(rows, 1):
            for column, cell in enumerate(cells, 1):
                if type(cell) not in NUMBER_TYPES:
                    raise numbers.not_a_number(orjson.dumps(cell), row, column)
    try:
        values = numbers.narrow(np.array(rows, np.float64).reshape(len(rows), width))
    except OverflowError:
        raise DecodeError("a whole number is too large for a 32-bit float") from None
    if codes:
        for column, of_column in codes.items():
            values[:, column] = of_column
    return values


def from_sparse(tensors: list[Any], schema: Schema, encoders: Encoders) -> Floats:
    """Return tensors of `keys` and `values` as float32 [rows, columns], the rest missing."""
    values = blank(len(tensors), schema)
    strings: dict[int, list[Any]] = {
        column: [None] * len(tensors) for column in encoders if column >= 0
    }
    for row, tensor in enumerate(tensors, 1):
        keys = tensor.get("keys") if isinstance(tensor, dict) else None
        cells = tensor.get("values") if isinstance(tensor, dict) else None
        if not isinstance(keys, list) or not isinstance(cells, list) or len(keys) != len(cells):
            raise DecodeError("keys and values must be two arrays of one length", row=row)
        if not set(map(type, keys)) <= {int}:
            raise DecodeError("keys must be whole numbers", row=row)
        try:
            at = positions(keys, schema.num_features, row)
            for place, key in enumerate(keys):
                if key in strings:
                    strings[key][row - 1], cells[place] = cells[place], None
            values[row - 1, at] = matrix([cells])[0]
        except DecodeError as error:
            error.row = row
            raise
    for column, cells in strings.items():
        values[:, column] = encoders[column](cells)
    return values
