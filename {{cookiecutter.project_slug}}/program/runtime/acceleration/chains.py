"""Sets that share a column of numbers: chains of sets within each other, and sets apart from them.

A column gives a split at each threshold. Where sets lie within each other, the number of them that
hold an item tells which do, so that one column is enough; a second chain, of which no set shares an
item with the first, counts below zero. The sets on a path of a tree lie within each other or apart,
and so do most small ones: a third of the columns remains and less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

LONGEST = 127  # sets in a chain: levels are int8
SETS_AT_A_TIME = 256  # whose overlaps with all others are counted
MOST_OVERLAPS = 1 << 27  # to count; where there are more, each set has a column of its own

Levels = NDArray[np.int8]
Items = NDArray[np.intp]  # of a set: numbers from 0, each once


@dataclass(frozen=True)
class Place:
    """Where a set is: a column, and the level of those of its items that no smaller set of its
    chain holds; below zero in the second chain."""

    column: int
    level: int

    @property
    def threshold(self) -> float:
        """What parts the items from others: between two levels."""
        return self.level - 0.5 if self.level > 0 else self.level + 0.5


def placed(sets: Sequence[Items]) -> list[Place]:
    """Return the place of each of `sets`, all different, in as few columns as are quickly found."""
    order = sorted(range(len(sets)), key=lambda at: -len(sets[at]))
    found = [Place(0, 1)] * len(sets)
    for at, place in zip(order, _in_order([sets[at] for at in order]), strict=True):
        found[at] = place
    return found


def levels(sets: Sequence[Items], places: Sequence[Place], count: int) -> Levels:
    """Return the level of each of `count` items in each column, int8 [items, columns]."""
    table = np.zeros((count, 1 + max(place.column for place in places)), np.int8)
    for items, place in zip(sets, places, strict=True):
        table[items, place.column] += 1 if place.level > 0 else -1
    return table


def _in_order(sets: Sequence[Items]) -> list[Place]:
    """Return the places of sets that come from the largest to the smallest: each lies within all
    sets of its chain before it."""
    members = _members(sets)
    if (np.bincount(members.indices).astype(np.int64) ** 2).sum() > MOST_OVERLAPS:
        return [Place(column, 1) for column in range(len(sets))]
    # Of each column: its largest set; the smallest of either chain, or -1; the sets in either.
    largest, inner, outer = (np.full(len(sets), -1) for _ in range(3))
    lengths = np.zeros((2, len(sets)), np.intp)
    found: list[Place] = []
    columns = 0
    for number, items in enumerate(sets):
        if number % SETS_AT_A_TIME == 0:
            overlaps = (members[number : number + SETS_AT_A_TIME] @ members.T).toarray()
        shared, size, used = overlaps[number % SETS_AT_A_TIME], len(items), slice(0, columns)
        within = (shared[inner[used]] == size) & (lengths[0, used] < LONGEST)
        beside = np.where(outer[used] < 0, shared[largest[used]] == 0, shared[outer[used]] == size)
        beside &= lengths[1, used] < LONGEST
        if within.any():
            column, chain = int(within.argmax()), 0
        elif beside.any():
            column, chain = int(beside.argmax()), 1
        else:
            column, chain, columns = columns, 0, columns + 1
            largest[column] = number
        (inner, outer)[chain][column] = number
        lengths[chain, column] += 1
        level = int(lengths[chain, column])
        found.append(Place(column, -level if chain else level))
    return found


def _members(sets: Sequence[Items]) -> csr_matrix:
    """Return which items each set holds: 1, int32 [sets, items]."""
    items = np.concatenate([*sets, np.empty(0, np.intp)])
    ends = np.cumsum([0, *map(len, sets)])
    shape = (len(sets), int(items.max(initial=0)) + 1)
    return csr_matrix((np.ones(len(items), np.int32), items, ends), shape=shape)
