"""application/x-parquet: columns of numbers by name. Needs pyarrow, which only some images have."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from runtime.formats import numbers
from runtime.formats.errors import DecodeError, MediaTypeError
from runtime.formats.table import MAX_CELLS, Floats, Reading, Rows, Schema, Table, order_of

BLOCK_ROWS = 1 << 16
PANDAS_INDEX = "__index_level_"


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request, in the order of the schema's names where it has them."""
    file = opened(io.BytesIO(body))
    names = names_of(file)
    if file.metadata.num_rows * max(len(names), 1) > MAX_CELLS:
        raise DecodeError("too many rows at once; send fewer", found=file.metadata.num_rows)
    if schema.feature_names:
        order_of(names, schema.feature_names)
        names = schema.feature_names
    blocks = list(batches(file, names))
    values = np.concatenate(blocks) if blocks else Rows.none(len(names)).values
    return Rows(values, schema.feature_names)


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file: the label is the first column."""
    file = opened(stream)
    names = names_of(file)
    if len(names) < 2:
        raise DecodeError("a training file needs a label and a feature column", found=list(names))
    for cells in batches(file, names):
        yield Table(np.ascontiguousarray(cells[:, 1:]), labels=cells[:, 0].copy(), names=names[1:])


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
        raise DecodeError(f"no Parquet file: {error}") from None


def names_of(file: Any) -> tuple[str, ...]:
    """Return the names of the columns, without an index that pandas stored."""
    return tuple(name for name in file.schema_arrow.names if not name.startswith(PANDAS_INDEX))


def batches(file: Any, names: tuple[str, ...]) -> Iterator[Floats]:
    """Yield the columns `names`, in that order, as float32 [rows, columns]; null is missing."""
    source = file.iter_batches(batch_size=BLOCK_ROWS, columns=list(names))
    while True:
        try:
            batch = next(source, None)
        except Exception as error:  # pages are decoded here
            raise DecodeError(f"damaged Parquet data: {error}") from None
        if batch is None:
            return
        cells = np.empty((batch.num_rows, len(names)), np.float32)
        with np.errstate(over="ignore"):
            for index, name in enumerate(names):
                cells[:, index] = column_of(batch, name)
        yield numbers.finite(cells)


def column_of(batch: Any, name: str) -> numbers.Doubles:
    """Return a column as float64 [rows]. Raises DecodeError naming a column that is no numbers."""
    try:
        column = batch.column(name).cast("double").to_numpy(zero_copy_only=False)
        return np.asarray(column, np.float64)
    except Exception as error:  # pyarrow's own errors: no such cast, a duplicate name
        raise DecodeError(f"not numbers: {error}", column=name) from None
