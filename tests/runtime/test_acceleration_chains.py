"""Sets that share columns: each item's membership is read back, whatever the sets are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.acceleration import chains

ITEMS = 8
SETS = st.lists(
    st.frozensets(st.integers(0, ITEMS - 1), max_size=ITEMS), min_size=1, max_size=40, unique=True
)


def check(sets: list[frozenset[int]], count: int = ITEMS) -> int:
    """Compare the memberships; return the number of columns."""
    arrays = [np.array(sorted(items), np.intp) for items in sets]
    places = chains.placed(arrays)
    table = chains.levels(arrays, places, count)
    for items, place in zip(sets, places, strict=True):
        above = table[:, place.column] >= place.threshold
        inside = above if place.level > 0 else ~above
        assert set(np.flatnonzero(inside)) == items
    return table.shape[1]


@settings(max_examples=200, deadline=None)
@given(sets=SETS)
def test_memberships_are_read_back(sets: list[frozenset[int]]) -> None:
    assert check(sets) <= len(sets)


def test_sets_within_each_other_and_sets_apart_share_a_column() -> None:
    within = [frozenset(range(size)) for size in range(1, 100)]
    apart = [frozenset(range(100, 100 + size)) for size in range(1, 100)]
    assert check(within + apart, 200) == 1


def test_two_single_items_share_a_column() -> None:
    assert check([frozenset({item}) for item in range(ITEMS)]) == ITEMS // 2


def test_long_chains_are_continued_in_other_columns() -> None:
    assert check([frozenset(range(size)) for size in range(1, 301)], 301) == 3


def test_sets_of_too_many_overlaps_have_columns_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chains, "MOST_OVERLAPS", 1)
    assert check([frozenset({0}), frozenset({0, 1}), frozenset({2})]) == 3
