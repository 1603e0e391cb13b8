"""From margins to the scale of `Booster.predict`, by objective.

Each function takes float32 [rows, groups] and returns float32 [rows] or [rows, groups].
Source: `PredTransform` of the objectives in XGBoost's `src/objective`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.imports import import_expit
from runtime.job.versions import xgboost_version

Floats = NDArray[np.float32]
expit = import_expit()

SMALLEST_STEP = np.float32(1e-6)  # that XGBoost leaves between expectiles


def identity(margins: Floats) -> Floats:
    """Return the margins themselves."""
    return margins


def sigmoid(margins: Floats) -> Floats:
    """Return probabilities."""
    answer: Floats = expit(margins)  # one call: the four of a formula cost more than a row's trees
    return answer


def exponential(margins: Floats) -> Floats:
    """Return the exponential; infinite where float32 overflows, as XGBoost's."""
    with np.errstate(over="ignore"):
        answer: Floats = np.exp(margins)
    return answer


def hinge(margins: Floats) -> Floats:
    """Return 1 above zero, else 0."""
    return np.asarray(margins > 0, np.float32)


def quantiles(margins: Floats) -> Floats:
    """Return the margins; XGBoost 3.4 sorts those of a row, whichever version saved the model."""
    if margins.shape[1] > 1 and (xgboost_version() or ()) >= (3, 4):
        return np.sort(margins, axis=1)
    return margins


def expectiles(margins: Floats) -> Floats:
    """Return the lowest expectile, and each of the others as a positive step from the one below."""
    if margins.shape[1] == 1:
        return margins
    steps = np.logaddexp(np.float32(0), margins[:, 1:]) + SMALLEST_STEP
    answer: Floats = np.cumsum(np.concatenate([margins[:, :1], steps], axis=1), axis=1)
    return answer


def softmax(margins: Floats) -> Floats:
    """Return the probabilities of the classes."""
    powers: Floats = np.exp(margins - margins.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def argmax(margins: Floats) -> Floats:
    """Return the number of the most probable class, the first of equals."""
    return np.asarray(margins.argmax(axis=1, keepdims=True), np.float32)


LINKS: dict[str, Callable[[Floats], Floats]] = {
    **dict.fromkeys(("reg:squarederror", "reg:linear", "reg:squaredlogerror"), identity),
    **dict.fromkeys(("reg:pseudohubererror", "reg:absoluteerror"), identity),
    **dict.fromkeys(("rank:ndcg", "rank:map", "rank:pairwise", "binary:logitraw"), identity),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), sigmoid),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), exponential),
    **dict.fromkeys(("survival:cox", "survival:aft"), exponential),
    "reg:quantileerror": quantiles,
    "reg:expectileerror": expectiles,
    "binary:hinge": hinge,
    "multi:softprob": softmax,
    "multi:softmax": argmax,
}
PROBABILITIES = (sigmoid, softmax, hinge, argmax)  # answers from 0 to 1, and class numbers


def is_probability(objective: str) -> bool:
    """Return whether answers are compared absolutely; margins and rates are compared relatively."""
    return LINKS.get(objective) in PROBABILITIES
