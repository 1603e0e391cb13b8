"""The metrics: which way is better, what objective each needs, and who computes it.

Training, early stopping and the tuning jobs of `deploy` read this one table; it needs the standard
library only. Sources: https://xgboost.readthedocs.io/en/release_3.2.0/parameter.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost-tuning.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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


def base_name(text: str) -> str:
    """Return the name of a metric without its number and its `-`: of `ndcg@5-`, ndcg."""
    return re.split("@|-$", text)[0]


def maximised(text: str) -> bool:
    """Return whether a larger value of the metric, such as `map@3-`, is better."""
    return METRICS[base_name(text)].maximised


def computed_here(text: str) -> bool:
    """Return whether metrics.py computes the metric, not XGBoost."""
    return METRICS[base_name(text)].computed_here


def fault_of(text: str) -> str:
    """Return what is wrong with how a metric is written, as the end of a sentence, or nothing."""
    row = METRICS.get(base_name(text))
    if row is None:
        return "is not a metric"
    suffix = text.removeprefix(row.name)
    if row.empty:
        suffix = suffix.removesuffix("-")
    if suffix.startswith("@") and row.cut and not NUMBER.fullmatch(suffix[1:]):
        return "needs a number after @"
    return "is not a metric" if suffix and not (row.cut and suffix.startswith("@")) else ""
