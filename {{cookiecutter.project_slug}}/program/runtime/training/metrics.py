"""The metrics that the built-in algorithm adds to XGBoost's, by scikit-learn's definitions.

Three counts per class, or four sums, carry all that they need. Those add up over hosts, so every
host of a distributed job prints the value of the whole data, not an average of averages; and 5,000
classes take 120 KB where their confusion matrix would take 200 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import custom

Array = NDArray[Any]
Total = Callable[[Array], Array]  # adds an array up over hosts

BLOCK = 1 << 20  # rows that are worked on at a time


def classes(predictions: Array, objective: str) -> Array:
    """Return the predicted class of each row, int [n], from Booster.predict's answer."""
    if predictions.ndim == 2:
        return np.asarray(predictions.argmax(axis=1))
    if objective == "multi:softmax":
        return predictions.astype(np.int64)
    return (predictions > (0.0 if objective == "binary:logitraw" else 0.5)).astype(np.int64)


def _both(
    labels: Array, predictions: Array, objective: str, count: int
) -> Iterator[tuple[Array, Array]]:
    """Yield the true and the predicted classes of all rows, block by block: copies in int64 would
    double the memory of training."""
    for part in _parts(labels):
        y = labels[part]
        truth = (y > 0.5).astype(np.int64) if count == 2 else y.astype(np.int64)
        yield truth, classes(predictions[part], objective)


def _parts(rows: Array) -> Iterator[slice]:
    for start in range(0, len(rows), BLOCK):
        yield slice(start, start + BLOCK)


def confusion(labels: Array, predictions: Array, objective: str, count: int, shown: int) -> Array:
    """Return the first `shown` rows and columns of the confusion matrix, int64: true classes down,
    predicted across. `count` is the number of classes."""
    size = min(count, shown)
    cells = np.zeros(size * size, np.int64)
    for truth, predicted in _both(labels, predictions, objective, count):
        inside = (truth < size) & (predicted < size)
        cells += np.bincount(truth[inside] * size + predicted[inside], minlength=size * size)
    return np.reshape(cells, (size, size))


def counts(labels: Array, predictions: Array, objective: str, count: int) -> Array:
    """Return int64 [3, count]: the rows of each class, those predicted as it, and those of both."""
    sums = np.zeros((3, count), np.int64)
    for truth, predicted in _both(labels, predictions, objective, count):
        for row, found in zip(sums, (truth, predicted, truth[truth == predicted]), strict=True):
            row += np.bincount(found, minlength=count)
    return sums


def _sums(labels: Array, predictions: Array) -> Array:
    """Return the number of rows, the sums of y and y squared, and of the squared error."""
    sums = np.zeros(4)
    for part in _parts(labels):
        y = labels[part].astype(np.float64)
        error = y - predictions[part]
        sums += [y.size, y.sum(), (y * y).sum(), (error * error).sum()]
    return sums


def by_class(sums: Array) -> tuple[Array, Array, Array]:
    """Return precision, recall and F1 of each class from `counts`, float64 [count]; 0 where
    scikit-learn divides by zero."""
    true, predicted, right = sums.astype(np.float64)

    def share(of: Array) -> Array:
        return np.asarray(np.divide(right, of, out=np.zeros_like(right), where=of > 0))

    return share(predicted), share(true), 2 * share(true + predicted)


def _of_classes(sums: Array) -> dict[str, float]:
    """Return the metrics of classes from `counts`."""
    true, predicted, right = sums.astype(np.float64)
    precision, recall, f1 = by_class(sums)
    met = true + predicted > 0  # classes that are in neither do not count
    accuracy = float(right.sum() / true.sum())
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float(recall[true > 0].mean()),
        "f1": float(f1[met].mean()),  # as the built-in defines it
        "f1_binary": float(f1[1]),
        "f1_macro": float(f1[met].mean()),
        "precision": float(precision[1]),
        "precision_macro": float(precision[met].mean()),
        "precision_micro": accuracy,
        "recall": float(recall[1]),
        "recall_macro": float(recall[met].mean()),
        "recall_micro": accuracy,
    }


def _of_numbers(sums: Array) -> dict[str, float]:
    n, linear, square, residual = sums
    spread = square - linear * linear / n
    r2 = float(1 - residual / spread) if spread > 0 else float("nan")
    return {"mse": float(residual / n), "r2": r2}


def own(metric: custom.Metric, predictions: Array, data: Any, total: Total) -> float:
    """Return the value of a metric of custom.py over the rows of all hosts.

    `predictions` is what Booster.predict returns for `data`, an xgboost.DMatrix.
    """
    rows = data.num_row()
    value = metric.function(predictions, data) if rows else (0.0, 0.0)
    pair = value if isinstance(value, tuple) else (value * rows, rows)
    sums, weights = total(np.array(pair, np.float64))
    return float(sums / weights) if weights else float("nan")


def evaluate(
    names: list[str], labels: Array, predictions: Array, objective: str, count: int, total: Total
) -> dict[str, float]:
    """Return the metrics `names` for labels [n] and Booster.predict's answer [n] or [n, k].

    `count` is the number of classes, `total` adds up over hosts.
    """
    scores: dict[str, float] = {}
    if {"mse", "r2"} & set(names):
        scores |= _of_numbers(total(_sums(labels, predictions)))
    if set(names) - set(scores):
        scores |= _of_classes(total(counts(labels, predictions, objective, count)))
    return {name: scores[name] for name in names}
