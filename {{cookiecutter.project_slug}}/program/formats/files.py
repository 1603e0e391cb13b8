"""The files of a training channel to one table."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from formats.errors import ColumnsError, DecodeError, FormatError, MediaTypeError
from formats.media import resolve
from formats.table import Floats, Reading, Table, order_of

GZIP_MAGIC = b"\x1f\x8b"


def read_channel(
    path: Path,
    content_type: str | None,
    default_format: str,
    *,
    csv_weights: bool = False,
    num_features: int | None = None,
    index_base: int | None = None,
    names: tuple[str, ...] | None = None,
) -> Table:
    """Read every file below `path` (or the file `path`) into one table.

    `num_features`, `index_base` and `names` are those of the channel that was read before, so that
    a validation channel has the same columns in the same order. A channel without rows gives an
    empty table. Raises FormatError whose message names file, row and column.
    """
    tables = list(
        iterate_channel(
            path,
            content_type,
            default_format,
            csv_weights=csv_weights,
            num_features=num_features,
            index_base=index_base,
            names=names,
        )
    )
    return join(tables, num_features, index_base)


def iterate_channel(
    path: Path,
    content_type: str | None,
    default_format: str,
    *,
    csv_weights: bool = False,
    num_features: int | None = None,
    index_base: int | None = None,
    names: tuple[str, ...] | None = None,
) -> Iterator[Table]:
    """Yield the channel in blocks of some megabytes, each with the checks of `read_channel`.

    The columns of libsvm blocks keep the files' own indices until `join`.
    """
    codec, _ = resolve(content_type, default_format)
    if codec.read is None:
        raise MediaTypeError(f"cannot train on {codec.name}", content_type=content_type)
    reading = Reading(csv_weights)
    width = num_features
    for file in files_of(path):
        row = 0
        try:
            with opened(file) as stream:
                for table in codec.read(stream, reading):
                    table = align(check(table), names, width)
                    names, width = names or table.names, width or table.features.shape[1]
                    yield table
                    row += len(table)
        except FormatError as error:
            if error.row is not None:
                error.row += row
            error.message = f"{label_of(file, path)}: {error.located()}"
            raise


def files_of(path: Path) -> list[Path]:
    """Return the data files below `path`, sorted; hidden, marker and empty files are no data."""
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
        and file.stat().st_size
    )


def label_of(file: Path, path: Path) -> str:
    """Return the name of `file` for messages: from the channel's folder on."""
    return str(file.relative_to(path.parent))


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Open `file`, through gzip if its first bytes say so. Raises DecodeError on damaged gzip."""
    with file.open("rb") as plain:
        if not plain.peek(2).startswith(GZIP_MAGIC):
            yield plain
            return
        try:
            with gzip.open(plain) as stream:
                yield stream  # type: ignore[misc]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DecodeError(f"the gzip data is damaged: {error}") from None


def check(table: Table) -> Table:
    """Return `table`; raise DecodeError on labels and weights that cannot be trained on."""
    if table.labels is not None and np.isnan(table.labels).any():
        row = int(np.flatnonzero(np.isnan(table.labels))[0]) + 1
        raise DecodeError("the label is missing", row=row, column="label")
    if table.weights is not None and not (table.weights >= 0).all():
        row = int(np.flatnonzero(~(table.weights >= 0))[0]) + 1
        raise DecodeError("the weight must be a number from 0 up", row=row, column="weight")
    return table


def align(table: Table, names: tuple[str, ...] | None, width: int | None) -> Table:
    """Return `table` with its columns in the order of `names`, `width` of them.

    Raises ColumnsError where they are others.
    """
    columns = table.features.shape[1]
    if isinstance(table.features, np.ndarray) and width is not None and columns != width:
        raise ColumnsError(
            f"{columns} feature columns where {width} are expected", expected=width, found=columns
        )
    if names is None or table.names is None or table.names == names:
        return table
    order = order_of(table.names, names)
    return replace(table, features=np.ascontiguousarray(table.features[:, order]), names=names)


def join(tables: list[Table], num_features: int | None, index_base: int | None) -> Table:
    """Return one table of the rows of all; `tables` is emptied on the way, to save memory."""
    if not tables:
        return Table(np.empty((0, num_features or 0), np.float32))
    if any(table.weights is not None for table in tables):
        ones = [replace(table, weights=np.ones(len(table), np.float32)) for table in tables]
        tables[:] = [
            t if t.weights is not None else one for t, one in zip(tables, ones, strict=True)
        ]
    names = next((table.names for table in tables if table.names), None)
    parts: dict[str, Any] = {
        name: joined([getattr(table, name) for table in tables])
        for name in ("labels", "weights", "query_ids")
    }
    if all(isinstance(table.features, np.ndarray) for table in tables):
        return Table(stacked(tables), names=names, **parts)
    if any(isinstance(table.features, np.ndarray) for table in tables):
        raise ColumnsError("dense and sparse records cannot be mixed in one channel")
    blocks = [table.features for table in tables]
    base = index_base
    if tables[0].index_base is not None:
        base = 0
    elif base is None:
        base = base_of(blocks)
    features = sparse(blocks, base, num_features)
    return Table(features, names=names, index_base=base, **parts)


def joined(arrays: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Return the arrays end to end, or None. Raises ColumnsError if only some of them are there."""
    present = [array for array in arrays if array is not None]
    if present and len(present) < len(arrays):
        raise ColumnsError("labels, weights or query ids are given in some files only")
    return np.concatenate(present) if present else None


def stacked(tables: list[Table]) -> Floats:
    """Return the dense features of all; each block is freed as soon as it is copied."""
    result = np.empty((sum(map(len, tables)), tables[0].features.shape[1]), np.float32)
    end = len(result)
    while tables:
        block = tables.pop().features
        result[end - len(block) : end] = block
        end -= len(block)
    return result


def base_of(blocks: list[csr_matrix]) -> int:
    """Return libsvm's first index: 0 where any index is 0, else 1, as is usual."""
    return 0 if any((block.indices == 0).any() for block in blocks) else 1


def sparse(blocks: list[csr_matrix], base: int, num_features: int | None) -> csr_matrix:
    """Return the blocks one below the other, index `base` in column 0, `num_features` wide."""
    highest = max(int(block.indices.max(initial=base)) for block in blocks)
    lowest = min(int(block.indices.min(initial=base)) for block in blocks)
    width = highest - base + 1 if num_features is None else num_features
    if lowest < base or highest - base >= width:
        raise ColumnsError(
            f"indices from {lowest} to {highest} where {base} to {width + base - 1} are expected",
            expected=[base, width + base - 1],
            found=[lowest, highest],
        )
    shifted = [
        csr_matrix((block.data, block.indices - base, block.indptr), shape=(block.shape[0], width))
        for block in blocks
    ]
    return shifted[0] if len(shifted) == 1 else vstack(shifted, format="csr")
