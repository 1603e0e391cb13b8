"""The built-in's extra metrics, against scikit-learn on the rows themselves."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn.metrics as truth
import xgboost

from runtime.job.failures import UserError
from runtime.job.versions import xgboost_version
from runtime.training.conflicts import LEVELS
from runtime.training.fit import best_round, line
from runtime.training.fit import evaluate as evaluate_all
from runtime.training.hyperparameters import parse
from runtime.training.metric_table import METRICS, maximised
from runtime.training.metrics import classes, confusion, evaluate
from runtime.training.parameters import OBJECTIVES

GENERATOR = np.random.default_rng(3)
LABELS = {count: GENERATOR.integers(0, count, 500).astype(np.float32) for count in (2, 4)}
SCORES = {
    2: np.clip(LABELS[2] * 0.3 + GENERATOR.random(500) * 0.7, 0, 1).astype(np.float32),
    4: (np.eye(4)[LABELS[4].astype(int)] * 0.4 + GENERATOR.random((500, 4))).astype(np.float32),
}
EXPECTED = {
    "accuracy": truth.accuracy_score,
    "balanced_accuracy": truth.balanced_accuracy_score,
    "f1": lambda y, p: truth.f1_score(y, p, average="macro"),
    "f1_macro": lambda y, p: truth.f1_score(y, p, average="macro"),
    "f1_binary": truth.f1_score,
    "precision": truth.precision_score,
    "precision_macro": lambda y, p: truth.precision_score(y, p, average="macro"),
    "precision_micro": lambda y, p: truth.precision_score(y, p, average="micro"),
    "recall": truth.recall_score,
    "recall_macro": lambda y, p: truth.recall_score(y, p, average="macro"),
    "recall_micro": lambda y, p: truth.recall_score(y, p, average="micro"),
}


def same(values: np.ndarray) -> np.ndarray:
    return values


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_class_metric_is_scikit_learns(name: str, count: int) -> None:
    if count > 2 and name in {"f1_binary", "precision", "recall"}:
        pytest.skip("for two classes only")
    objective = "binary:logistic" if count == 2 else "multi:softprob"
    predicted = SCORES[2] > 0.5 if count == 2 else SCORES[4].argmax(axis=1)
    found = evaluate([name], LABELS[count], SCORES[count], objective, count, same)
    assert found == {name: pytest.approx(EXPECTED[name](LABELS[count], predicted), abs=1e-12)}


def test_mse_and_r2_are_scikit_learns() -> None:
    labels, predicted = LABELS[4], SCORES[2] * 3
    found = evaluate(["r2", "mse"], labels, predicted, "reg:squarederror", 2, same)
    assert list(found) == ["r2", "mse"]
    assert found["r2"] == pytest.approx(truth.r2_score(labels, predicted), abs=1e-6)
    assert found["mse"] == pytest.approx(truth.mean_squared_error(labels, predicted), abs=1e-6)


@pytest.mark.parametrize("name", ["f1", "r2"])
def test_sums_over_hosts_give_the_metric_of_all_rows(name: str) -> None:
    halves = [slice(0, 200), slice(200, 500)]
    kept: list[np.ndarray] = []

    def keep(values: np.ndarray) -> np.ndarray:
        kept.append(values)
        return values

    for half in halves:
        evaluate([name], LABELS[2][half], SCORES[2][half], "binary:logistic", 2, keep)
    both = evaluate(
        [name], LABELS[2][:1], SCORES[2][:1], "binary:logistic", 2, lambda _: kept[0] + kept[1]
    )
    whole = evaluate([name], LABELS[2], SCORES[2], "binary:logistic", 2, same)
    assert both[name] == pytest.approx(whole[name], abs=1e-9)


@pytest.mark.parametrize("name", EXPECTED)
def test_classes_that_are_absent_count_as_scikit_learn_counts_them(name: str) -> None:
    labels, predicted = np.array([0, 0, 0, 0.0]), np.array([0.1, 0.2, 0.9, 0.3])
    if name not in {"f1_binary", "precision", "recall"}:
        found = evaluate(
            [name], np.array([0, 4.0, 4]), np.eye(9)[[0, 4, 7]], "multi:softprob", 9, same
        )
        with warnings.catch_warnings(action="ignore"):
            expected = EXPECTED[name]([0, 4, 4], [0, 4, 7])
        assert found[name] == pytest.approx(expected, abs=1e-12)
    with warnings.catch_warnings(action="ignore"):
        expected = EXPECTED[name](labels, predicted > 0.5)
    found = evaluate([name], labels, predicted, "binary:logistic", 2, same)
    assert found[name] == pytest.approx(expected, abs=1e-12)


def test_thousands_of_classes_take_little_memory() -> None:
    count, rows = 5000, 400
    labels = GENERATOR.integers(0, count, rows).astype(np.float32)
    predicted = GENERATOR.integers(0, count, rows).astype(np.float32)
    tracemalloc.start()
    evaluate(["f1", "accuracy"], labels, predicted, "multi:softmax", count, same)
    confusion(labels, predicted, "multi:softmax", count, 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20  # a confusion matrix of all classes is 200 MB


def test_the_first_classes_of_the_confusion_matrix_are_scikit_learns() -> None:
    predicted = SCORES[4].argmax(axis=1)
    expected = truth.confusion_matrix(LABELS[4], predicted)
    for shown in (2, 4, 20):
        found = confusion(LABELS[4], SCORES[4], "multi:softprob", 4, shown)
        np.testing.assert_array_equal(found, expected[:shown, :shown])


def labels_of(objective: str) -> np.ndarray:
    return np.arange(60) % (3 if objective.startswith("multi:") else 2) + float(
        "gamma" in objective
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_metric_that_is_accepted_can_be_computed(objective: str) -> None:
    """What XGBoost itself cannot compute is refused before training."""
    if objective == "reg:expectileerror" and xgboost_version() < (3, 3):
        pytest.skip("XGBoost 3.3 has brought this objective")
    given = {"num_round": "1", "objective": objective}
    given |= {"num_class": "3"} if objective.startswith("multi:") else {}
    given |= {LEVELS[objective]: "0.5"} if objective in LEVELS else {}
    rows, labels = GENERATOR.random((60, 3)), labels_of(objective)
    data = xgboost.DMatrix(rows, label=labels)
    if objective == "survival:aft":
        data = xgboost.DMatrix(rows, label_lower_bound=labels + 1, label_upper_bound=labels + 1)
    if objective.startswith("rank:"):
        data.set_group([20, 20, 20])
    accepted = []
    for name in METRICS:
        try:
            chosen, _ = parse({**given, "eval_metric": name}, 1)
        except UserError:
            continue
        if not np.isin(labels, (0, 1)).all() and name in {"ndcg", "map", "pre"}:
            continue  # refused by the labels, once they are read
        booster = xgboost.Booster({**chosen.for_xgboost(), "nthread": 1}, [data])
        booster.update(data, 0)
        scores = evaluate_all(booster, {"train": data}, 0, chosen)
        assert f"train-{name}" in [key.split("@")[0] for key in scores]
        accepted.append(name)
    assert len(accepted) >= 2


def test_classes_follow_the_objectives_own_scale() -> None:
    assert classes(np.array([-0.2, 0.3]), "binary:logitraw").tolist() == [0, 1]
    assert classes(np.array([0.2, 0.7]), "binary:logistic").tolist() == [0, 1]
    assert classes(np.array([2.0, 0.0]), "multi:softmax").tolist() == [2, 0]


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("validation-rmse", [3, 1, 1, 2], 1),
        ("validation-auc", [0.5, 0.9, 0.7], 1),
        ("validation-ndcg@5", [0.5, 0.6, 0.9], 2),
        ("validation-logloss", [float("nan"), 0.4, 0.5], 1),
    ],
)
def test_the_best_round_is_the_first_best_of_the_last_metric(
    name: str, values: list[float], best: int
) -> None:
    assert best_round([{"train-x": 0.0, name: value} for value in values]) == best


@pytest.mark.parametrize("name", ["map@3", "f1", "auc", "r2", "ndcg-", "map@3-", "precision"])
def test_of_scores_larger_is_better(name: str) -> None:
    assert maximised(name)


@pytest.mark.parametrize("name", ["error@0.3", "mape", "mse", "rmse"])
def test_of_losses_smaller_is_better(name: str) -> None:
    assert not maximised(name)


def test_a_log_line_has_the_built_ins_form() -> None:
    scores = {"train-rmse": 0.51, "validation-rmse": 0.62}
    assert line(12, scores) == "[12]#011train-rmse:0.51000#011validation-rmse:0.62000"
