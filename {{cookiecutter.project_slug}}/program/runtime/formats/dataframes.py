"""The JSON of MLflow's scoring protocol: `dataframe_split`, `dataframe_records`, `inputs`,
`instances`; and the columns of a model's signature, to whose types the cells are cast.

    {"dataframe_split": {"columns": [...], "data": [[...], ...]}}
    {"dataframe_records": [{name: value, ...}, ...]}
    {"inputs": {name: [...], ...}}, or an array per row, or an object per row
    {"instances": ...}, the same

Where a signature names the columns their order does not count, and others are ignored; without
names their order is that of the request. Casts are those of pandas' `astype`, which MLflow uses: in
a column of integers 34.5 is 34. What it would turn into another value altogether is refused: an
integer beyond its type; in a column of booleans a text or null.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from runtime.formats import numbers
from runtime.formats.categories import NUMBER, Encode
from runtime.formats.errors import ColumnsError, DecodeError, listed, quoted
from runtime.formats.table import Floats, Rows, Schema, order_of

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
SPLIT_KEYS = {"columns", "data", "index"}
NUMERIC = {int, float, bool, type(None)}

Cells = Sequence[Any]


class SignatureColumn(NamedTuple):
    """A column of a signature: its name if it has one, numpy's name of its type ("" for a string,
    which is a category), and whether requests must have it."""

    name: str | None
    dtype: str
    required: bool = True


Signature = tuple[SignatureColumn, ...]


class ScoringError(DecodeError):
    """A request of MLflow's protocol cannot be read, or is not what the signature says."""

    status = 400


class Frame(NamedTuple):
    """A request's table: names of its columns, if it has them, and the cells of each."""

    names: tuple[str, ...] | None
    columns: Sequence[Cells]
    rows: int


def decode(document: dict[str, Any], schema: Schema, signature: Signature | None) -> Rows:
    """Return the rows of a request's document, which has at least one of FORMS.

    Raises ScoringError, with row and column where one is at fault, or ColumnsError.
    """
    found = [form for form in FORMS if form in document]
    if len(found) > 1:
        raise ScoringError(f"send one of {', '.join(found)}, not several", expected=FORMS)
    try:
        return rows_of(frame_of(document[found[0]], found[0], schema), schema, signature)
    except DecodeError as error:
        place = (error.row, error.column)
        raise ScoringError(error.located(), *place, error.expected, error.found) from None


def frame_of(value: Any, form: str, schema: Schema) -> Frame:
    """Return the table of a request."""
    if form == "dataframe_split":
        return from_split(value)
    if form != "dataframe_records" and isinstance(value, dict):
        return from_columns(value)
    if not isinstance(value, list):
        kind = "an array of objects" if form == "dataframe_records" else "an array or an object"
        raise ScoringError(f"{form} must be {kind}")
    if value and isinstance(value[0], dict):
        return from_records(value)
    if value and not isinstance(value[0], list):  # numbers: one row, or the only column
        value = [[cell] for cell in value] if schema.num_features == 1 else [value]
    return from_rows(value, None)


def from_split(value: Any) -> Frame:
    """Return the table of `dataframe_split`."""
    if not isinstance(value, dict) or "data" not in value or value.keys() - SPLIT_KEYS:
        raise ScoringError('dataframe_split must be {"columns": [...], "data": [[...], ...]}')
    names, data = value.get("columns"), value["data"]
    if not isinstance(data, list) or not (names is None or isinstance(names, list)):
        raise ScoringError("columns and data of dataframe_split must be arrays")
    return from_rows(data, None if names is None else tuple(map(str, names)))


def from_rows(rows: list[Any], names: tuple[str, ...] | None) -> Frame:
    """Return the table of an array per row."""
    first = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    width = first if names is None else len(names)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != width:
            found = len(row) if isinstance(row, list) else 1
            raise ScoringError(
                f"{found} cells where there are {width} columns",
                row=number,
                expected=width,
                found=found,
            )
    return Frame(names, list(zip(*rows, strict=True)) or [()] * width, len(rows))


def from_records(records: list[Any]) -> Frame:
    """Return the table of an object per row; a name that one of them lacks is missing there."""
    names: dict[str, None] = {}
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise ScoringError("an array among objects by name", row=number)
        if record.keys() != names.keys():
            names |= dict.fromkeys(record)
    columns = [[record.get(name) for record in records] for name in names]
    return Frame(tuple(names), columns, len(records))


def from_columns(columns: dict[str, Any]) -> Frame:
    """Return the table of an array per column; of scalars it is one row."""
    cells = [value if isinstance(value, list) else [value] for value in columns.values()]
    lengths = {len(column) for column in cells}
    if len(lengths) > 1:
        raise ScoringError("the columns of the request have different lengths")
    return Frame(tuple(columns), cells, lengths.pop() if lengths else 0)


def rows_of(frame: Frame, schema: Schema, signature: Signature | None) -> Rows:
    """Return the model's columns of a table, in their order and cast to their types."""
    ordered = in_order(frame, schema.feature_names, signature)
    if len(ordered) != schema.num_features:
        raise ColumnsError(
            f"the rows have {len(ordered)} columns, the model has {schema.num_features}",
            expected=schema.num_features,
            found=len(ordered),
        )
    values = np.empty((frame.rows, schema.num_features), np.float32)
    recoder = schema.categories.recoder() if schema.categories else None
    encoders = recoder.encoders(schema.num_features) if recoder else {}
    names = schema.feature_names or frame.names or range(1, schema.num_features + 1)
    for at, cells in enumerate(ordered):
        dtype = signature[at].dtype if signature else ""
        cast = encoders.get(at) or caster(dtype)
        try:
            values[:, at] = np.nan if cells is None else cast(cells)
        except DecodeError as error:
            error.column = names[at]
            raise
    return Rows(values, schema.feature_names, recoder.unseen if recoder else ())


def in_order(
    frame: Frame, names: tuple[str, ...] | None, signature: Signature | None
) -> list[Cells | None]:
    """Return the cells of the model's columns, None where one may be absent and is.

    Raises ColumnsError where one is missing, or, without a signature, one too many.
    """
    given = frame.names
    named = bool(signature and signature[0].name is not None)
    if given is None or names is None or (signature and not named):
        return [*frame.columns[: len(signature) if signature else None]]
    if len(set(given)) < len(given):
        raise ColumnsError("a name is a duplicate among the columns", found=list(given))
    if not signature:
        return [frame.columns[at] for at in order_of(given, names)]
    place = {name: at for at, name in enumerate(given)}
    missing = [name for name, _, required in signature if required and name not in place]
    if missing:
        raise ColumnsError(
            f"columns that the model's signature requires are missing: {listed(missing)}",
            expected=[column.name for column in signature],
            found=list(given),
        )
    return [frame.columns[place[name]] if name in place else None for name in names]


def caster(dtype: str) -> Encode:
    """Return what casts the cells of a column to a type of numpy's, and to float32."""
    if dtype == "bool":
        return booleans
    if dtype.startswith(("int", "uint")):
        return lambda cells: integers(cells, dtype)
    return floats


def floats(cells: Cells) -> Floats:
    """Return numbers, booleans and texts of numbers as float32 [n]; null is missing."""
    return numbers.narrow(doubles(cells, "a number")[:, None])[:, 0]


def integers(cells: Cells, dtype: str) -> Floats:
    """Return the whole part of numbers as float32 [n]."""
    values = np.trunc(doubles(cells, f"a number ({dtype} in the signature)"))
    refuse(np.isnan(values), f"a column of {dtype} in the signature has no missing values", cells)
    limits = np.iinfo(dtype)
    beyond = (values < float(limits.min)) | (values >= float(limits.max) + 1)
    refuse(beyond, f"beyond {dtype}", cells)
    return values.astype(np.float32)


def booleans(cells: Cells) -> Floats:
    """Return booleans and numbers as float32 [n], 1 where they are not 0."""
    wrong = [type(cell) not in {bool, int, float} for cell in cells]
    refuse(wrong, "neither true nor false", cells)
    return np.not_equal(np.array(cells, np.float64), 0).astype(np.float32)


def doubles(cells: Cells, kind: str) -> numbers.Doubles:
    """Return cells as float64 [n], NaN where one is null."""
    kinds = set(map(type, cells))
    if str in kinds:
        cells = [float(cell) if is_number(cell) else cell for cell in cells]
        kinds = set(map(type, cells))
    if not kinds <= NUMERIC:
        refuse([type(cell) not in NUMERIC for cell in cells], f"not {kind}", cells)
    try:
        return np.array(cells, np.float64)
    except OverflowError:
        raise ScoringError("a whole number is too large for a float") from None


def is_number(cell: Any) -> bool:
    """Return whether a cell is the text of a number."""
    return isinstance(cell, str) and NUMBER.fullmatch(cell) is not None


def refuse(wrong: Any, reason: str, cells: Cells) -> None:
    """Raise ScoringError about the first cell that is wrong, if one is."""
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise ScoringError(
            f"{quoted(cells[row])} is {reason}" if cells[row] is not None else reason,
            row=row + 1,
            found=str(cells[row]),
        )
