"""Whatever features.py does: rows and their order are kept, no state, the same columns always."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import features
import settings
from sample import make_sample

# Rows as the model meets them: sample data here; put rows of your own data in its place.
_, VALUES, _, COLUMNS, _ = make_sample.load(settings.load().num_classes)
ROWS = np.array(VALUES[:60], np.float32)
ROWS[::7, ::3] = np.nan
NAMES = tuple(COLUMNS)
FITTED = features.fit(ROWS)


def transform(rows: np.ndarray, fitted: dict[str, Any] | None = None) -> np.ndarray:
    values, names = features.transform(rows.copy(), NAMES, fitted)
    assert values.dtype == np.float32
    assert names is None or len(names) == values.shape[1]
    return values


@pytest.mark.parametrize("fitted", [None, FITTED], ids=["nothing learned", "fitted"])
def test_rows_keep_their_number_and_their_order(fitted: dict[str, Any] | None) -> None:
    values = transform(ROWS, fitted)
    assert len(values) == len(ROWS)
    np.testing.assert_array_equal(values, transform(ROWS[::-1], fitted)[::-1])


@pytest.mark.parametrize("fitted", [None, FITTED], ids=["nothing learned", "fitted"])
def test_a_row_alone_gets_what_it_gets_among_others(fitted: dict[str, Any] | None) -> None:
    alone = [transform(row[np.newaxis], fitted) for row in ROWS]
    np.testing.assert_array_equal(np.concatenate(alone), transform(ROWS, fitted))


def test_a_second_call_gives_the_same_answer_and_leaves_its_input_alone() -> None:
    rows = ROWS.copy()
    first, _ = features.transform(rows, NAMES)
    np.testing.assert_array_equal(rows, ROWS)
    second, _ = features.transform(rows, NAMES)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("count", [0, 1, len(ROWS)])
def test_every_number_of_rows_has_the_same_columns(count: int) -> None:
    assert transform(ROWS[:count]).shape == (count, transform(ROWS).shape[1])


def test_formats_without_names_get_the_same_columns() -> None:
    """CSV without a header and libsvm bring no names; Parquet and JSON Lines may."""
    values, names = features.transform(ROWS.copy(), None)
    assert names is None or len(names) == values.shape[1]
    np.testing.assert_array_equal(values, transform(ROWS))


def test_a_row_without_any_value_is_transformed_too() -> None:
    assert len(transform(np.full_like(ROWS[:2], np.nan))) == 2


def test_what_fit_learns_survives_json() -> None:
    assert json.loads(json.dumps(FITTED, allow_nan=False)) == FITTED
    learned = json.loads(json.dumps(FITTED))
    np.testing.assert_array_equal(transform(ROWS, learned), transform(ROWS, FITTED))
