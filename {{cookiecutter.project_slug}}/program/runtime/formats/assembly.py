"""The blocks of a channel to one table: rows that grow, and sparse blocks put below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from runtime.formats.categories import Categories, Value
from runtime.formats.errors import ColumnsError
from runtime.formats.table import Floats, Table

ROWS_AT_A_TIME = 1 << 16  # of a table on disk
GROWTH = 8  # a full matrix grows by an eighth


class Grown:
    """Dense rows that grow in place: the system moves pages, so no second copy is ever needed."""

    def __init__(self) -> None:
        self.rows = np.empty((0, 0), np.float32)
        self.length = 0

    def add(self, block: Floats) -> None:
        """Append `block`, float32 [rows, columns]."""
        end = self.length + len(block)
        if end > len(self.rows):
            room = max(end, len(self.rows) + len(self.rows) // GROWTH)
            self.rows.resize((room, block.shape[1]), refcheck=False)
        self.rows[self.length : end] = block
        self.length = end

    def finish(self) -> Floats:
        """Return all rows, and keep none."""
        rows, self.rows = self.rows, np.empty((0, 0), np.float32)
        rows.resize((self.length, rows.shape[1]), refcheck=False)
        return rows


def recoded(
    table: Table, categories: Categories | None, label_names: tuple[str, ...] | None
) -> tuple[Table, dict[int, dict[str, int]]]:
    """Write the codes of `table` again, in place, as those of `categories` and `label_names`.

    Returns the table, and by column the rows of each value that is no category: missing now. A
    label that is none becomes NaN.
    """
    own = table.categories.values if table.categories else {}
    target = categories.values if categories else {}
    maps = {column: codes_among(values, target.get(column, ())) for column, values in own.items()}
    counts = {column: np.zeros(len(values), np.int64) for column, values in own.items()}
    if maps:
        for start in range(0, len(table), ROWS_AT_A_TIME):
            block = table.features[start : start + ROWS_AT_A_TIME]
            for column, codes in maps.items():
                given = ~np.isnan(block[:, column])
                found = block[given, column].astype(np.intp)
                counts[column] += np.bincount(found, minlength=len(codes))
                block[given, column] = codes[found]
    if table.labels is not None and table.label_names is not None:
        codes = codes_among(table.label_names, label_names or ())
        table.labels[:] = codes[table.labels.astype(np.intp)]
    unseen = {
        column: {str(values[at]): int(counts[column][at]) for at in np.flatnonzero(np.isnan(codes))}
        for column, values in own.items()
        if np.isnan(codes := maps[column]).any()
    }
    return replace(table, categories=categories, label_names=label_names), unseen


def codes_among(values: Sequence[Value], target: Sequence[Value]) -> Floats:
    """Return the code that each value has among `target`, float32 [values]; NaN where none."""
    code_of = {value: code for code, value in enumerate(target)}
    return np.array([code_of.get(value, np.nan) for value in values], np.float32)


def weighted(table: Table) -> Table:
    """Return `table` with weights, 1 where it has none."""
    return table if table.weights is not None else replace(table, weights=np.ones(len(table), "f4"))


def joined(arrays: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Return the arrays end to end, or None. Raises ColumnsError if only some of them are there."""
    present = [array for array in arrays if array is not None]
    if present and len(present) < len(arrays):
        raise ColumnsError("query ids are given in some files only")
    return np.concatenate(present) if present else None


def sparse(blocks: list[csr_matrix], base: int, num_features: int | None) -> csr_matrix:
    """Return the blocks one below the other, index `base` in column 0, `num_features` wide."""
    lowest = min(int(block.indices.min(initial=base)) for block in blocks)
    if lowest < base:
        raise ColumnsError(
            f"index {lowest} where the first channel's begin with {base}",
            expected=base,
            found=lowest,
        )
    width = max(num_features or 0, *(block.shape[1] - base for block in blocks))
    shifted = [
        csr_matrix((block.data, block.indices - base, block.indptr), shape=(block.shape[0], width))
        for block in blocks
    ]
    features = shifted[0] if len(shifted) == 1 else vstack(shifted, format="csr")
    return features if num_features is None else features[:, :num_features]
