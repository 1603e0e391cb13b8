"""What an answer holds: plain scores, or the keys of SAGEMAKER_INFERENCE_OUTPUT.

The keys mean what they mean in the built-in algorithm: a `raw_score` is the number that the
objective predicts (for binary:logistic a probability, for binary:logitraw a margin), of the winning
class when there are several. Where a key does not apply to the objective it is null. For
multi:softmax, whose prediction is only a label, raw scores are the margins of the classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.formats import Column

THRESHOLDS = {
    "binary:logistic": 0.5,
    "binary:logitraw": 0.0,
    "binary:hinge": 0.5,
}


class Scorer(Protocol):
    """What a key may ask of the model, for the rows of one request. Each is computed once."""

    objective: str
    num_groups: int
    label_names: tuple[str, ...] | None

    @property
    def predictions(self) -> NDArray[Any]:
        """`Booster.predict`: float32 [n] or [n, k]."""

    @property
    def margins(self) -> NDArray[Any]:
        """The untransformed sums of the trees: float32 [n] or [n, k]."""

    @property
    def contributions(self) -> NDArray[Any]:
        """Shares of the features in the margin, the last column is the bias."""


def is_binary(scorer: Scorer) -> bool:
    """Tell whether the objective has two classes and one number a row."""
    return scorer.objective in THRESHOLDS


def is_classifier(scorer: Scorer) -> bool:
    """Tell whether the objective predicts classes."""
    return is_binary(scorer) or scorer.objective.startswith("multi:")


def _class_scores(scorer: Scorer) -> NDArray[Any] | None:
    """Return a score for each class, float [n, k]; None when the objective has no classes."""
    if is_binary(scorer):
        positive = scorer.predictions
        return np.column_stack([1.0 - positive.astype(np.float64), positive])
    if scorer.objective == "multi:softprob":
        return scorer.predictions
    return scorer.margins if scorer.objective == "multi:softmax" else None


def predicted_label(scorer: Scorer) -> Column:
    """The most probable class, as the built-in writes it: a float where the objective gives one."""
    if scorer.objective in ("multi:softmax", "binary:hinge"):
        return scorer.predictions
    if is_binary(scorer):
        return (scorer.predictions > THRESHOLDS[scorer.objective]).astype(np.int64)
    if not is_classifier(scorer):
        return None
    classes: NDArray[np.int64] = scorer.predictions.argmax(axis=1)
    return classes


def labels(scorer: Scorer) -> Column:
    """All classes, on every row."""
    if not is_classifier(scorer):
        return None
    classes = np.arange(2 if is_binary(scorer) else scorer.num_groups)
    return np.broadcast_to(classes, (len(scorer.predictions), len(classes)))


def label_name(scorer: Scorer) -> Column:
    """The name of the most probable class, from the manifest."""
    found = predicted_label(scorer)
    if scorer.label_names is None or found is None:
        return None
    names = scorer.label_names
    return [names[index] if index < len(names) else None for index in np.asarray(found, np.int64)]


def probability(scorer: Scorer) -> Column:
    """Of the positive class when there are two, of the winning class when there are more."""
    if scorer.objective == "binary:logistic":
        return scorer.predictions
    return scorer.predictions.max(axis=1) if scorer.objective == "multi:softprob" else None


def probabilities(scorer: Scorer) -> Column:
    """Of each class."""
    if scorer.objective in ("binary:logistic", "multi:softprob"):
        return _class_scores(scorer)
    return None


def raw_score(scorer: Scorer) -> Column:
    """The score of the positive class when there are two, else of the winning class."""
    if is_binary(scorer):
        return scorer.predictions
    scores = _class_scores(scorer)
    return None if scores is None else scores.max(axis=1)


def predicted_score(scorer: Scorer) -> Column:
    """The prediction of every objective that is no classification."""
    return None if is_classifier(scorer) else scorer.predictions


def contributions(scorer: Scorer) -> Column:
    """SHAP values: one number a feature and the bias; with several classes, class after class."""
    shares: NDArray[np.float32] = scorer.contributions
    return shares.reshape(len(shares), -1)


KEYS: dict[str, Callable[[Scorer], Column]] = {
    "predicted_label": predicted_label,
    "labels": labels,
    "probability": probability,
    "probabilities": probabilities,
    "raw_score": raw_score,
    "raw_scores": _class_scores,
    "predicted_score": predicted_score,
    "contributions": contributions,
    "label_name": label_name,
}


def select(scorer: Scorer, keys: tuple[str, ...]) -> dict[str, Column]:
    """Return a column for each key, in their order; NaN, which is written as null, for no value."""
    columns = {key: KEYS[key](scorer) for key in keys}
    nothing = np.full(len(scorer.predictions), np.nan, np.float32)
    return {key: nothing if column is None else column for key, column in columns.items()}
