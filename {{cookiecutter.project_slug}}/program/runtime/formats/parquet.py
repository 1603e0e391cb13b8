"""application/x-parquet: columns of numbers by name. Needs pyarrow, which only some images have.

A file of kilobytes can hold a table of gigabytes: types and sizes are checked before any page is
decoded.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import numpy as np

from runtime.formats import numbers
from runtime.formats.categories import NO_ENCODERS, Encode, Encoders
from runtime.formats.errors import (
    ColumnsError,
    DecodeError,
    MediaTypeError,
    NotANumberError,
    printable,
)
from runtime.formats.strings import LABEL, Strings
from runtime.formats.table import (
    QUERY_ID,
    Floats,
    Reading,
    Rows,
    Schema,
    Table,
    check_names,
    order_of,
    whole,
)

BLOCK_ROWS = 1 << 16
BLOCK_CELLS = 1 << 22  # of wide tables: 32 MB as float64
CELL_BYTES = 8  # of the widest number
PANDAS_INDEX = "__index_level_"


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request, in the order of the schema's names where it has them."""
    file = opened(io.BytesIO(body))
    wanted = schema.feature_names
    names = names_of(file, wanted or ())
    if wanted:
        names = tuple(name for name in names if name != QUERY_ID or name in wanted)
        order_of(names, wanted)
        names = wanted
    elif len(names) > schema.num_features:  # a column costs a page, however few its rows
        raise ColumnsError(
            f"the rows have {len(names)} columns, the model has {schema.num_features}",
            expected=schema.num_features,
            found=len(names),
        )
    recoder = schema.categories.recoder() if schema.categories else None
    encoders = recoder.encoders(len(names)) if recoder else {}
    check_types(file, names, {names[column] for column in encoders})
    rows = file.metadata.num_rows
    check_table(file, rows * max(len(names), 1), schema.max_cells)
    values, end = np.empty((rows, len(names)), np.float32), 0
    for block in batches(file, names, encoders):
        start, end = end, end + len(block)
        if recoder:
            recoder.rows = end
        if end <= rows:
            values[start:end] = narrow(block)
    if end != rows:
        raise DecodeError(f"damaged Parquet data: {end} rows where its footer has {rows}")
    return Rows(values, wanted, recoder.unseen if recoder else ())


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file: the label is the first column; `qid` holds query ids."""
    file = opened(stream)
    names = names_of(file)
    features = [index for index, name in enumerate(names) if index and name != QUERY_ID]
    if not features:
        raise DecodeError("a training file needs a label and a feature column", found=list(names))
    check_names(names)
    called = tuple(names[index] for index in features)
    own = encoders_of(file, names, features, reading.strings)
    check_types(file, names, {names[index] for index in own})
    queries = names.index(QUERY_ID) if QUERY_ID in names[1:] else None
    for cells in batches(file, names, own):
        values = narrow(cells)
        yield Table(
            np.ascontiguousarray(values[:, features]),
            labels=values[:, 0].copy(),
            query_ids=None if queries is None else whole(cells[:, queries]),
            names=called,
        )


def encoders_of(
    file: Any, names: tuple[str, ...], features: list[int], strings: Strings | None
) -> Encoders:
    """Return how the columns of a training file that hold strings are encoded, by their index.

    Raises StringsFoundError for those that were not known.
    """
    if strings is None:
        return NO_ENCODERS
    types = importlib.import_module("pyarrow.types")
    kinds = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    texts = [
        place
        for place, index in enumerate((0, *features), LABEL)
        if is_text(getattr(kinds[names[index]], "value_type", kinds[names[index]]))
        and not types.is_nested(kinds[names[index]])
    ]
    called = tuple(names[index] for index in features)
    strings.found(texts, called)
    encoders = strings.encoders(len(features), called)
    return {0 if at == LABEL else features[at]: encode for at, encode in encoders.items()}


def opened(stream: BinaryIO) -> Any:
    """Return the ParquetFile of `stream`. Raises MediaTypeError without pyarrow, DecodeError."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MediaTypeError(
            "this image cannot read Parquet: build it with pyarrow, `make build PARQUET=1`"
        ) from None
    try:
        return parquet.ParquetFile(stream)
    except Exception as error:  # pyarrow raises its own errors, and OSError
        raise DecodeError(f"not a valid Parquet file: {error}") from None


def names_of(file: Any, features: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of the columns, without an index that pandas stored.

    A column that the model calls a feature is one, even if it is the index of this file.
    """
    index = index_of(file) - set(features)
    return tuple(
        name
        for name in file.schema_arrow.names
        if name not in index and not name.startswith(PANDAS_INDEX)
    )


def index_of(file: Any) -> set[str]:
    """Return the columns that pandas' metadata names as the index; a RangeIndex has no column."""
    try:
        columns = (file.schema_arrow.pandas_metadata or {})["index_columns"]
        return {name for name in columns if isinstance(name, str)}
    except (ValueError, KeyError, TypeError, AttributeError):  # none, or not as pandas writes it
        return set()


def check_types(file: Any, names: tuple[str, ...], strings: Collection[str] = ()) -> None:
    """Raise DecodeError naming a column of `names` that cannot hold numbers; those of `strings`
    may hold strings too."""
    types = importlib.import_module("pyarrow.types")
    numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    schema, read = file.schema_arrow, set(names)
    for name, kind in zip(schema.names, schema.types, strict=True):
        value = kind.value_type if types.is_dictionary(kind) else kind
        if name not in read or types.is_null(value) or any(is_(value) for is_ in numeric):
            continue
        if name not in strings or not is_text(value):
            text = f"not numbers: the type is {printable(str(kind))}"
            raise NotANumberError(text, column=name)


def is_text(kind: Any) -> bool:
    """Return whether a type of Arrow holds strings."""
    types = importlib.import_module("pyarrow.types")
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def check_table(file: Any, cells: int, limit: int) -> None:
    """Raise DecodeError where a table has more than `limit` cells, or pages of that size."""
    metadata = file.metadata
    groups = range(metadata.num_row_groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    if not 0 <= cells <= limit or not 0 <= size <= CELL_BYTES * limit:
        raise DecodeError(
            f"a table of {metadata.num_rows} rows and {metadata.num_columns} columns, "
            f"{size} bytes decompressed, is too large at once; send fewer rows",
            expected=limit,
            found=cells,
        )


def batches(
    file: Any, names: tuple[str, ...], encoders: Encoders = NO_ENCODERS
) -> Iterator[numbers.Doubles]:
    """Yield the columns `names`, in that order, as float64 [rows, columns]; null is missing."""
    rows = min(BLOCK_ROWS, max(1, BLOCK_CELLS // max(len(names), 1)))
    source = file.iter_batches(batch_size=rows, columns=list(names))
    while True:
        try:
            batch = next(source, None)
        except Exception as error:  # pages are decoded here
            raise DecodeError(f"damaged Parquet data: {error}") from None
        if batch is None:
            return
        cells = np.empty((batch.num_rows, len(names)), np.float64)
        for index, name in enumerate(names):
            if index in encoders:
                cells[:, index] = codes_of(batch.column(name), encoders[index], name)
            else:
                cells[:, index] = column_of(batch, name)
        yield cells


def narrow(cells: numbers.Doubles) -> Floats:
    """Return `cells` as finite float32. Raises DecodeError naming the row and column."""
    with np.errstate(over="ignore"):
        return numbers.finite(cells.astype(np.float32))


def column_of(batch: Any, name: str) -> numbers.Doubles:
    """Return a column as float64 [rows]. Raises DecodeError naming a column that is no numbers."""
    try:
        column = batch.column(name).cast("double", safe=False).to_numpy(zero_copy_only=False)
        return np.asarray(column, np.float64)
    except Exception as error:  # pyarrow's own errors: no such cast, a duplicate name
        raise DecodeError(f"not numbers: {error}", column=name) from None


def codes_of(column: Any, encode: Encode, name: str) -> Floats:
    """Return a column's cells as `encode` has them, float32 [rows].

    NaN is missing: a column without any string is one of numbers to what wrote the file.
    """
    types = importlib.import_module("pyarrow.types")
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    cells = column.to_pylist()
    if types.is_floating(column.type):
        cells = [None if cell != cell else cell for cell in cells]
    try:
        return encode(cells)
    except DecodeError as error:
        error.column = name
        raise
