"""The training loop: rounds, metrics, early stopping, checkpoints, and a stop on request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from xgboost import collective

import custom
from runtime.training import metrics
from runtime.training.checkpoints import Checkpoints, History
from runtime.training.metric_table import computed_here, maximised
from runtime.training.parameters import Hyperparameters

Array = NDArray[Any]
Callback = xgboost.callback.TrainingCallback
Matrices = dict[str, xgboost.DMatrix]  # "train" first, then "validation"
SAMPLING = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode")


@dataclass(frozen=True)
class Fit:
    """A trained model, cut to its best round; `history` has the metrics of every round."""

    booster: xgboost.Booster
    history: History
    best: int  # the round that the model ends with
    predictions: Array  # float32 [n] or [n, k], of the last data set
    stopped: bool = False  # by a request from outside

    @cached_property
    def model(self) -> bytearray:
        """The model as UBJSON."""
        return self.booster.save_raw("ubj")

    @property
    def digest(self) -> str:
        """The SHA-256 of the model."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def scores(self) -> dict[str, float]:
        """The metrics of the model, such as `validation-rmse`."""
        return self.history[self.best] if self.history else {}


def total(values: Any) -> Any:
    """Add an array up over hosts, shape kept."""
    array = np.asarray(values)
    return collective.allreduce(array, collective.Op.SUM).reshape(array.shape)


def best_round(history: History) -> int:
    """Return the round with the best last metric of the last data set; the first of equals."""
    name = list(history[-1])[-1]
    values = np.array([scores[name] for scores in history], dtype=np.float64)
    sign = -1.0 if maximised(name.split("-", 1)[1]) else 1.0
    return int(np.nan_to_num(sign * values, nan=np.inf).argmin())


def line(number: int, scores: dict[str, float]) -> str:
    """Return the log line that tuning jobs and dashboards scrape, as the built-in prints it."""
    return f"[{number}]" + "".join(f"#011{name}:{value:.5f}" for name, value in scores.items())


def fit(
    chosen: Hyperparameters,
    matrices: Matrices,
    nthread: int,
    checkpoints: Checkpoints | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Fit:
    """Train on `matrices["train"]` and print the metrics of all of `matrices` every round.

    The objective, metrics and callbacks of custom.py take part. With `checkpoints` every round
    draws its random numbers from the seed and its own number, so that a restarted job ends with
    the model of an uninterrupted one. Collective on many hosts.
    """
    params = {"nthread": nthread, **chosen.for_xgboost()}
    objective = custom.objective if chosen.own_objective else None
    callbacks = custom.callbacks() if custom.callbacks else []
    if checkpoints:
        params["seed_per_iteration"] = 1
    first_host = collective.get_rank() == 0
    model, history = _restored(checkpoints) if checkpoints else (None, [])
    booster = xgboost.Booster(params, list(matrices.values()), model_file=model)
    patience, stopped = chosen["early_stopping_rounds"], False
    for callback in callbacks:
        booster = callback.before_training(booster)
    for number in range(len(history), chosen["num_round"]):
        if patience and history and len(history) - 1 - best_round(history) >= patience:
            break
        if checkpoints:
            _forget_draws(booster, chosen)
        halted = ask(callbacks, "before_iteration", booster, history)
        booster.update(matrices["train"], number, objective)
        history.append(evaluate(booster, matrices, number, chosen))
        halted |= ask(callbacks, "after_iteration", booster, history)
        stopped, halted = map(bool, total([int(stopping()), int(halted)]))
        if first_host:
            print(line(number, history[-1]), flush=True)
            if checkpoints and (stopped or checkpoints.due(number + 1)):
                checkpoints.save(bytes(booster.save_raw("ubj")), history)
        if stopped or halted:
            break
    for callback in callbacks:
        booster = callback.after_training(booster)
    booster, best = _finished(booster, history, bool(patience))
    predictions = booster.predict(list(matrices.values())[-1])  # XGBoost has kept their margins
    booster.reset()  # gradients and positions of all rows: what follows needs their memory
    return Fit(booster, history, best, predictions, stopped)


def ask(
    callbacks: Sequence[Callback], when: str, booster: xgboost.Booster, history: History
) -> bool:
    """Call the method `when` of every callback; return whether any wants training to stop."""
    number = len(history) - (when == "after_iteration")
    answers = [getattr(each, when)(booster, number, logged(history)) for each in callbacks]
    return any(answers)


def logged(history: History) -> dict[str, dict[str, list[float]]]:
    """Return the metrics as XGBoost's callbacks take them: data set, metric, values by round."""
    log: dict[str, dict[str, list[float]]] = {}
    for scores in history:
        for name, value in scores.items():
            data, metric = name.split("-", 1)
            log.setdefault(data, {}).setdefault(metric, []).append(value)
    return log


def _restored(checkpoints: Checkpoints) -> tuple[bytearray | None, History]:
    """Return the first host's newest checkpoint, on every host."""
    mine = checkpoints.restore() if collective.get_rank() == 0 else None
    model, history = collective.broadcast(mine or (None, []), 0)
    return (bytearray(model), history) if model else (None, [])


def _finished(
    booster: xgboost.Booster, history: History, early: bool
) -> tuple[xgboost.Booster, int]:
    """Return the booster, cut to its best round if training may stop early, and its last round."""
    if not early or not history:
        return booster, len(history) - 1
    best = best_round(history)
    if best + 1 < len(history):
        whole, booster = booster, booster[: best + 1]
        whole.reset()
    score = list(history[best].values())[-1]
    booster.set_attr(best_iteration=str(best), best_score=str(score))
    return booster, best


def _forget_draws(booster: xgboost.Booster, chosen: Hyperparameters) -> None:
    """Make XGBoost rebuild its updater, whose sampler remembers the draws of past rounds.

    Naming another updater and then the true one does that, and keeps cached predictions.
    """
    if chosen["booster"] == "gblinear":
        name, now = "updater", chosen.given.get("updater", ["shotgun"])[0]
        other = "shotgun" if now == "coord_descent" else "coord_descent"
    elif "updater" not in chosen.given and any(chosen[name] < 1 for name in SAMPLING):
        name, now = "tree_method", chosen["tree_method"]
        other = "hist" if now == "approx" else "approx"
    else:
        return
    booster.set_param({name: other})
    booster.save_config()  # applies the change
    booster.set_param({name: now})


def evaluate(
    booster: xgboost.Booster, matrices: Matrices, number: int, chosen: Hyperparameters
) -> dict[str, float]:
    """Return every metric of every data set; the last is the one that early stopping reads."""
    text = booster.eval_set([(matrix, name) for name, matrix in matrices.items()], number)
    pairs = [entry.rsplit(":", 1) for entry in text.split("\t")[1:]]
    from_xgboost = {name: float(value) for name, value in pairs}
    asked = chosen.metrics
    added = [metric for metric in custom.metrics if metric.name in asked]
    own_names = {metric.name for metric in added}
    wanted = [name for name in asked if computed_here(name) and name not in own_names]
    scores: dict[str, float] = {}
    for name, matrix in matrices.items():
        scores |= {key: value for key, value in from_xgboost.items() if key.startswith(f"{name}-")}
        if wanted or added:
            predictions, found = booster.predict(matrix), {}
            if wanted:
                found = metrics.evaluate(
                    wanted,
                    matrix.get_label(),
                    predictions,
                    chosen.objective,
                    chosen["num_class"] or 2,
                    total,
                )
            found |= {each.name: metrics.own(each, predictions, matrix, total) for each in added}
            scores |= {f"{name}-{metric}": value for metric, value in found.items()}
        last = f"{name}-{asked[-1]}" if asked else ""
        if last in scores:
            scores[last] = scores.pop(last)
    return scores
