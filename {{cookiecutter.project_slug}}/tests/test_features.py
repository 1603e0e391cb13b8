"""Whatever features.py does: it keeps the rows and their order, and no state between calls."""

from __future__ import annotations

import json

import numpy as np

import features

ROWS = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0], [7.0, 8.0, 9.0]], np.float32)
NAMES = ("a", "b", "c")


def test_rows_keep_their_number_and_their_order() -> None:
    values, _ = features.transform(ROWS.copy(), NAMES)
    backwards, _ = features.transform(ROWS[::-1].copy(), NAMES)
    assert len(values) == len(ROWS)
    np.testing.assert_array_equal(values, backwards[::-1])


def test_a_second_call_gives_the_same_answer() -> None:
    first, _ = features.transform(ROWS.copy(), NAMES)
    second, _ = features.transform(ROWS.copy(), NAMES)
    np.testing.assert_array_equal(first, second)


def test_what_fit_learns_survives_json() -> None:
    fitted = features.fit(ROWS)
    assert json.loads(json.dumps(fitted)) == fitted
    features.transform(ROWS.copy(), NAMES, fitted)
