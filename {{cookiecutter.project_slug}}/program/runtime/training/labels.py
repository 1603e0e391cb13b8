"""Checks of labels against the objective, before XGBoost trains on nonsense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.formats.table import Table
from runtime.job.failures import UserError
from runtime.training.metric_table import base_name
from runtime.training.parameters import Hyperparameters

Test = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
RULES: dict[
    str, tuple[str, Test]
] = {  # objective: what its labels must be, and the test of a bad one
    "binary:hinge": ("0 or 1", lambda y: (y != 0) & (y != 1)),
    "binary:": ("from 0 to 1", lambda y: (y < 0) | (y > 1)),
    "reg:logistic": ("from 0 to 1", lambda y: (y < 0) | (y > 1)),
    "count:poisson": ("0 or more", lambda y: y < 0),
    "reg:tweedie": ("0 or more", lambda y: y < 0),
    "reg:gamma": ("above 0", lambda y: y <= 0),
    "reg:squaredlogerror": ("above -1", lambda y: y <= -1),
    "rank:map": ("0 or 1", lambda y: (y != 0) & (y != 1)),
    "rank:": ("whole numbers of 0 or more", lambda y: (y < 0) | (y != np.floor(y))),
    "survival:": ("a time, negative when censored", lambda y: y == 0),
}


METRIC_RULES = {"map": RULES["rank:map"], "pre": RULES["rank:map"], "ndcg": RULES["rank:"]}


def check(table: Table, chosen: Hyperparameters, channel: str) -> None:
    """Raise UserError naming the first row whose label the objective cannot use."""
    labels, objective = table.labels, chosen.objective
    if labels is None:
        raise UserError(f"channel {channel} has no labels")
    if labels.shape != (len(table),):
        raise UserError(f"channel {channel} has {labels.size} labels for {len(table)} rows")
    _refuse(~np.isfinite(labels), labels, channel, "a finite number")
    if objective.startswith("multi:"):
        _check_classes(labels, int(chosen["num_class"]), channel)
    rule = next((RULES[key] for key in RULES if objective.startswith(key)), None)
    if rule:
        _refuse(rule[1](labels), labels, channel, f"{rule[0]} with objective={objective}")
    for metric in chosen.metrics:
        if rule := METRIC_RULES.get(base_name(metric)):
            _refuse(rule[1](labels), labels, channel, f"{rule[0]} with eval_metric={metric}")
    if objective.startswith("rank:") and table.query_ids is None:
        raise UserError(
            f"channel {channel} has no query ids, which objective={objective} needs: "
            "use libsvm with qid:N, or a column named qid"
        )


def _check_classes(labels: NDArray[np.float32], count: int, channel: str) -> None:
    hint = ""
    if labels.min() >= 1 and labels.max() == count:
        hint = f" (they run from 1 to {count} here: subtract 1)"
    bad = (labels < 0) | (labels >= count) | (labels != np.floor(labels))
    _refuse(bad, labels, channel, f"a class from 0 to {count - 1} with num_class={count}{hint}")


def _refuse(bad: NDArray[np.bool_], labels: NDArray[np.float32], channel: str, rule: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise UserError(
            f"channel {channel}, data row {row + 1}: label {labels[row]:g} must be {rule}; "
            f"{int(bad.sum())} of {len(labels)} rows break that"
        )
