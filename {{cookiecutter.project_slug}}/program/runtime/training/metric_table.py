"""The metrics: which way is better, what objective each needs, and who computes it.

Training, early stopping and the tuning jobs of `deploy` read this one table, which ends with the
metrics of custom.py. Sources: https://xgboost.readthedocs.io/en/stable/parameter.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost-tuning.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import custom

NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")


@dataclass(frozen=True)
class Metric:
    """One metric.

    `needs` is the objective: the beginnings that can have it; empty: any with one number per row.
    `cut` says that a number may follow after @, `empty` that a `-` may (a list without relevant
    documents scores 0, not 1), `computed_here` that metrics.py computes it, not XGBoost, and
    `two_classes` that it knows no more classes than that.
    """

    name: str
    maximised: bool = False
    needs: tuple[str, ...] = ()
    cut: bool = False
    empty: bool = False
    computed_here: bool = False
    two_classes: bool = False


CLASSES = ("binary:", "multi:")
ORDERED = (*CLASSES, "rank:", "reg:logistic")  # areas under a curve need a score and two classes
AFT = ("survival:aft",)
ROWS = (
    *(Metric(name) for name in ("rmse", "rmsle", "mae", "mape", "mphe", "logloss")),
    Metric("error", cut=True),
    *(Metric(name, needs=("multi:",)) for name in ("merror", "mlogloss")),
    *(Metric(name, maximised=True, needs=ORDERED) for name in ("auc", "aucpr")),
    *(Metric(name, maximised=True, cut=True, empty=True) for name in ("pre", "ndcg", "map")),
    *(Metric(name) for name in ("poisson-nloglik", "gamma-nloglik", "gamma-deviance")),
    Metric("cox-nloglik"),
    Metric("tweedie-nloglik", cut=True),
    Metric("aft-nloglik", needs=AFT),
    Metric("interval-regression-accuracy", maximised=True, needs=AFT),
    Metric("quantile", needs=("reg:quantileerror",)),
    Metric("expectile", needs=("reg:expectileerror",)),
    *(
        Metric(name, maximised=True, needs=CLASSES, computed_here=True)
        for name in (
            "accuracy",
            "balanced_accuracy",
            "f1",
            "f1_macro",
            "precision_macro",
            "precision_micro",
            "recall_macro",
            "recall_micro",
        )
    ),
    *(
        Metric(name, maximised=True, needs=CLASSES, computed_here=True, two_classes=True)
        for name in ("f1_binary", "precision", "recall")
    ),
    Metric("mse", computed_here=True),
    Metric("r2", maximised=True, computed_here=True),
)
METRICS = {row.name: row for row in ROWS}
DIRECTIONS = {"minimize": False, "maximize": True}


def own_metrics() -> dict[str, Metric]:
    """Return the metrics of custom.py by name."""
    return {
        metric.name: Metric(
            metric.name,
            maximised=DIRECTIONS.get(metric.direction, False),
            computed_here=True,
        )
        for metric in custom.metrics
    }


def own_faults() -> list[str]:
    """Return what is wrong with the metrics of custom.py, a sentence each."""
    faults = []
    for name, direction, _ in custom.metrics:
        where = f"custom.py: the metric {name!r}"
        if name in METRICS:
            faults.append(f"{where} has the name of one that exists: give it another")
        elif not re.fullmatch(r"\w+", name, re.ASCII):
            faults.append(f"{where} must have a name of letters, digits and underscores")
        if direction not in DIRECTIONS:
            faults.append(f"{where} has the direction {direction!r}: write minimize or maximize")
    return faults


def base_name(text: str) -> str:
    """Return the name of a metric without its number and its `-`: of `ndcg@5-`, ndcg."""
    return re.split("@|-$", text)[0]


def find(text: str) -> Metric | None:
    """Return the metric that is written as `text`, such as `map@3-`; None where there is none."""
    name = base_name(text)
    return METRICS.get(name) or own_metrics().get(name)


def maximised(text: str) -> bool:
    """Return whether a larger value of the metric is better."""
    row = find(text)
    return row is not None and row.maximised


def computed_here(text: str) -> bool:
    """Return whether metrics.py computes the metric, or custom.py, not XGBoost."""
    row = find(text)
    return row is not None and row.computed_here


def fault_of(text: str) -> str:
    """Return what is wrong with how a metric is written, as the end of a sentence, or nothing."""
    row = find(text)
    if row is None:
        return "is not a metric"
    suffix = text.removeprefix(row.name)
    if row.empty:
        suffix = suffix.removesuffix("-")
    if suffix.startswith("@") and row.cut and not NUMBER.fullmatch(suffix[1:]):
        return "needs a number after @"
    return "is not a metric" if suffix and not (row.cut and suffix.startswith("@")) else ""
