"""The metrics that the built-in algorithm adds to XGBoost's, by scikit-learn's definitions.

A confusion matrix, or five sums, carries all that they need. Those add up over hosts, so every
host of a distributed job prints the value of the whole data, not an average of averages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.training.parameters import CLASS_METRICS, NUMBER_METRICS

Array = NDArray[Any]
Total = Callable[[Array], Array]  # adds an array up over hosts

MAXIMISED = {"auc", "aucpr", "pre", "ndcg", "map", "r2", *CLASS_METRICS}
MAXIMISED |= {"interval-regression-accuracy"}
BLOCK = 1 << 20  # rows that are worked on at a time
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {  # of sklearn.metrics
    "accuracy": ("accuracy_score", {}),
    "balanced_accuracy": ("balanced_accuracy_score", {}),
    "f1": ("f1_score", {"average": "macro"}),  # as the built-in defines it
    "f1_binary": ("f1_score", {}),
    "f1_macro": ("f1_score", {"average": "macro"}),
    "precision": ("precision_score", {"zero_division": 0}),
    "precision_macro": ("precision_score", {"average": "macro", "zero_division": 0}),
    "precision_micro": ("precision_score", {"average": "micro"}),
    "recall": ("recall_score", {}),
    "recall_macro": ("recall_score", {"average": "macro"}),
    "recall_micro": ("recall_score", {"average": "micro"}),
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


def confusion(labels: Array, predictions: Array, objective: str, count: int) -> Array:
    """Return the confusion matrix, int64 [count, count]: true classes down, predicted across."""
    cells = np.zeros(count * count, np.int64)
    for part in _parts(labels):
        y, predicted = labels[part], classes(predictions[part], objective)
        truth = (y > 0.5).astype(np.int64) if count == 2 else y.astype(np.int64)
        cells += np.bincount(truth * count + predicted, minlength=count * count)
    return np.reshape(cells, (count, count))


def _parts(rows: Array) -> Iterator[slice]:
    """Yield slices of all rows: copies in float64 or int64 would double the memory of training."""
    for start in range(0, len(rows), BLOCK):
        yield slice(start, start + BLOCK)


def _sums(labels: Array, predictions: Array) -> Array:
    """Return the number of rows, the sums of y and y squared, and of the squared error."""
    sums = np.zeros(4)
    for part in _parts(labels):
        y = labels[part].astype(np.float64)
        error = y - predictions[part]
        sums += [y.size, y.sum(), (y * y).sum(), (error * error).sum()]
    return sums


def evaluate(
    names: list[str], labels: Array, predictions: Array, objective: str, count: int, total: Total
) -> dict[str, float]:
    """Return the metrics `names` for labels [n] and Booster.predict's answer [n] or [n, k].

    `count` is the number of classes, `total` adds up over hosts.
    """
    scores: dict[str, float] = {}
    if set(names) & set(CLASS_METRICS):
        import sklearn.metrics  # here, because it takes 50 MB

        table = total(confusion(labels, predictions, objective, count))
        cells = np.indices(table.shape).reshape(2, -1)[:, table.ravel() > 0]
        weights = table[table > 0]
        for name in set(names) & set(CLASS_METRICS):
            function, options = FUNCTIONS[name]
            score = getattr(sklearn.metrics, function)
            scores[name] = float(score(*cells, sample_weight=weights, **options))
    if set(names) & set(NUMBER_METRICS):
        n, linear, square, residual = total(_sums(labels, predictions))
        spread = square - linear * linear / n
        scores["mse"] = float(residual / n)
        scores["r2"] = float(1 - residual / spread) if spread > 0 else float("nan")
    return {name: scores[name] for name in names}
