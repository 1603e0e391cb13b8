"""Categorical splits for an engine that knows numeric ones: a table of memberships.

A categorical split sends a row right when the code of its category is in the node's set, and left
when it is not. For every distinct pair of feature and set the widened row has one column: 1 inside
the set, 0 outside, NaN where the category is missing. The split becomes `column < 1`, and the
default direction of missing values stays what it is. Columns that no split reads are left out.

Codes count as in XGBoost (`common::Decision` in its `src/common/categorical.h`): a fraction is cut
off; negative codes, those of 2**24 and more, and those that no set holds are outside every set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration.document import Document, Tree

LARGEST_TABLE = 128 << 20  # bytes of memberships; a model that needs more is left to XGBoost
BLOCK_BYTES = 1 << 20  # of widened rows at a time: they should stay in the second-level cache
BLOCK_ROWS = 160  # a multiple of the blocks that oneDAL works in (32 or 80)
OUTSIDE = 0  # the row of every feature's table before those of its codes

Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]  # a quarter of the memory that is read at random
Key = tuple[int, tuple[int, ...]]  # feature, codes that go right


class TooManyCategoriesError(Exception):
    """The memberships of a model do not fit into LARGEST_TABLE."""


class Widening:
    """Turns rows of the model, float32 [n, features], into rows with memberships [n, width]."""

    def __init__(self, document: Document) -> None:
        """Raises TooManyCategoriesError before anything large is allocated."""
        numeric: set[int] = set()
        sets: dict[int, dict[tuple[int, ...], None]] = {}
        for tree in document.trees:
            splits = np.flatnonzero(tree.left >= 0)
            for node, feature in zip(splits.tolist(), tree.feature[splits].tolist(), strict=True):
                if node in tree.categories:
                    sets.setdefault(feature, {})[tree.categories[node]] = None
                else:
                    numeric.add(feature)
        _check_size(sets)
        self.numeric = np.array(sorted(numeric), np.intp)
        self.categorical = np.array(sorted(sets), np.intp)
        self.columns: dict[Key, int] = {}
        self.width = len(self.numeric)
        self._tables: list[tuple[slice, Bits]] = []  # the columns of a feature, and their table
        rows_of = []
        for feature in self.categorical.tolist():
            memberships = list(sets[feature])
            row_of, table = _table(memberships)
            first, self.width = self.width, self.width + len(memberships)
            self.columns |= {(feature, codes): first + i for i, codes in enumerate(memberships)}
            self._tables.append((slice(first, self.width), table))
            rows_of.append(row_of)
        self._limits = np.array([len(row_of) for row_of in rows_of], np.float32)
        self._starts = np.cumsum([0, *map(len, rows_of[:-1])])
        self._row_of = np.concatenate(rows_of)
        self._place = {feature: place for place, feature in enumerate(self.numeric.tolist())}
        self.block = max(BLOCK_BYTES // (4 * self.width * BLOCK_ROWS), 1) * BLOCK_ROWS

    def rewrite(self, tree: Tree) -> Tree:
        """Return the tree with numeric splits only, on the columns of widened rows."""
        feature, value = tree.feature.copy(), tree.value.copy()
        for node in np.flatnonzero(tree.left >= 0).tolist():
            if node in tree.categories:
                feature[node] = self.columns[int(tree.feature[node]), tree.categories[node]]
                value[node] = 1.0
            else:
                feature[node] = self._place[int(tree.feature[node])]
        return dataclasses.replace(tree, feature=feature, value=value, categories={})

    def rows(self, rows: Floats) -> Floats:
        """Return the widened rows, float32 [n, width]."""
        wide = np.empty((len(rows), self.width), np.float32)
        wide[:, : len(self.numeric)] = rows[:, self.numeric]
        codes = rows[:, self.categorical]
        inside = (codes >= 0) & (codes < self._limits)  # False where NaN
        at = self._row_of[np.where(inside, codes, 0).astype(np.intp) + self._starts]
        at[~inside] = OUTSIDE
        missing = np.isnan(codes)
        for (columns, table), places in zip(self._tables, at.T, strict=True):
            wide[:, columns] = table[places]
        for place in np.flatnonzero(missing.any(axis=0)).tolist():
            wide[missing[:, place], self._tables[place][0]] = np.nan
        return wide

    def apply(self, function: Callable[[Floats], Floats], rows: Floats) -> Floats:
        """Return `function` of the widened rows, block by block."""
        if len(rows) <= self.block:
            return function(self.rows(rows))
        starts = range(0, len(rows), self.block)
        return np.concatenate([function(self.rows(rows[i : i + self.block])) for i in starts])


def _check_size(sets: dict[int, dict[tuple[int, ...], None]]) -> None:
    size = 0
    for memberships in sets.values():
        codes = set().union(*memberships)
        size += (len(codes) + 1) * len(memberships) + 8 * (max(codes, default=0) + 1)
    if size > LARGEST_TABLE:
        raise TooManyCategoriesError(
            f"the table of the model's categories would take {size >> 20} MB, "
            f"more than {LARGEST_TABLE >> 20}"
        )


def _table(sets: list[tuple[int, ...]]) -> tuple[NDArray[np.intp], Bits]:
    """Return which row of the table a code has, [highest code + 1], and the table of a feature.

    The table is uint8 [1 + codes, sets]; a code that no set holds has the row OUTSIDE.
    """
    codes = np.array(sorted(set().union(*sets)), np.intp)
    row_of = np.full(int(codes.max(initial=0)) + 1, OUTSIDE, np.intp)
    row_of[codes] = np.arange(len(codes)) + 1
    table = np.zeros((len(codes) + 1, len(sets)), np.uint8)
    for column, members in enumerate(sets):
        table[row_of[np.array(members, np.intp)], column] = 1
    return row_of, table
