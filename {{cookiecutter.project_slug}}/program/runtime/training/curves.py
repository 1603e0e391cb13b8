"""Scores and curves of a model's predictions, by scikit-learn's definitions.

With numpy alone: importing scikit-learn takes longer than a small job trains. Every function takes
`weights`, float64 [n]: 1 per row, or the instance weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 10  # of a calibration curve


class Ranking(NamedTuple):
    """The weights of the rows at or above each distinct score, from the highest score down."""

    positive: Array  # float64 [distinct scores]
    negative: Array

    @property
    def complete(self) -> bool:
        """Whether there are rows of both kinds: without them no curve is defined."""
        return bool(self.positive.size and self.positive[-1] > 0 and self.negative[-1] > 0)


def ranking(truth: Array, scores: Array, weights: Array) -> Ranking:
    """Rank rows by `scores` [n], the highest first; `truth`, bool [n], says which are positive."""
    if not truth.size:
        return Ranking(np.zeros(0), np.zeros(0))
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(scores[order])), truth.size - 1)
    positive = np.cumsum((truth * weights)[order])[last_of_equals]
    negative = np.cumsum((~truth * weights)[order])[last_of_equals]
    return Ranking(positive, negative)


def roc(rank: Ranking) -> tuple[Array, Array]:
    """Return the false and the true positive rates, from 0 to 1."""
    false, true = (np.append(0.0, sums) / sums[-1] for sums in (rank.negative, rank.positive))
    return false, true


def auc(rank: Ranking) -> float:
    """Return the area under the ROC curve."""
    false, true = roc(rank)
    return float(np.trapezoid(true, false))


def precision_recall(rank: Ranking) -> tuple[Array, Array]:
    """Return precision and recall at each distinct score, recall ascending."""
    return rank.positive / (rank.positive + rank.negative), rank.positive / rank.positive[-1]


def average_precision(rank: Ranking) -> float:
    """Return the sum of the precisions, each weighted by the recall that it adds."""
    precision, recall = precision_recall(rank)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def calibration(truth: Array, probabilities: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean probability and the share of `truth` in each bin that has rows.

    The bins divide 0 to 1 evenly. `truth` is bool [n], `probabilities` [n].
    """
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probabilities)
    total, mean, share = (
        np.bincount(bins, weights * values, BINS) for values in (1.0, probabilities, truth)
    )
    filled = total > 0
    return mean[filled] / total[filled], share[filled] / total[filled]


def log_loss(truth: Array, probabilities: Array, weights: Array) -> float:
    """Return the mean negative log of the probability of the true class.

    `truth` is int [n], `probabilities` float [n, k].
    """
    epsilon = np.finfo(np.float64).eps
    hit = probabilities[np.arange(truth.size), truth].astype(np.float64)
    return float(np.average(-np.log(np.clip(hit, epsilon, 1 - epsilon)), weights=weights))


def accuracy(truth: Array, predicted: Array, weights: Array) -> float:
    """Return the share of rows whose class is predicted; both arrays are int [n]."""
    return float(np.average(truth == predicted, weights=weights))


def regression(labels: Array, predictions: Array, weights: Array) -> dict[str, float]:
    """Return RMSE, MAE and R2 of float [n] values; R2 is NaN if all labels are equal."""
    error = labels.astype(np.float64) - predictions
    mean = np.average(labels.astype(np.float64), weights=weights)
    squared = float(np.average(error**2, weights=weights))
    spread = float(np.average((labels - mean) ** 2, weights=weights))
    return {
        "RMSE": squared**0.5,
        "MAE": float(np.average(np.abs(error), weights=weights)),
        "R2": 1 - squared / spread if spread > 0 else float("nan"),
    }
