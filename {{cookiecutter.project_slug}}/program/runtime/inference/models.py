"""A model that answers: one engine, or several that vote."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import custom
import features
from runtime import acceleration
from runtime.formats import Rows
from runtime.formats.categories import Categories
from runtime.formats.table import MAX_CELLS, Schema
from runtime.inference import spread
from runtime.inference.errors import StartError
from runtime.inference.mlmodel import MLmodel
from runtime.job import artifact
from settings import Settings

VOTING = ("multi:softmax", "binary:hinge")  # their predictions are labels: no mean of those

SHADOW_TOLERANCE = 1e-5  # absolute for probabilities, else relative

Array = NDArray[Any]
Floats = NDArray[np.float32]


def vote(labels: Sequence[Floats]) -> Floats:
    """Return the label that most models chose for each row; the lowest of several such."""
    table = np.stack(labels)
    counts = (table[:, None, :] == table[None, :, :]).sum(axis=1)
    ranked = np.where(counts == counts.max(axis=0), table, np.inf)
    return np.asarray(ranked.min(axis=0), np.float32)


def combined(answers: Sequence[Floats]) -> Floats:
    """Return the mean of the answers of an ensemble; a single one as it is."""
    if len(answers) == 1:
        return answers[0]
    return np.asarray(np.mean(answers, axis=0), np.float32)


def index_base(manifest: artifact.Manifest, settings: Settings) -> int | None:
    """Return the first column number of libsvm requests; None where each request must show it.

    A model that was trained here on other formats numbers its columns from 0.
    """
    if manifest.index_base is not None:
        return manifest.index_base
    trained_here = manifest != artifact.Manifest()
    return 0 if settings.libsvm_index_base is None and trained_here else settings.libsvm_index_base


def uses_first_column(reference: acceleration.Engine) -> bool:
    """Return whether any tree splits on column 0. XGBoost itself is asked."""
    booster = getattr(reference, "booster", None)
    if booster is None:
        return True
    name = booster.feature_names[0] if booster.feature_names else "f0"
    return name in booster.get_score(importance_type="weight")


class Model:
    """One or more engines with the same columns, and what requests must know of them."""

    def __init__(
        self,
        choices: Sequence[acceleration.Choice],
        manifest: artifact.Manifest,
        settings: Settings,
        categories: Categories | None = None,
        mlmodel: MLmodel | None = None,
    ) -> None:
        engines = [choice.engine for choice in choices]
        first = engines[0]
        shapes = {(engine.objective, engine.num_features, engine.num_groups) for engine in engines}
        if len(shapes) > 1:
            raise acceleration.ModelFileError(
                f"the model files do not belong together: {sorted(shapes)}; "
                "SAGEMAKER_INFERENCE_ENSEMBLE=false serves the first one only"
            )
        self.engines, self.manifest, self.mlmodel = tuple(engines), manifest, mlmodel
        self.reports = tuple(choice.report for choice in choices)  # of what was compared
        self.objective, self.num_groups = first.objective, first.num_groups
        self.label_names = custom.LABEL_NAMES or manifest.label_names
        self.threshold = custom.THRESHOLD
        self.explainers = tuple(choice.explainer for choice in choices)
        self.engine_name = "+".join(sorted({engine.name for engine in engines}))
        self.explainer_name = ""  # of contributions, where an answer may hold them
        if "contributions" in settings.inference_output:
            self.explainer_name = "+".join(sorted({each.name for each in self.explainers}))
        self.headers: tuple[tuple[str, str], ...] = (("X-Model-Engine", self.engine_name),)
        if any(choice.rounds.used < choice.rounds.total for choice in choices):
            answering = dict.fromkeys(str(choice.rounds) for choice in choices)
            self.headers += (("X-Model-Iterations", ", ".join(answering)),)
        self.schema = Schema(
            manifest.num_columns or first.num_features,
            manifest.feature_names or first.feature_names,
            index_base(manifest, settings),
            settings.short_rows == "missing",
            any(uses_first_column(choice.reference) for choice in choices),
            max(MAX_CELLS, settings.max_content_length),
            categories,
        )

        self.lock = threading.RLock()
        self.busy_since = math.inf  # of time.monotonic(), while a thread computes under the lock
        self.patience = settings.request_timeout
        self.shadows = [
            acceleration.ShadowChecker(choice.reference, settings.shadow_rate, SHADOW_TOLERANCE)
            if settings.shadow_rate and choice.engine is not choice.reference
            else None
            for choice in choices
        ]
        # Nearly every model is one oneDAL engine with nothing to add to its predictions.
        self.plain = len(engines) == 1 and first.name == "onedal" and not any(self.shadows)
        self.spread_rows = settings.spread_rows if self.plain else 0
        # ACCELERATION=off is XGBoost as anybody would call it.
        by_threads = settings.spread_rows > 0 and settings.acceleration != "off"
        self.explaining = spread.LongWork() if by_threads else None

    def predict(self, values: Floats) -> Floats:
        """Return what the engines predict together, and let the shadows look."""
        if self.plain:
            predict = self.engines[0].predict
            large = 0 < self.spread_rows <= len(values)
            return spread.predict(predict, values) if large else predict(values)
        answers = self.ask("predict", values)
        for shadow, answer in zip(self.shadows, answers, strict=True):
            if shadow:
                shadow.offer(values, answer)
        if len(answers) > 1 and self.objective in VOTING:
            return vote(answers)
        return combined(answers)

    def ask(self, method: str, values: Floats) -> list[Floats]:
        """Return what each engine predicts by one of its methods."""
        # Not everything of XGBoost may run in several threads; oneDAL's predictions may.
        return [
            self._alone(getattr(engine, method), values)
            if engine.name != "onedal"
            else getattr(engine, method)(values)
            for engine in self.engines
        ]

    def contributions(self, values: Floats) -> Floats:
        """Return SHAP values, the bias last: [n, features + 1] or [n, groups, features + 1]; the
        mean of an ensemble's. Raises NoContributionsError."""
        chosen = [acceleration.engine_for(each, len(values)) for each in self.explainers]
        return combined([self._alone(self._spread(engine), values) for engine in chosen])

    def _spread(self, engine: acceleration.Engine) -> Callable[[Floats], Floats]:
        """Return the contributions of an engine as a function that may use idle CPUs."""
        if self.explaining and engine.concurrent:
            return partial(self.explaining.run, engine.contributions)
        return engine.contributions

    def _alone(self, method: Callable[[Floats], Floats], values: Floats) -> Floats:
        with self.lock:
            self.busy_since = time.monotonic()
            try:
                return method(values)
            finally:
                self.busy_since = math.inf

    def features(self, rows: Rows) -> Floats:
        """Return the model's columns of decoded rows, float32 [rows, features]."""
        values, _ = features.transform(rows.values, rows.names, self.manifest.fitted_features)
        return values

    def postprocessed(self, scores: Floats, values: Floats) -> Array:
        """Return what custom.postprocess makes of scores, [n] or [n, groups]: as many rows.

        Raises ValueError where it returns anything else.
        """
        if custom.postprocess is None:
            return scores
        answer = np.asarray(custom.postprocess(scores, values))
        if answer.ndim not in (1, 2) or len(answer) != len(scores):
            raise ValueError(
                f"custom.postprocess returned an array of shape {answer.shape} for scores of "
                f"shape {scores.shape}; it must keep the number of rows"
            )
        return answer

    def rehearse(self) -> None:
        """Let custom.postprocess see a row of missing values. Raises StartError where it fails."""
        row = np.full((1, self.engines[0].num_features), np.nan, np.float32)
        try:
            self.postprocessed(self.predict(row), row)
        except Exception as error:
            raise StartError(f"program/custom.py: {type(error).__name__}: {error}") from error

    def self_test(self) -> str:
        """Predict one row of missing values; return what is wrong, or the empty string.

        A request that is being computed is a sign of health, unless it takes longer than any
        request may: the test never waits for it, since explanations can take a minute.
        """
        if not self.lock.acquire(blocking=False):
            seconds = time.monotonic() - self.busy_since
            stuck = f"a request has been computing for {seconds:.0f} s"
            return stuck if seconds > self.patience else ""
        try:
            row = np.full((1, self.engines[0].num_features), np.nan, np.float32)
            scores = self.predict(row)
            finite = np.isfinite(scores).all()
            self.postprocessed(scores, row)
        finally:
            self.lock.release()
        return "" if finite else "the self-test gave a prediction that is not finite"


class OwnModel:
    """What a program loaded itself: nothing is known of it but that its model_fn succeeded."""

    engines: tuple[acceleration.Engine, ...] = ()
    reports: tuple[dict[str, Any], ...] = ()
    shadows: tuple[acceleration.ShadowChecker | None, ...] = ()
    engine_name = "program"
    explainer_name = ""
    headers: tuple[tuple[str, str], ...] = (("X-Model-Engine", engine_name),)

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a program's functions need not know of threads

    def alone(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the program while no other thread does."""
        with self.lock:
            return function(*arguments)

    def self_test(self) -> str:
        """Return the empty string: only the program could tell more."""
        return ""


class Predictions:
    """What can be asked of a model for the rows of one request, computed when first asked for."""

    def __init__(self, model: Model, values: Floats) -> None:
        self.model, self.values = model, values
        self.objective, self.num_groups = model.objective, model.num_groups
        self.label_names, self.threshold = model.label_names, model.threshold
        self._known: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self.values)

    @property
    def scores(self) -> Array:
        """`Booster.predict`, [n] or [n, groups]; the mean, or the vote, of an ensemble.

        What custom.postprocess makes of it, where there is one.
        """
        if "scores" not in self._known:
            scores = self.model.predict(self.values)
            self._known["scores"] = self.model.postprocessed(scores, self.values)
        return self._known["scores"]

    @property
    def known_scores(self) -> Array | None:
        """The scores if anything has asked for them."""
        return self._known.get("scores")

    @property
    def margins(self) -> Floats:
        """The untransformed sums of the trees, [n] or [n, groups]."""
        if "margins" not in self._known:
            self._known["margins"] = combined(self.model.ask("margins", self.values))
        return self._known["margins"]

    @property
    def contributions(self) -> Floats:
        """SHAP values, the bias last: [n, features + 1] or [n, groups, features + 1]."""
        if "contributions" not in self._known:
            self._known["contributions"] = self.model.contributions(self.values)
        return self._known["contributions"]
