"""The files of a training channel to one table."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from runtime.formats import sniff
from runtime.formats.assembly import Grown, joined, sparse, weighted
from runtime.formats.errors import ColumnsError, DecodeError, FormatError, MediaTypeError
from runtime.formats.media import Codec, resolve
from runtime.formats.strings import Strings, StringsFoundError
from runtime.formats.table import QUERY_ID, Reading, Table, order_of

log = logging.getLogger(__name__)

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
    strings: Strings | None = None,
) -> Table:
    """Read every file below `path` (or the file `path`) into one table.

    `num_features`, `index_base` and `names` are those of the channel that was read before, so that
    a validation channel has the same columns in the same order; sparse columns beyond them, which
    no tree knows, are dropped. `strings` says which columns may hold strings: the table has their
    provisional codes. A channel without rows gives an empty table. Raises FormatError whose message
    names file, row and column, and StringsFoundError to be read again with more such columns.
    """
    grown, tables = Grown(), []
    for table in iterate_channel(
        path, content_type, default_format, csv_weights, num_features, index_base, names, strings
    ):
        if isinstance(table.features, np.ndarray):
            grown.add(table.features)
            table = replace(table, features=table.features[:0].copy())
        tables.append(table)
    if not tables:
        return Table(np.empty((0, num_features or 0), np.float32))
    names = next((table.names for table in tables if table.names), names)
    if any(table.weights is not None for table in tables):
        tables = [weighted(table) for table in tables]
    rest: dict[str, Any] = {
        name: joined([getattr(table, name) for table in tables])
        for name in ("labels", "weights", "query_ids")
    }
    blocks: list[Any] = [table.features for table in tables]
    dense = [isinstance(block, np.ndarray) for block in blocks]
    if all(dense):
        return Table(grown.finish(), names=names, **rest)
    if any(dense):
        raise ColumnsError("dense and sparse records cannot be mixed in one channel")
    base, shift = tables[0].index_base, 0
    if base is None:  # libsvm's first index is 0 where any index is 0, else 1, as is usual
        base = shift = 0 if any((block.indices == 0).any() for block in blocks) else 1
    return Table(sparse(blocks, shift, num_features), names=names, index_base=base, **rest)


def read_with_strings(
    path: Path,
    content_type: str | None,
    default_format: str,
    strings: Strings,
    names: tuple[str, ...] | None = None,
) -> Table:
    """Read a channel as `read_channel` does, again until all columns of strings are known.

    The table has the strings of its codes: `categories` and `label_names`.
    """
    while True:
        try:
            table = read_channel(path, content_type, default_format, names=names, strings=strings)
        except StringsFoundError as found:
            strings = strings.also(found.columns)
            continue
        return replace(table, categories=strings.categories(), label_names=strings.label_names())


def iterate_channel(
    path: Path,
    content_type: str | None,
    default_format: str,
    csv_weights: bool = False,
    num_features: int | None = None,
    index_base: int | None = None,
    names: tuple[str, ...] | None = None,
    strings: Strings | None = None,
) -> Iterator[Table]:
    """Yield the channel in blocks, with the arguments, checks and errors of `read_channel`.

    libsvm blocks keep the files' own indices, and index_base None, unless `index_base` is given.
    """
    codec, _ = resolve(content_type, default_format)
    if codec.read is None:
        raise MediaTypeError(f"cannot train on {codec.name}", content_type=content_type)
    noted = False
    if strings:
        strings.names = names
    for file in files_of(path):
        row = 0
        try:
            with opened(file) as stream:
                if strings:
                    strings.source = partial(source_of, file, codec, path.parent)
                for table in codec.read(stream, Reading(csv_weights, strings)):
                    table = align(check(table), names, num_features)
                    if isinstance(table.features, np.ndarray):
                        names, num_features = names or table.names, table.features.shape[1]
                    elif table.index_base is None and index_base is not None:
                        features = sparse([table.features], index_base, num_features)
                        table = replace(table, features=features, index_base=index_base)
                    if table.query_ids is not None and table.names and not noted:
                        log.info("note: column %s holds query ids: no feature", QUERY_ID)
                        noted = True
                    row += len(table)
                    if strings:
                        strings.source = partial(source_of, file, codec, path.parent, before=row)
                    yield table
        except FormatError as error:
            if error.row is not None:
                error.row = line_of(file, codec, error.row + row)
            place = f"{file.relative_to(path.parent)}: {error.located()}"
            error.message = place + sniff.hint(head_of(file), codec.name)
            raise


def line_of(file: Path, codec: Codec, row: int) -> int:
    """Return the line of a text file that holds a row: what an editor shows. Of others the row."""
    if codec.line_of is None:
        return row
    with opened(file) as stream:
        return codec.line_of(stream, row)


def source_of(file: Path, codec: Codec, folder: Path, row: int, before: int = 0) -> str:
    """Return the file and the row of a row of the block after `before` rows, for a message."""
    return f"{file.relative_to(folder)}: row {line_of(file, codec, row + before)}"


def head_of(file: Path) -> bytes:
    """Return the first bytes of a file, of what it holds if it is compressed."""
    try:
        with opened(file) as stream:
            return stream.read(sniff.HEAD_BYTES)
    except FormatError:
        return b""


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
