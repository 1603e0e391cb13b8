"""Blocks are padded where that is faster, and XGBoost answers where it is faster itself."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import PARTITIONED, Recipe, train
from runtime import acceleration
from runtime.acceleration import tuning
from runtime.acceleration.engines import MixedEngine

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="oneDAL is for x86-64"
)
ROWS = np.zeros((tuning.PROBE_ROWS, 2), np.float32)


class Clock:
    """A clock that only the calls of engines move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(tuning.time, "thread_time", lambda: self.now)


class Timed:
    """An engine whose calls take `cost(rows)` microseconds."""

    def __init__(self, clock: Clock, name: str, cost: Any, exact: bool = True) -> None:
        self.clock, self.name, self.cost, self.exact = clock, name, cost, exact
        self.block = self.padded_from = 0
        self.objective, self.num_features, self.num_groups = "reg:squarederror", 2, 1
        self.feature_names = None

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.clock.now += self.cost(len(rows)) * 1e-6
        answer = np.zeros(len(rows), np.float32)
        return answer if self.exact or not self.block else answer + np.float32(1e-7)

    margins = predict


def in_blocks(size: int) -> Any:
    """Return the cost of an engine that works in blocks: 100 a block, 3 a row beyond."""
    return lambda rows: 10 + 100 * (rows // size) + 3 * (rows % size)


@pytest.mark.parametrize("size", [32, 80, 96])
def test_the_block_is_found_and_padded_from_the_row_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    clock = Clock(monkeypatch)
    engine = Timed(clock, "onedal", lambda n: 10 + 61 * (n // size) + 3 * (n % size))
    found = tuning.pad(engine, ROWS)  # type: ignore[arg-type]
    assert found == {"rows": size, "padded_from": 21}  # 20 rows take less than a block
    assert (engine.block, engine.padded_from) == (size, 21)


def test_an_engine_without_blocks_is_not_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Timed(Clock(monkeypatch), "onedal", lambda n: 10 + 3 * n)
    assert tuning.pad(engine, ROWS) is None  # type: ignore[arg-type]
    assert engine.block == 0


def test_padding_that_changes_an_answer_by_a_bit_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Timed(Clock(monkeypatch), "onedal", in_blocks(80), exact=False)
    assert tuning.pad(engine, ROWS) is None  # type: ignore[arg-type]
    assert engine.block == 0


@pytest.mark.parametrize(
    ("onedal", "xgboost_", "expected"),
    [
        (lambda n: 10 + n, lambda n: 200 + 3 * n, ["onedal"] * 3),
        (lambda n: 500 + n, lambda n: 200 + n / 2, ["xgboost"] * 3),
        (lambda n: 10 + n, lambda n: 200 + n / 4, ["onedal", "onedal", "xgboost"]),
        (lambda n: 10 + n, lambda n: 0.96 * (10 + n), ["onedal"] * 3),  # not clearly faster
    ],
    ids=["onedal", "xgboost", "mixed", "a tie"],
)
def test_the_faster_engine_answers_by_the_number_of_rows(
    monkeypatch: pytest.MonkeyPatch, onedal: Any, xgboost_: Any, expected: list[str]
) -> None:
    clock = Clock(monkeypatch)
    mine, other = Timed(clock, "onedal", onedal), Timed(clock, "xgboost", xgboost_)
    engine, table = tuning.choose(mine, other, ROWS)  # type: ignore[arg-type]
    assert [row["engine"] for row in table] == expected
    calls: list[str] = []
    for each in (mine, other):
        monkeypatch.setattr(each, "predict", lambda rows, name=each.name: calls.append(name))
    for size in tuning.SIZES:
        engine.predict(np.zeros((size, 2), np.float32))
    assert calls == expected
    assert isinstance(engine, MixedEngine) == (len(set(expected)) > 1)


def test_sizes_that_do_not_fit_into_the_time_are_judged_as_the_largest_that_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    slow = Timed(clock, "onedal", lambda n: 20_000 * n)
    quick = Timed(clock, "xgboost", lambda n: 10_000 * n)
    engine, table = tuning.choose(slow, quick, ROWS)  # type: ignore[arg-type]
    assert [row["rows"] for row in table] == [1]
    assert engine is quick


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("binary", {"objective": "binary:logistic", "max_depth": 6}, "binary", 60),
        Recipe("classes", {"objective": "multi:softprob", "num_class": 5}, "five", 20),
        PARTITIONED,
    ],
    ids=lambda recipe: recipe.name,
)
def test_padded_answers_are_those_of_unpadded_rows_to_the_last_bit(recipe: Recipe) -> None:
    booster, rows = train(recipe)
    engine = acceleration.choose(booster, mode="require").engine
    engine.block = 0
    plain = [engine.predict(rows[:count]) for count in range(1, 331)]
    engine.block, engine.padded_from = 80, 20
    for count, expected in enumerate(plain, start=1):
        np.testing.assert_array_equal(engine.predict(rows[:count]), expected)


def test_many_outputs_are_left_to_xgboost_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve outputs of vector leaves are twelve walks for oneDAL, and one for XGBoost."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 5)).astype(np.float32)
    labels = rows @ random.normal(size=(5, 12))
    parameters = {"multi_strategy": "multi_output_tree", "tree_method": "hist", "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, labels), 40)
    choice = acceleration.choose(booster)
    assert choice.report["times"][-1]["engine"] == "xgboost", choice.report["times"]
    assert "XGBoost is faster with" in choice.reason
    expected = booster.predict(xgboost.DMatrix(rows))
    for count in (1, 16, 500):
        answer = choice.engine.predict(rows[:count])
        np.testing.assert_allclose(answer, expected[:count], rtol=1e-5, atol=1e-5)
