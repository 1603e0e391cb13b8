"""Each way in which an accelerated model is known to answer wrongly, and the guard against it.

The truth is always `Booster.predict` on a DMatrix.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import Recipe, features, train
from runtime import acceleration
from runtime.acceleration import comparison, conversion, document, engines, lint, probes

pytest.importorskip("daal4py", reason="oneDAL is for x86-64 only").daalinit(1)
pytestmark = pytest.mark.usefixtures("quick_choice")
FIVE = {"objective": "multi:softprob", "num_class": 5}


def converted(booster: xgboost.Booster, missing: float | None = None) -> engines.OneDALEngine:
    """Return the oneDAL engine alone: no lint, and no parity check that could fall back."""
    model = document.read(booster)
    return conversion.convert(model, engines.XGBoostEngine(booster, missing))


def truth(booster: xgboost.Booster, rows: np.ndarray, **options: Any) -> np.ndarray:
    """Return what XGBoost answers."""
    return booster.predict(xgboost.DMatrix(rows, nthread=1, **options), validate_features=False)


def test_two_class_softprob_is_not_taken_for_a_regression() -> None:
    booster, rows = train(Recipe("", {"objective": "multi:softprob", "num_class": 2}, "two"))
    assert converted(booster).predict(rows).shape == (len(rows), 2)
    np.testing.assert_allclose(converted(booster).predict(rows), truth(booster, rows), atol=1e-6)


@pytest.mark.parametrize("parameters", [{}, FIVE], ids=["regression", "five classes"])
@pytest.mark.parametrize("kind", ["", "stopped"])
def test_parallel_trees_are_all_counted(parameters: dict[str, Any], kind: str) -> None:
    parameters = {**parameters, "num_parallel_tree": 4, "subsample": 0.5}
    label = "five" if "num_class" in parameters else "real"
    booster, rows = train(Recipe("", parameters, label, rounds=40, kind=kind))
    engine = converted(booster)
    np.testing.assert_allclose(engine.predict(rows), truth(booster, rows), rtol=1e-5, atol=1e-6)


def test_weights_of_dropped_trees_are_read_from_the_saved_model() -> None:
    booster, rows = train(Recipe("", {"booster": "dart", "rate_drop": 0.5, "one_drop": 1}))
    assert document.read(booster).dropped
    np.testing.assert_allclose(converted(booster).predict(rows), truth(booster, rows), rtol=1e-6)


def test_dropped_trees_count_even_when_the_model_calls_itself_gbtree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    booster, _ = train(Recipe("", {"booster": "dart", "rate_drop": 0.5, "one_drop": 1}))
    saved = document.read(booster)
    pieces = list(document._pieces(booster))
    for learner in pieces:
        learner["gradient_booster"]["name"] = "gbtree"
    monkeypatch.setattr(document, "_pieces", lambda booster: pieces)
    renamed = document.read(booster)
    assert (renamed.booster, renamed.dropped) == ("gbtree", True)
    for mine, original in zip(renamed.trees, saved.trees, strict=True):
        np.testing.assert_array_equal(mine.value, original.value)


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_a_model_read_in_pieces_is_the_whole_model(
    monkeypatch: pytest.MonkeyPatch, booster: str
) -> None:
    trained, _ = train(Recipe("", {**FIVE, "booster": booster, "num_parallel_tree": 2}, "five"))
    pieces = document.read(trained)
    monkeypatch.setattr(document, "ROUNDS", 5)
    for mine, whole in zip(document.read(trained).trees, pieces.trees, strict=True):
        assert mine.group == whole.group
        for part in ("left", "right", "feature", "value", "default_left", "cover"):
            np.testing.assert_array_equal(getattr(mine, part), getattr(whole, part))


def test_cox_answers_hazards_and_not_their_logarithm() -> None:
    booster, rows = train(Recipe("", {"objective": "survival:cox"}, "survival"))
    np.testing.assert_allclose(converted(booster).predict(rows), truth(booster, rows), rtol=1e-5)


def test_logitraw_answers_margins_without_a_sigmoid() -> None:
    booster, rows = train(Recipe("", {"objective": "binary:logitraw"}, "binary"))
    answer = converted(booster).predict(rows)
    assert answer.min() < 0 < 1 < answer.max()
    np.testing.assert_allclose(answer, truth(booster, rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", [-999.0, 0.0])
def test_another_missing_value_is_mapped_to_nan(missing: float) -> None:
    booster, rows = train(Recipe("", {}, missing=missing))
    expected = truth(booster, rows, missing=missing)
    for engine in (converted(booster, missing), engines.XGBoostEngine(booster, missing)):
        before = rows.copy()
        np.testing.assert_allclose(engine.predict(rows), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(rows, before)  # the caller's rows stay as they were
    assert np.abs(converted(booster).predict(rows) - expected).max() > 0.1


def test_float64_epoch_seconds_fall_on_xgboosts_side_of_a_split() -> None:
    random = np.random.default_rng(0)
    seconds = 1.7e9 + random.integers(0, 5000, (500, 1)).astype(np.float64)
    label = np.sin(seconds[:, 0] / 200)
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(seconds, label=label), 20)
    splits = np.unique(document.read(booster).trees[0].value).astype(np.float64)
    near = np.concatenate([seconds[:, 0], splits, splits - 40, splits + 40])[:, None]
    np.testing.assert_array_equal(converted(booster).predict(near), truth(booster, near))


def test_float64_cells_are_compared_with_the_missing_value_in_float32() -> None:
    booster, rows = train(Recipe("", {}, missing=0.1))
    rows = rows.astype(np.float64)
    rows[::3, 0] = 0.1  # as float32 it is the missing value, as float64 it is beside it
    expected = truth(booster, rows, missing=0.1)
    for engine in (converted(booster, 0.1), engines.XGBoostEngine(booster, 0.1)):
        np.testing.assert_allclose(engine.predict(rows), expected, rtol=1e-5, atol=1e-6)


def test_a_booster_that_stopped_early_answers_with_every_tree_it_holds() -> None:
    booster, rows = train(Recipe("", {}, rounds=60, kind="stopped"))
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    np.testing.assert_allclose(converted(booster).predict(rows), truth(booster, rows), rtol=1e-5)
    best = booster[: booster.best_iteration + 1]  # what training saves
    np.testing.assert_allclose(converted(best).predict(rows), truth(best, rows), rtol=1e-5)


@pytest.mark.parametrize("columns", [5, 7])
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_another_number_of_columns_is_refused_by_both_engines(columns: int, mode: str) -> None:
    booster, _ = train(Recipe("", {}))
    engine = acceleration.choose(booster, mode=mode).engine
    for call in (engine.predict, engine.margins, engine.contributions):
        with pytest.raises(ValueError, match=f"{columns}.*the model has 6 columns"):
            call(np.zeros((2, columns), np.float32))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("", {"booster": "gblinear"}), "linear"),
        (Recipe("", {}, rounds=0), "no trees"),
    ],
)
def test_what_onedal_cannot_do_is_refused_in_a_sentence(recipe: Recipe, words: str) -> None:
    booster, _ = train(recipe)
    refusals = lint.refusals(document.read(booster))
    assert [words in sentence for sentence in refusals] == [True]


def test_the_parity_check_catches_a_conversion_that_takes_the_wrong_side_at_equality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    booster, _ = train(Recipe("", {}))
    monkeypatch.setattr(conversion.np, "nextafter", lambda value, _: value)
    reference = engines.XGBoostEngine(booster)
    model = document.read(booster)
    engine = conversion.convert(model, reference)
    monkeypatch.undo()
    results = comparison.check(engine, booster, probes.cases(model, None, None), None)
    assert not next(result for result in results if "thresholds" in result.case).ok


@pytest.mark.parametrize("fault", ["leaf", "cover", "default_left", "threshold"])
def test_a_fault_in_one_tree_leads_to_a_fall_back(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    booster, rows = train(Recipe("", {"objective": "binary:logistic"}, "binary"))
    add = conversion._add
    trees = []

    def broken(builder: Any, tree: document.Tree, **label: int) -> None:
        trees.append(tree)
        if len(trees) == 3:
            value, left = tree.value.copy(), tree.left
            value[left == -1] += 0.01 * (fault == "leaf")
            value[0] += 0.05 * (fault == "threshold")
            default_left = 1 - tree.default_left if fault == "default_left" else tree.default_left
            cover = tree.cover[::-1].copy() if fault == "cover" else tree.cover
            parts = {"value": value, "default_left": default_left, "cover": cover}
            tree = document.Tree(**{**vars(tree), **parts})
        add(builder, tree, **label)

    monkeypatch.setattr(conversion, "_add", broken)
    choice = acceleration.choose(booster, probe_rows=rows)
    if fault == "cover":  # the answers are right, the contributions alone are not
        assert choice.engine.name == "onedal"
        assert choice.report["contributions"]["engine"] == choice.explainer.name == "xgboost"
    else:
        assert choice.engine.name == "xgboost"
        assert "differs from XGBoost" in choice.reason
    expected = booster.predict(xgboost.DMatrix(rows), pred_contribs=True)
    np.testing.assert_allclose(choice.engine.contributions(rows), expected, atol=1e-4)
    np.testing.assert_allclose(choice.engine.predict(rows), truth(booster, rows), atol=1e-6)


def test_a_report_says_what_was_compared_and_can_be_written_as_json() -> None:
    booster, rows = train(Recipe("", FIVE, "five"))
    report = acceleration.choose(booster, probe_rows=rows, measure=True).report
    document_ = json.loads(json.dumps(report, allow_nan=False))
    assert document_["engine"] == "onedal"
    assert {"1 row", "31 rows", "32 rows", "33 rows", "1000 rows", "training rows"} < {
        case["case"] for case in document_["parity"]
    }
    assert all(case["ok"] and case["prediction"] <= 1e-6 for case in document_["parity"])
    assert [entry["rows"] for entry in document_["speed"]] == [1, 32, 1000]
    assert document_["versions"]["xgboost-cpu"] == xgboost.__version__


def test_the_same_model_is_probed_with_the_same_rows() -> None:
    booster, _ = train(Recipe("", {}))
    model = document.read(booster)
    first, second = probes.cases(model, None, None), probes.cases(model, None, None)
    for (name, rows), (other, again) in zip(first, second, strict=True):
        assert name == other
        np.testing.assert_array_equal(rows, again)
        assert rows.dtype == np.float32
        assert rows.shape[1] == features().shape[1]
