"""Training from disk: the matrix in a file of float32, and XGBoost's iterator over its rows."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from scipy.sparse import csr_matrix

from runtime.formats.assembly import weighted
from runtime.formats.table import Table

# Of the matrix, in memory at a time: a 16th, within these bounds. Each block becomes a page, and
# XGBoost keeps buffers for each page as if its groups of rows were full: 4 MB pages take a quarter
# more memory while boosting than 32 MB pages.
SMALLEST_BLOCK, LARGEST_BLOCK = 4 << 20, 32 << 20
M_TRIM_THRESHOLD, M_ARENA_MAX = -1, -8  # of mallopt(3)

Blocks = Callable[[int | None, int | None], Iterator[Table]]  # of (num_features, index_base)


def spill(blocks: Blocks, path: Path, like: Table | None) -> Table:
    """Write the blocks of a channel to `path` and return a table whose features are that file.

    Labels and weights are files beside it: the system can drop mapped pages, but not a copy.
    Sparse blocks become dense, NaN where they have no entry. `like` is the training table.
    """
    _keep_heap_small()
    width, base = (like.features.shape[1], like.index_base) if like else (None, None)
    if like is None and isinstance(next(blocks(None, None)).features, csr_matrix):
        width, base = _extent(blocks(None, None))
    names, files = None, {name: path.with_suffix(f".{name}") for name in ("labels", "weights")}
    is_weighted, count = False, 0
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        columns = {name: stack.enter_context(other.open("wb")) for name, other in files.items()}
        for block in blocks(width, base):
            is_weighted |= block.weights is not None
            rows = block.features
            rows = densify(rows, width) if isinstance(rows, csr_matrix) else rows
            names, width, count = block.names, rows.shape[1], count + len(block)
            rows.tofile(file)
            for name, column in columns.items():
                getattr(weighted(block), name).tofile(column)
    return_memory()
    if not is_weighted:
        del files["weights"]
    if not path.stat().st_size:  # no file of nothing can be mapped
        return Table(np.empty((count, width or 0), np.float32), names=names, index_base=base)
    features = np.memmap(path, np.float32, "r+", shape=(count, width or 0))
    known: dict[str, Any] = {
        name: np.memmap(other, np.float32, "r+") for name, other in files.items()
    }
    return Table(features, names=names, index_base=base, **known)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None  # musl has none of it


def _keep_heap_small() -> None:
    """Make glibc give freed memory back: its arenas keep 100 MB of XGBoost's sketches."""
    if library := _glibc():
        library.mallopt(M_ARENA_MAX, 1)
        library.mallopt(M_TRIM_THRESHOLD, 128 << 10)


def return_memory() -> None:
    """Give the system back what is free between what is in use: tens of MB after each step."""
    if library := _glibc():
        library.malloc_trim(0)


def _extent(blocks: Iterator[Table]) -> tuple[int, int]:
    """Return the number of columns and the first index of sparse blocks."""
    highest, base = 0, 1
    for block in blocks:
        entries = csr_matrix(block.features)
        highest = max(highest, entries.shape[1])
        if block.index_base == 0 or (entries.indices == 0).any():
            base = 0
    return max(0, highest - base), base


def densify(rows: csr_matrix, width: int | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return float32 [rows, width] with NaN where the sparse matrix has no entry."""
    dense = np.full((rows.shape[0], width or rows.shape[1]), np.nan, dtype=np.float32)
    coordinates = rows.tocoo()
    dense[coordinates.row, coordinates.col] = coordinates.data
    return dense


def sparsify(rows: np.ndarray[Any, np.dtype[np.float32]]) -> csr_matrix:
    """Return the rows as a sparse matrix without entries where they are NaN."""
    present = ~np.isnan(rows)
    ends = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    return csr_matrix((rows[present], np.nonzero(present)[1], ends), shape=rows.shape)


class Reader(xgboost.DataIter):
    """XGBoost's iterator: blocks of rows of a table, each through `prepare`, pages in `cache`."""

    def __init__(
        self, table: Table, prepare: Callable[[Table], dict[str, Any]], cache: Path
    ) -> None:
        self._table, self._prepare, self._next = table, prepare, 0
        size = min(max(SMALLEST_BLOCK, table.features.nbytes // 16), LARGEST_BLOCK)
        self._step = max(1, size // (4 * max(1, table.features.shape[1])))
        super().__init__(cache_prefix=str(cache), release_data=True)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand the next block to XGBoost; False after the last."""
        if self._next >= len(self._table):
            return False
        rows = slice(self._next, self._next + self._step)
        table = self._table
        self._next = rows.stop
        block = dataclasses.replace(
            table,
            features=np.array(table.features[rows]),
            labels=None if table.labels is None else table.labels[rows],
            weights=None if table.weights is None else table.weights[rows],
        )
        input_data(**self._prepare(block))
        return True

    def reset(self) -> None:
        """Start again at the first row."""
        self._next = 0

    def release(self) -> None:
        """Let the table go: once the matrix stands, XGBoost reads its own pages alone."""
        del self._table
        return_memory()
