"""Which boosting rounds answer: those up to the best one, where early stopping recorded it.

XGBoost keeps the rounds after the best one in the model, and its scikit-learn estimators leave them
out when they predict. The model is therefore cut before any engine is built from it, so that every
engine, check and output has the same trees.
Source: https://xgboost.readthedocs.io/en/stable/prediction.html
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.acceleration.boosters import SAVED_WITH, ModelFileError, estimator

if TYPE_CHECKING:
    import xgboost

BEST, LIMIT = "best_iteration", "best_ntree_limit"  # attributes that training leaves in a model
WAY_OUT = "BEST_ITERATION=false answers with all rounds"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rounds:
    """The rounds that answer, out of those that the model file holds."""

    used: int
    total: int

    def __str__(self) -> str:
        return f"rounds 0 to {self.used - 1} of {self.total}"


def cut(booster: xgboost.Booster, wanted: bool = True) -> tuple[xgboost.Booster, Rounds]:
    """Return `booster` up to its best round, and what that leaves; all of it unless `wanted`.

    Raises ModelFileError when the best round is not a number, or when it cannot be known how many
    trees make a round.
    """
    total = int(booster.num_boosted_rounds())
    recorded = booster.attr(BEST)
    if not wanted or not recorded or not total or _is_linear(booster):
        return booster, Rounds(total, total)  # a linear model has one set of weights
    if not recorded.isdecimal():
        raise ModelFileError(
            f"the attribute {BEST} is {recorded!r}, not the number of a round: correct it with "
            f"booster.set_attr, or remove it; {WAY_OUT}"
        )
    used = int(recorded) + 1
    layers = _layers_per_round(booster, used)
    found = Rounds(min(used, total // layers), total // layers)
    if used > found.total:
        log.warning(
            "%s is %s, but the model has %d rounds: all answer", BEST, recorded, found.total
        )
    if found.used == found.total:
        return booster, found
    log.info("answering with %s: early stopping recorded the last as best; %s", found, WAY_OUT)
    return booster[: found.used * layers], found


def _is_linear(booster: xgboost.Booster) -> bool:
    learner = json.loads(booster.save_config())["learner"]
    return bool(learner["gradient_booster"]["name"] == "gblinear")


def _layers_per_round(booster: xgboost.Booster, used: int) -> int:
    """Return how many rounds of this XGBoost make one of the model's.

    One, unless the model has parallel trees and was saved before 1.6: such a file does not say how
    many, and this XGBoost counts each as a round. The order of the trees, or an attribute, does.
    """
    first = _saved(booster[:1])
    groups = first["tree_info"]
    if int(first["gbtree_model_param"]["num_parallel_tree"]) > 1:
        return 1
    if len(groups) > 1:  # as many trees as outputs; parallel ones stand side by side
        in_turn = groups == list(range(len(groups)))
        return 1 if in_turn else next(i for i, g in enumerate(_saved(booster)["tree_info"]) if g)
    total = int(booster.num_boosted_rounds())
    limit = booster.attr(LIMIT) or ""  # of XGBoost 1.4 to 1.7, in trees
    if limit.isdecimal():
        trees, rest = divmod(int(limit), used)
        return trees if trees and not rest and total % trees == 0 else 1  # else of another training
    version = booster.attr(SAVED_WITH)
    if not version or [int(part) for part in version.split(".")] >= [1, 4]:
        return 1
    if not any(total % trees == 0 and used * trees <= total for trees in range(2, total + 1)):
        return 1
    trained = estimator(booster)
    if not trained:
        raise ModelFileError(
            f"XGBoost {version} recorded the best round ({used - 1}), but not how many parallel "
            f"trees each has: {WAY_OUT}; or record it in the file with "
            f"booster.set_attr({LIMIT}=...), which is {used} x num_parallel_tree ({used} for most "
            "models), and booster.save_model"
        )
    is_forest = str(trained.get("type")).startswith("XGBRF")
    return int(trained["n_estimators"] if is_forest else trained.get("num_parallel_tree") or 1)


def _saved(booster: xgboost.Booster) -> dict[str, Any]:
    """Return the trees of a model as it is saved."""
    gradient = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    model: dict[str, Any] = gradient.get("gbtree", gradient)["model"]
    return model
