"""Batches are cut and padded where that is faster; XGBoost answers where it is faster itself."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import PARTITIONED, Recipe, train
from runtime import acceleration
from runtime.acceleration import tuning
from runtime.acceleration.calls import WHOLE, Calls
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
        self.calls: Calls | None = None
        self.objective, self.num_features, self.num_groups = "reg:squarederror", 2, 1
        self.feature_names = None

    def predict(self, rows: np.ndarray) -> np.ndarray:
        self.clock.now += self.cost(len(rows)) * 1e-6
        answer = np.zeros(len(rows), np.float32)
        return answer if self.exact or not self.calls else answer + np.float32(1e-7)

    margins = predict


def in_blocks(block: Any) -> Any:
    """Return the microseconds of a call: 10, 5 for a row of a block, 15 for one beyond the last."""

    def cost(rows: int) -> float:
        size = block(rows)
        return 10 + 5 * (rows // size * size) + 15 * (rows % size)

    return cost


BLOCKS = {
    "always 80": lambda rows: 80,
    "always 64": lambda rows: 64,
    "32 to 80": lambda rows: 16 * min(max(rows // 32, 2), 5),
    "32 to 256": lambda rows: 16 * min(max(rows // 32, 2), 16),
}


@pytest.fixture(params=BLOCKS)
def planned(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Calls, dict[str, Any]]:
    """The cost of an engine, the calls that were planned for it, and their report."""
    cost = in_blocks(BLOCKS[request.param])
    engine = Timed(Clock(monkeypatch), "onedal", cost)
    found = tuning.plan(engine, ROWS)  # type: ignore[arg-type]
    assert found
    assert engine.calls
    return cost, engine.calls, found


def test_no_batch_takes_longer_than_a_larger_one(planned: tuple[Any, Calls, Any]) -> None:
    cost, calls, _ = planned
    seconds = [sum(map(cost, calls(count))) for count in range(1, 331)]
    for count, taken in enumerate(seconds, start=1):
        assert taken <= 1.05 * min(seconds[count - 1 :]), (count, calls(count))
        assert taken <= 1.05 * cost(count)
    for count in (WHOLE - 1, WHOLE, WHOLE + 1, 5000, 10_000):
        assert sum(map(cost, calls(count))) <= 1.05 * cost(count), calls(count)


def test_the_calls_take_all_rows_and_only_the_last_one_is_padded() -> None:
    cost = in_blocks(BLOCKS["always 80"])
    calls = Calls({rows: cost(rows) * 1e-6 for rows in (1, *tuning.CALLS)})
    for count in (*range(1, 2 * WHOLE + 100), 100_000):
        assert sum(calls(count)[:-1]) < count <= sum(calls(count)), (count, calls(count))
    assert calls(0) == ()
    assert [calls(count) for count in (20, 79, 80, 100)] == [(20,), (80,), (80,), (100,)]


def test_the_report_says_what_was_measured_and_planned(
    planned: tuple[Any, Calls, dict[str, Any]],
) -> None:
    cost, calls, found = planned
    times = {call["rows"]: call["microseconds"] for call in found["times"]}
    assert times == {rows: cost(rows) for rows in (1, *tuning.CALLS)}
    first = found["padded_from"]
    assert sum(calls(first)) > first
    assert calls(first - 1) == (first - 1,)
    whole = [rows for rows in tuning.CALLS if calls(rows) == (rows,)]
    assert tuning.sentence(found) == (
        f"oneDAL takes rows in calls of {', '.join(map(str, whole))}; "
        f"{first} and more are padded to one"
    )


def test_a_slow_model_is_measured_with_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    engine = Timed(clock, "onedal", lambda rows: 20 * in_blocks(BLOCKS["32 to 80"])(rows))
    found = tuning.plan(engine, ROWS)  # type: ignore[arg-type]
    assert found
    assert 16 < found["times"][-1]["rows"] < 320
    assert clock.now < 2 * tuning.PLAN_SECONDS


@pytest.mark.parametrize("turns", [0.5, 3.3, 7.5, 8.9])
def test_a_plan_does_not_mix_slow_moments_of_the_machine_with_fast_ones(
    monkeypatch: pytest.MonkeyPatch, turns: float
) -> None:
    clock, cost = Clock(monkeypatch), in_blocks(BLOCKS["32 to 80"])
    end = turns * 1.6 * sum(cost(rows) / 4e6 for rows in (1, *tuning.CALLS))
    engine = Timed(clock, "onedal", lambda n: cost(n) / 4 * (1.6 if clock.now < end else 1))
    found = tuning.plan(engine, ROWS)  # type: ignore[arg-type]
    assert found
    factors = [call["microseconds"] / cost(call["rows"]) for call in found["times"]]
    assert max(factors) < 1.02 * min(factors)


def test_an_engine_without_blocks_takes_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Timed(Clock(monkeypatch), "onedal", lambda n: 10 + 3 * n)
    assert tuning.plan(engine, ROWS) is None  # type: ignore[arg-type]
    assert engine.calls is None


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_plan_that_changes_an_answer_by_a_bit_is_not_used(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    engine = Timed(Clock(monkeypatch), "onedal", in_blocks(BLOCKS[kind]), exact=False)
    assert tuning.plan(engine, ROWS) is None  # type: ignore[arg-type]
    assert engine.calls is None


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
def test_planned_answers_are_those_of_whole_batches_to_the_last_bit(recipe: Recipe) -> None:
    booster, rows = train(recipe)
    engine = acceleration.choose(booster, mode="require").engine
    engine.calls = None
    plain = [engine.predict(rows[:count]) for count in range(1, 331)]
    cost = in_blocks(BLOCKS["always 80"])
    engine.calls = Calls({size: cost(size) for size in (1, 16, 80, 160)})
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
