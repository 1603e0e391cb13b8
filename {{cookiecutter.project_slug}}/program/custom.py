"""Your own code in training and in serving. As rendered it changes nothing.

Each name below is None or empty, and then the program does what it does without it. Put a function,
or values, in its place; README.md ("Make it yours") has an example of each. Training keeps a digest
of this file in the manifest, and serving logs when it has another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Metric(NamedTuple):
    """A metric of your own.

    `function(predictions, data)` takes what `Booster.predict` returns for the rows of `data`, an
    xgboost.DMatrix, and returns a float, or a pair (total, weight) whose sums over all hosts are
    divided: the value is then that of the whole data, however many hosts trained. `name` has
    letters, digits and underscores.
    """

    name: str
    direction: str  # "minimize" or "maximize": for early stopping and tuning
    function: Callable[[Array, Any], float | tuple[float, float]]


# --- training ---

# def objective(margins, data): return the gradient and the hessian of each row.
# `margins` is float32 [rows] or [rows, groups], `data` an xgboost.DMatrix; both answers have the
# shape of `margins`. Jobs that name no objective, or `objective=custom`, train with it.
objective: Callable[[Array, Any], tuple[Array, Array]] | None = None

# The objective of XGBoost whose link yours shares: what turns margins into predictions, what labels
# are checked against, and what the model file says. "reg:squarederror": margins are predictions;
# "binary:logistic": probabilities; "count:poisson": exp; "multi:softprob": a probability per class.
LINK = "reg:squarederror"

# Jobs name them in eval_metric, beside those of XGBoost; a job that names none prints all of these.
metrics: tuple[Metric, ...] = ()

# def callbacks(): return a list of xgboost.callback.TrainingCallback, new ones for each training.
callbacks: Callable[[], list[Any]] | None = None

# --- serving ---

# Two classes: predicted_label and label_name are those of class 1 where the score is above it.
# None: 0.5, or 0 where scores are margins.
THRESHOLD: float | None = None

# The names of the classes, in the order of their numbers, for label_name. None: those of training.
LABEL_NAMES: tuple[str, ...] | None = None

# def postprocess(scores, rows): return what clients get in place of the scores, for example
# calibrated or in another unit. `scores` is float32 [rows] or [rows, groups] as `Booster.predict`
# returns it, `rows` float32 [rows, features] what it was computed from. Return numbers, for as many
# rows. Selected outputs that are made of scores use them too; margins and contributions stay the
# model's own.
postprocess: Callable[[Array, NDArray[np.float32]], Array] | None = None

# More media types of requests, in lower case: function(body: bytes) -> rows [rows, columns of the
# data], anything that numpy.asarray takes. A ValueError is answered with 415 and its message.
decoders: dict[str, Callable[[bytes], Any]] = {}

# More media types of answers, in lower case: function(outputs) -> bytes. `outputs` is a float array
# [rows] or [rows, groups], or a dict with a column per key of SAGEMAKER_INFERENCE_OUTPUT.
encoders: dict[str, Callable[[Any], bytes]] = {}
