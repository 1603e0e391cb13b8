"""The metrics that the built-in algorithm adds to XGBoost's, by scikit-learn's definitions.

A confusion matrix, or five sums, carries all that they need. Those add up over hosts, so every
host of a distributed job prints the value of the whole data, not an average of averages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from training.parameters import CLASS_METRICS, NUMBER_METRICS

Array = NDArray[Any]
Total = Callable[[Array], Array]  # adds an array up over hosts

MAXIMISED = {"auc", "aucpr", "pre", "ndcg", "map", "r2", *CLASS_METRICS}
MAXIMISED |= {"interval-regression-accuracy"}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "accuracy": sklearn.metrics.accuracy_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "f1": partial(sklearn.metrics.f1_score, average="macro"),  # as the built-in defines it
    "f1_binary": sklearn.metrics.f1_score,
    "f1_macro": partial(sklearn.metrics.f1_score, average="macro"),
    "precision": partial(sklearn.metrics.precision_score, zero_division=0),
    "precision_macro": partial(sklearn.metrics.precision_score, average="macro", zero_division=0),
    "precision_micro": partial(sklearn.metrics.precision_score, average="micro"),
    "recall": sklearn.metrics.recall_score,
    "recall_macro": partial(sklearn.metrics.recall_score, average="macro"),
    "recall_micro": partial(sklearn.metrics.recall_score, average="micro"),
}


def extra(names: list[str]) -> list[str]:
    """Return those of `names` that this module computes, in order."""
    return [name for name in names if name in CLASS_METRICS + NUMBER_METRICS]


def maximised(name: str) -> bool:
    """Whether a larger value of the metric is better."""
    return name.split("@")[0] in MAXIMISED


def classes(predictions: Array, objective: str) -> Array:
    """Return the predicted class of each row, int [n], from Booster.predict's answer."""
    if predictions.ndim == 2:
        return np.asarray(predictions.argmax(axis=1))
    if objective == "multi:softmax":
        return predictions.astype(np.int64)
    return (predictions > (0.0 if objective == "binary:logitraw" else 0.5)).astype(np.int64)


def confusion(labels: Array, predicted: Array, count: int) -> Array:
    """Return the confusion matrix, int64 [count, count]: true classes down, predicted across."""
    truth = (labels > 0.5).astype(np.int64) if count == 2 else labels.astype(np.int64)
    cells = np.bincount(truth * count + predicted, minlength=count * count)
    return np.reshape(cells, (count, count))


def evaluate(
    names: list[str], labels: Array, predictions: Array, objective: str, count: int, total: Total
) -> dict[str, float]:
    """Return the metrics `names` for labels [n] and Booster.predict's answer [n] or [n, k].

    `count` is the number of classes, `total` adds up over hosts.
    """
    scores: dict[str, float] = {}
    if set(names) & set(CLASS_METRICS):
        table = total(confusion(labels, classes(predictions, objective), count))
        cells = np.indices(table.shape).reshape(2, -1)[:, table.ravel() > 0]
        weights = table[table > 0]
        for name in set(names) & set(CLASS_METRICS):
            scores[name] = float(FUNCTIONS[name](*cells, sample_weight=weights))
    if set(names) & set(NUMBER_METRICS):
        y, error = labels.astype(np.float64), labels.astype(np.float64) - predictions
        sums = np.array([y.size, y.sum(), (y * y).sum(), (error * error).sum()])
        n, linear, square, residual = total(sums)
        spread = square - linear * linear / n
        scores["mse"] = float(residual / n)
        scores["r2"] = float(1 - residual / spread) if spread > 0 else float("nan")
    return {name: scores[name] for name in names}
