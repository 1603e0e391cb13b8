"""What an answer holds: plain scores, or the keys of SAGEMAKER_INFERENCE_OUTPUT.

The keys mean what they mean in the built-in algorithm: a `raw_score` is the number that the
objective predicts (for binary:logistic a probability, for binary:logitraw a margin), of the winning
class when there are several. Where a key does not apply to the objective it is null. For
multi:softmax, whose prediction is only a label, raw scores are the margins of the classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration import NoContributionsError
from runtime.formats import Column, Columns
from runtime.inference.models import Predictions

log = logging.getLogger(__name__)

THRESHOLDS = {
    "binary:logistic": 0.5,
    "binary:logitraw": 0.0,
    "binary:hinge": 0.5,
}


def is_binary(predictions: Predictions) -> bool:
    """Return whether the objective has two classes and one number per row."""
    return predictions.objective in THRESHOLDS


def is_classifier(predictions: Predictions) -> bool:
    """Return whether the objective predicts classes."""
    return is_binary(predictions) or predictions.objective.startswith("multi:")


def _class_scores(predictions: Predictions) -> NDArray[Any] | None:
    """Return a score for each class, float [n, k]; None when the objective has no classes."""
    if is_binary(predictions):
        positive = predictions.scores
        return np.column_stack([1.0 - positive.astype(np.float64), positive])
    if predictions.objective == "multi:softprob":
        return predictions.scores
    return predictions.margins if predictions.objective == "multi:softmax" else None


def predicted_label(predictions: Predictions) -> Column | None:
    """The most probable class, as the built-in writes it: a float where the objective gives one."""
    if predictions.objective in ("multi:softmax", "binary:hinge"):
        return predictions.scores
    if is_binary(predictions):
        usual = THRESHOLDS[predictions.objective]
        threshold = usual if predictions.threshold is None else predictions.threshold
        return (predictions.scores > threshold).astype(np.int64)
    if not is_classifier(predictions):
        return None
    classes: NDArray[np.int64] = predictions.scores.argmax(axis=1)
    return classes


def estimator_classes(scores: NDArray[Any], objective: str) -> NDArray[Any]:
    """Return what XGBClassifier.predict makes of Booster.predict, [n] or [n, k]: int classes [n],
    or float 0 and 1 [n, k] where it has several labels, or two probabilities."""
    if objective == "multi:softmax":
        return scores.astype(np.int32)
    if scores.ndim > 1 and objective == "multi:softprob" and scores.shape[1] > 2:
        return np.asarray(scores.argmax(axis=1))
    return (scores > 0.5).astype(np.int64 if scores.ndim == 1 else np.float64)


def labels(predictions: Predictions) -> Column | None:
    """All classes, on every row."""
    if not is_classifier(predictions):
        return None
    classes = np.arange(2 if is_binary(predictions) else predictions.num_groups)
    return np.broadcast_to(classes, (len(predictions.scores), len(classes)))


def label_name(predictions: Predictions) -> Column | None:
    """The name of the most probable class, from the manifest."""
    found = predicted_label(predictions)
    if predictions.label_names is None or found is None:
        return None
    names = predictions.label_names
    return [names[index] if index < len(names) else None for index in np.asarray(found, np.int64)]


def probability(predictions: Predictions) -> Column | None:
    """Of the positive class when there are two, of the winning class when there are more."""
    if predictions.objective == "binary:logistic":
        return predictions.scores
    return predictions.scores.max(axis=1) if predictions.objective == "multi:softprob" else None


def probabilities(predictions: Predictions) -> Column | None:
    """Of each class."""
    if predictions.objective in ("binary:logistic", "multi:softprob"):
        return _class_scores(predictions)
    return None


def raw_score(predictions: Predictions) -> Column | None:
    """The score of the positive class when there are two, else of the winning class."""
    if is_binary(predictions):
        return predictions.scores
    scores = _class_scores(predictions)
    return None if scores is None else scores.max(axis=1)


def predicted_score(predictions: Predictions) -> Column | None:
    """The prediction of every objective that does not classify."""
    return None if is_classifier(predictions) else predictions.scores


def contributions(predictions: Predictions) -> Column | None:
    """SHAP values: one number per feature and the bias; with several classes, class after class.

    None where XGBoost has none for this kind of model.
    """
    try:
        shares: NDArray[np.float32] = predictions.contributions
    except NoContributionsError as error:
        log.warning("contributions are answered with null: %s", error)
        return None
    return shares.reshape(len(shares), -1)


KEYS: dict[str, Callable[[Predictions], Column | None]] = {
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


def select(predictions: Predictions, keys: tuple[str, ...]) -> Columns:
    """Return a column for each key, in their order; NaN, which is written as null, for no value.

    An unknown key has no value on any row, as in the built-in algorithm.
    """
    nothing = np.full(len(predictions), np.nan, np.float32)
    columns = {key: KEYS[key](predictions) if key in KEYS else None for key in keys}
    return {key: nothing if column is None else column for key, column in columns.items()}
