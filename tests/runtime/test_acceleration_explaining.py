"""Contributions are XGBoost's, whatever the engine; the faster one gives them, and says so."""

from __future__ import annotations

import json
import logging
import platform
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import PARTITIONED, Recipe, train
from runtime import acceleration
from runtime.acceleration import explaining

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="oneDAL is for x86-64"
)
BINARY = Recipe("binary", {"objective": "binary:logistic", "max_depth": 6}, "binary", 40)
EXPLAINED = [
    BINARY,
    Recipe("regression", {"base_score": 7.5}),
    Recipe("link", {"objective": "reg:gamma"}, "positive"),
    Recipe("classes", {"objective": "multi:softprob", "num_class": 5}, "five"),
    Recipe("labels", {"objective": "multi:softmax", "num_class": 5, "base_score": 0.3}, "five"),
    Recipe("two classes", {"objective": "multi:softprob", "num_class": 2}, "two"),
    Recipe("targets", {}, "targets"),
    Recipe("dart", {"booster": "dart", "rate_drop": 0.5}, rounds=20),
    Recipe("forest", {"num_parallel_tree": 3, "subsample": 0.7}),
    Recipe("missing", {}, missing=-999.0),
]
CASES = [(name, np.zeros((4, 2), np.float32)) for name in ("plain", "thresholds", "missing")]


@pytest.mark.parametrize("recipe", EXPLAINED, ids=lambda recipe: recipe.name)
def test_contributions_of_onedal_are_those_of_booster_predict(recipe: Recipe) -> None:
    booster, rows = train(recipe)
    choice = acceleration.choose(booster, mode="require", missing=recipe.missing)
    assert choice.explainer is choice.engine
    assert choice.report["contributions"]["engine"] == "onedal"
    missing = np.nan if recipe.missing is None else recipe.missing
    matrix = xgboost.DMatrix(rows, missing=missing, nthread=1)
    expected = booster.predict(matrix, pred_contribs=True)
    found = choice.explainer.contributions(rows)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    for first, last in (
        (0, 1),
        (1, 3),
        (3, 36),
        (36, 133),
    ):  # a row never depends on its neighbours
        for each in (choice.explainer, choice.reference):
            whole = found if each is choice.explainer else each.contributions(rows)
            np.testing.assert_array_equal(each.contributions(rows[first:last]), whole[first:last])


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("linear", {"booster": "gblinear"}),
        PARTITIONED,
    ],
    ids=lambda recipe: recipe.name,
)
def test_models_that_only_xgboost_explains_are_left_to_it(recipe: Recipe) -> None:
    booster, rows = train(recipe)
    choice = acceleration.choose(booster)
    assert choice.explainer is choice.reference
    assert choice.reference.concurrent == (recipe.name != "linear")
    types = booster.feature_types
    matrix = xgboost.DMatrix(rows, feature_types=types, enable_categorical=True)
    expected = booster.predict(matrix, pred_contribs=True)
    np.testing.assert_array_equal(choice.explainer.contributions(rows), expected)


class Timed:
    """An engine whose explanations take `fixed` + `row` seconds for each row of a fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, fixed: float, row: float):
        self.name, self.fixed, self.row = name, fixed, row
        self.shap, self.value, self.calls = True, 1.0, 0
        self.objective, self.num_features, self.num_groups = "reg:squarederror", 2, 1
        self.feature_names = None
        monkeypatch.setattr(explaining.time, "thread_time", lambda: Timed.now)

    now = 0.0

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        Timed.now += self.fixed + self.row * len(rows)
        self.calls += 1
        return np.full((len(rows), 3), self.value, np.float32)

    def margins(self, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), 3.0, np.float32)


@pytest.mark.parametrize(
    ("mine", "theirs", "names"),
    [
        ((0, 1.0), (0, 2.0), ["onedal", "onedal", "onedal"]),
        ((0, 1.0), (0, 0.5), ["xgboost", "xgboost", "xgboost"]),
        ((0, 1.0), (0.4, 0.7), ["onedal", "xgboost", "xgboost"]),  # by quadrature
        ((0, 1.0), (0, 0.97), ["onedal", "onedal", "onedal"]),  # not clearly faster
    ],
    ids=["onedal", "xgboost", "mixed", "a tie"],
)
def test_the_faster_engine_explains_and_the_log_and_the_report_say_which(
    mine: Any, theirs: Any, names: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    onedal = Timed(monkeypatch, "onedal", *(1e-3 * part for part in mine))
    reference = Timed(monkeypatch, "xgboost", *(1e-3 * part for part in theirs))
    began = Timed.now
    with caplog.at_level(logging.INFO):
        engine, report = explaining.choose(onedal, reference, CASES)  # type: ignore[arg-type]
    assert Timed.now - began <= explaining.SECONDS + 1e-9
    found = [acceleration.engine_for(engine, count).name for count in (1, 2, 100)]
    assert found == names
    assert (
        report["engine"] == engine.name == ("onedal+xgboost" if len(set(names)) > 1 else found[0])
    )
    assert [row["rows"] for row in report["times"]] == [1, 4]
    assert report["times"][1]["engine"] == names[1]
    assert f"contributions come from {engine.name}: {report['reason']}" in caplog.text
    forced, _ = explaining.choose(onedal, reference, CASES, require=True)  # type: ignore[arg-type]
    assert forced is onedal


def test_slow_explanations_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    onedal, reference = (Timed(monkeypatch, name, 0, 0.3) for name in ("onedal", "xgboost"))
    explaining.choose(onedal, reference, CASES)  # type: ignore[arg-type]
    assert (onedal.calls, reference.calls) == (2, 2)


@pytest.mark.parametrize("fault", ["another value", "not a number", "an exception"])
def test_what_is_not_proven_is_xgboost_s_with_a_warning(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    onedal, reference = (Timed(monkeypatch, name, 0, 0.001) for name in ("onedal", "xgboost"))
    if fault == "an exception":
        monkeypatch.setattr(onedal, "contributions", lambda rows: 1 / 0)
    onedal.value = {"another value": 1.001, "not a number": np.nan}.get(fault, 1.0)
    engine, report = explaining.choose(onedal, reference, CASES)  # type: ignore[arg-type]
    assert engine is reference
    assert not onedal.shap
    assert report["engine"] == "xgboost"
    assert report["reason"].startswith(
        "the check failed: ZeroDivisionError" if fault == "an exception" else "oneDAL's values dif"
    )
    json.dumps(report, allow_nan=False)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"contributions come from xgboost: {report['reason']}"


def test_nothing_is_explained_for_those_who_do_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    booster, rows = train(BINARY)
    monkeypatch.setattr(explaining, "choose", lambda *_, **__: pytest.fail("explained"))
    choice = acceleration.choose(booster, explain=False)
    assert choice.engine.name == "onedal"
    assert choice.explainer is choice.reference
    assert "contributions" not in choice.report
    expected = booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
    np.testing.assert_array_equal(choice.engine.contributions(rows), expected)
