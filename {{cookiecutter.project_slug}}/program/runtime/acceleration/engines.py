"""Two engines with one interface: oneDAL, and XGBoost's own prediction in place.

Every method takes float32 rows [rows, features] where NaN (and the model's own missing value)
means missing, and raises ValueError for another number of columns. Answers are float32.

Both have one thread, everywhere, from the start: XGBoost with several OpenMP threads in a parent
hangs in the child after a fork, and so does oneDAL with a large batch. Workers are processes, so
one thread each loses nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration.calls import Calls
from runtime.acceleration.links import LINKS
from runtime.imports import import_engines
from runtime.job import resources

if TYPE_CHECKING:
    import xgboost

    from runtime.acceleration.widening import Widening

Floats = NDArray[np.float32]


class Engine(Protocol):
    """What serving needs of a model. `name` is "onedal", "xgboost" or "onedal+xgboost"."""

    name: str
    objective: str
    num_features: int
    num_groups: int
    feature_names: tuple[str, ...] | None
    concurrent: bool  # whether several threads may ask for contributions at once

    def predict(self, rows: Floats) -> Floats:
        """Return what `Booster.predict` returns, [rows] or [rows, groups]."""
        ...

    def margins(self, rows: Floats) -> Floats:
        """Return the scores before the link function, [rows] or [rows, groups]."""
        ...

    def contributions(self, rows: Floats) -> Floats:
        """Return SHAP values, the bias last: [rows, features + 1] or [rows, groups, ...].

        Raises NoContributionsError.
        """
        ...


class NoContributionsError(Exception):
    """XGBoost has no SHAP values for this kind of model, such as one of vector leaves."""


class XGBoostEngine:
    """XGBoost itself, with one thread: the reference, and the fall-back."""

    name = "xgboost"

    def __init__(self, booster: xgboost.Booster, missing: float | None = None) -> None:
        booster.set_param({"nthread": 1})
        learner = json.loads(booster.save_config())["learner"]
        self.booster = booster
        self.missing = missing
        self.objective = str(learner["objective"]["name"])
        self.num_features = int(booster.num_features())
        names = booster.feature_names
        self.feature_names = tuple(names) if names else None
        # gblinear cannot predict in place; dart can, but rounds otherwise than Booster.predict.
        self._in_place = False
        self.num_groups = int(self.margins(np.zeros((1, self.num_features), np.float32)).size)
        self._in_place = learner["gradient_booster"]["name"] == "gbtree"
        # https://xgboost.readthedocs.io/en/stable/prediction.html#thread-safety
        self.concurrent = learner["gradient_booster"]["name"] != "gblinear"

    def predict(self, rows: Floats) -> Floats:
        return self._run(rows, "value")

    def margins(self, rows: Floats) -> Floats:
        return self._run(rows, "margin")

    def contributions(self, rows: Floats) -> Floats:
        import xgboost

        matrix = self._matrix(checked(rows, self))
        try:
            values = self.booster.predict(matrix, pred_contribs=True, validate_features=False)
        except xgboost.core.XGBoostError as error:
            raise NoContributionsError(str(error).partition("\n")[0]) from None
        groups = () if self.num_groups == 1 else (self.num_groups,)
        return np.asarray(values, np.float32).reshape(len(rows), *groups, self.num_features + 1)

    def _run(self, rows: Floats, kind: str) -> Floats:
        rows = checked(rows, self)
        if not len(rows):  # XGBoost forgets the groups then
            return self._run(np.zeros((1, self.num_features), np.float32), kind)[:0]
        if self._in_place:
            answer = self.booster.inplace_predict(rows, predict_type=kind, validate_features=False)
        else:
            answer = self.booster.predict(
                self._matrix(rows), output_margin=kind == "margin", validate_features=False
            )
        return np.asarray(answer, np.float32)

    def _matrix(self, rows: Floats) -> xgboost.DMatrix:
        import xgboost

        types = self.booster.feature_types
        return xgboost.DMatrix(rows, nthread=1, feature_types=types, enable_categorical=True)


class OneDALEngine:
    """oneDAL: one regression model a group gives its margins, the link function the answer.

    `classifier`, of three classes and more, gives all probabilities in one call.
    """

    name = "onedal"
    concurrent = True

    def __init__(
        self,
        regressors: Sequence[Any],
        classifier: Any,
        reference: XGBoostEngine,
        widening: Widening | None = None,
        *,
        shap: bool = True,
    ) -> None:
        import daal4py

        self._regression = daal4py.gbt_regression_prediction
        self._classification = daal4py.gbt_classification_prediction
        self._regressors = tuple(regressors)
        self._classifier = classifier
        self._widening = widening
        self._link = LINKS[reference.objective]
        self._reference = reference
        self.calls: Calls | None = None  # set by a measurement, see tuning.py
        self.shap = shap  # cleared where the contributions of this model are not proven
        self.missing = reference.missing
        self.objective = reference.objective
        self.num_features = reference.num_features
        self.num_groups = reference.num_groups
        self.feature_names = reference.feature_names

    def predict(self, rows: Floats) -> Floats:
        rows = checked(rows, self)
        if self._classifier is not None and len(rows):
            return self._run(self._probabilities, rows)
        answer = self._link(self._run(self._sums, rows))
        return answer.reshape(-1) if answer.shape[1] == 1 else answer

    def margins(self, rows: Floats) -> Floats:
        answer = self._run(self._sums, checked(rows, self))
        return answer[:, 0] if self.num_groups == 1 else answer

    def contributions(self, rows: Floats) -> Floats:
        if not self.shap or not len(rows):
            return self._reference.contributions(rows)
        rows = checked(rows, self)
        shape = (len(rows), self.num_features + 1)
        values = [self._compute(model, rows, "shapContributions") for model in self._regressors]
        if self.num_groups == 1:
            return values[0].reshape(shape)
        return np.stack([value.reshape(shape) for value in values], axis=1)

    def _run(self, function: Callable[[Floats], Floats], rows: Floats) -> Floats:
        """Return `function` of the rows, in the calls that are planned for so many."""
        count = len(rows)
        calls = self.calls(count) if self.calls and count else (count,)
        if len(calls) == 1:
            return self._call(function, rows, calls[0])
        answers, start = [], 0
        for size in calls:
            answers.append(self._call(function, rows[start : start + size], size))
            start += size
        return np.concatenate(answers)

    def _call(self, function: Callable[[Floats], Floats], rows: Floats, size: int) -> Floats:
        """Return `function` of the rows, in a call of `size`: padded where they are fewer."""
        if len(rows) == size:
            return self._widened(function, rows)
        padded = np.zeros((size, rows.shape[1]), np.float32)
        padded[: len(rows)] = rows
        return self._widened(function, padded)[: len(rows)]

    def _widened(self, function: Callable[[Floats], Floats], rows: Floats) -> Floats:
        """Return `function` of what the regressors read: the rows, or their memberships."""
        if not len(rows):
            return np.empty((0, self.num_groups), np.float32)
        if self._widening is None:
            return function(rows)
        return self._widening.apply(function, rows)

    def _sums(self, rows: Floats) -> Floats:
        if self.num_groups == 1:
            return self._compute(self._regressors[0], rows, "")
        columns = [self._compute(model, rows, "").reshape(-1) for model in self._regressors]
        return np.stack(columns, axis=1)

    def _probabilities(self, rows: Floats) -> Floats:
        algorithm = self._classification(
            nClasses=self.num_groups, fptype="float", resultsToEvaluate="computeClassProbabilities"
        )
        answer: Floats = algorithm.compute(rows, self._classifier).probabilities
        return answer

    def _compute(self, model: Any, rows: Floats, results: str) -> Floats:
        # The algorithm object is single-use: a second compute with other rows raises.
        algorithm = self._regression(fptype="float", resultsToCompute=results)
        answer: Floats = algorithm.compute(rows, model).prediction
        return answer


class MixedEngine:
    """oneDAL for some numbers of rows, XGBoost for others: whichever is faster there."""

    name = "onedal+xgboost"
    concurrent = False  # the number of rows decides, so it must be that of the whole request

    def __init__(self, steps: Sequence[tuple[int, Engine]]) -> None:
        """Take (first number of rows, engine), ascending; the first of them begins at 0."""
        self._steps = tuple(steps)
        first = self._steps[0][1]
        self.objective = first.objective
        self.num_features = first.num_features
        self.num_groups = first.num_groups
        self.feature_names = first.feature_names

    def predict(self, rows: Floats) -> Floats:
        return self.engine_for(len(rows)).predict(rows)

    def margins(self, rows: Floats) -> Floats:
        return self.engine_for(len(rows)).margins(rows)

    def contributions(self, rows: Floats) -> Floats:
        return self.engine_for(len(rows)).contributions(rows)

    def engine_for(self, count: int) -> Engine:
        """Return the engine that answers this number of rows."""
        return next(engine for start, engine in reversed(self._steps) if count >= start)


def engine_for(engine: Engine, count: int) -> Engine:
    """Return the engine that answers this number of rows: one of a MixedEngine's, or itself."""
    return engine.engine_for(count) if isinstance(engine, MixedEngine) else engine


def checked(rows: Floats, engine: XGBoostEngine | OneDALEngine) -> Floats:
    """Return rows as both engines need them: float32, contiguous, missing as NaN.

    XGBoost compares in float32; rows left in float64 fall on the other side of a split.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    if rows.ndim != 2 or rows.shape[1] != engine.num_features:
        raise ValueError(f"rows of shape {rows.shape}; the model has {engine.num_features} columns")
    if engine.missing is not None:
        rows = np.where(rows == np.float32(engine.missing), np.float32(np.nan), rows)
    return rows


def single_thread() -> None:
    """Give every numeric library one thread, and import them: they read this once."""
    for variable in resources.THREADS:
        os.environ[variable] = "1"
    import_engines()
    limit_onedal()


def limit_onedal() -> None:
    """Bypass oneDAL's own thread pool, which OMP_NUM_THREADS does not reach."""
    if "daal4py" in sys.modules:
        sys.modules["daal4py"].daalinit(1)


def after_fork(engine: Engine) -> None:
    """Prepare a worker: one thread again, then a prediction on both code paths, 1 and 32 rows."""
    limit_onedal()
    for count in (1, 32):
        engine.predict(np.zeros((count, engine.num_features), np.float32))
