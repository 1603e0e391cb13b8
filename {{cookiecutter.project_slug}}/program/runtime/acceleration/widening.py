"""Categorical splits for an engine that knows numeric ones: a table of memberships.

A categorical split sends a row right when the code of its category is in the node's set, and left
when it is not. Sets of a feature share a column of the widened row where they lie within each other
or apart (chains.py): it holds the level of the code, NaN where the category is missing. The split
becomes `column < threshold`, with its sides exchanged where codes below it are in the set. Columns
that no split reads are left out.

Codes count as in XGBoost (`common::Decision` in its `src/common/categorical.h`): a fraction is cut
off; negative codes, those of 2**24 and more, and those that no set holds are outside every set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration import chains
from runtime.acceleration.document import Document, Tree

LARGEST_TABLE = 128 << 20  # bytes of memberships; a model that needs more is left to XGBoost
BLOCK_BYTES = 2 << 20  # of widened rows at a time: fewer cost calls, more the second-level cache
BLOCK_ROWS = 160  # a multiple of the blocks that oneDAL works in (32 or 80)
OUTSIDE = 0  # the row of every feature's table before those of its codes

Floats = NDArray[np.float32]
Codes = tuple[int, ...]  # those of a split that go right


class TooManyCategoriesError(Exception):
    """The memberships of a model do not fit into LARGEST_TABLE."""


@dataclasses.dataclass(frozen=True)
class Split:
    """What stands for a split by a set: a threshold in a column, and whether the sides change."""

    column: int
    threshold: float
    exchanged: bool


class Widening:
    """Turns rows of the model, float32 [n, features], into rows with memberships [n, width]."""

    def __init__(self, document: Document) -> None:
        """Raises TooManyCategoriesError before anything large is allocated."""
        numeric: set[int] = set()
        sets: dict[int, dict[Codes, None]] = {}
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
        self._splits: dict[tuple[int, Codes], Split] = {}
        self.width = len(self.numeric)
        self._tables: list[tuple[slice, chains.Levels]] = []  # a feature's columns, and their table
        rows_of = []
        for feature in self.categorical.tolist():
            row_of, found, table = _table(list(sets[feature]), self.width)
            self._splits |= {(feature, codes): split for codes, split in found.items()}
            first, self.width = self.width, self.width + table.shape[1]
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
        left, right, default_left = tree.left.copy(), tree.right.copy(), tree.default_left.copy()
        for node in np.flatnonzero(tree.left >= 0).tolist():
            if node not in tree.categories:
                feature[node] = self._place[int(tree.feature[node])]
                continue
            split = self._splits[int(tree.feature[node]), tree.categories[node]]
            feature[node], value[node] = split.column, split.threshold
            if split.exchanged:
                left[node], right[node] = tree.right[node], tree.left[node]
                default_left[node] = 1 - tree.default_left[node]
        return dataclasses.replace(
            tree,
            feature=feature,
            value=value,
            left=left,
            right=right,
            default_left=default_left,
            categories={},
        )

    def forget_sets(self) -> None:
        """Free what only `rewrite` needs: large sets take more memory than their trees."""
        self._splits.clear()

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


def _check_size(sets: dict[int, dict[Codes, None]]) -> None:
    size = 0
    for memberships in sets.values():
        codes = set().union(*memberships)
        size += (len(codes) + 1) * len(memberships) + 8 * (max(codes, default=0) + 1)
    if size > LARGEST_TABLE:
        raise TooManyCategoriesError(
            f"the table of the model's categories would take {size >> 20} MB, "
            f"more than {LARGEST_TABLE >> 20}"
        )


def _table(
    sets: list[Codes], first: int
) -> tuple[NDArray[np.intp], dict[Codes, Split], chains.Levels]:
    """Return of a feature which row of the table a code has, [highest code + 1]; what stands for a
    split by each set, where the table's columns begin with `first`; and the table.

    The table is int8 [1 + codes, columns]; a code that no set holds has the row OUTSIDE. Of a set
    and the rest of the rows the smaller one is placed: large sets overlap.
    """
    members = [np.array(codes, np.intp) for codes in sets]
    known = np.zeros(max(int(codes.max(initial=0)) for codes in members) + 1, bool)
    for codes in members:
        known[codes] = True
    row_of = np.where(known, known.cumsum(), OUTSIDE)
    inside = np.zeros((len(sets), int(known.sum()) + 1), bool)
    for number, codes in enumerate(members):
        inside[number, row_of[codes]] = True
    is_rest = inside.sum(axis=1) * 2 > inside.shape[1]
    inside[is_rest] ^= True
    placed = [np.flatnonzero(row) for row in inside]
    places = chains.placed(placed)
    splits = {
        codes: Split(first + place.column, place.threshold, (place.level < 0) != rest)
        for codes, place, rest in zip(sets, places, is_rest.tolist(), strict=True)
    }
    return row_of, splits, chains.levels(placed, places, inside.shape[1])
