"""A model folder -> a model that answers: one engine, or several that vote."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import acceleration
import features
from container import artifact
from formats import Rows
from formats.table import Schema
from inference.errors import StartError
from settings import Settings

ARCHIVE = "model.tar.gz"  # SageMaker's SDK in local mode unpacks it beside itself
OURS = {artifact.MANIFEST_FILE, artifact.PARITY_FILE, artifact.PROBE_FILE, ARCHIVE}
VOTING = ("multi:softmax", "binary:hinge")  # their predictions are labels: no mean of those

SHADOW_TOLERANCE = 1e-5  # absolute for probabilities, else relative

log = logging.getLogger(__name__)
Floats = NDArray[np.float32]


def model_files(path: Path, ensemble: bool) -> list[Path]:
    """Return the model files of a folder, sorted by name; only the first without `ensemble`.

    Files with `model` in the name come before others, as an artifact may hold more than models.
    Raises ModelFileError when there is none.
    """
    if path.is_file():
        return [path]
    entries = sorted(path.iterdir()) if path.is_dir() else []
    files = [
        entry
        for entry in entries
        if entry.is_file() and entry.name not in OURS and not entry.name.startswith(".")
    ]
    files = [entry for entry in files if "model" in entry.name.lower()] or files
    if not files:
        raise acceleration.ModelFileError(f"no model file in {path}")
    return files if ensemble else files[:1]


def vote(labels: Sequence[Floats]) -> Floats:
    """Return the label that most models chose for each row; the lowest of several such."""
    table = np.stack(labels)
    counts = (table[:, None, :] == table[None, :, :]).sum(axis=1)
    ranked = np.where(counts == counts.max(axis=0), table, np.inf)
    return np.asarray(ranked.min(axis=0), np.float32)


class Model:
    """One or more engines with the same columns, and what requests must know of them."""

    def __init__(
        self,
        choices: Sequence[acceleration.Choice],
        manifest: artifact.Manifest,
        settings: Settings,
    ) -> None:
        engines = [choice.engine for choice in choices]
        first = engines[0]
        shapes = {(engine.objective, engine.num_features, engine.num_groups) for engine in engines}
        if len(shapes) > 1:
            raise acceleration.ModelFileError(
                f"the model files do not belong together: {sorted(shapes)}; "
                "SAGEMAKER_INFERENCE_ENSEMBLE=false serves the first one only"
            )
        self.engines, self.manifest = tuple(engines), manifest
        self.objective, self.num_groups = first.objective, first.num_groups
        self.label_names = manifest.label_names
        self.engine_name = "+".join(sorted({engine.name for engine in engines}))
        self.schema = Schema(
            manifest.num_columns or first.num_features,
            manifest.feature_names or first.feature_names,
            settings.libsvm_index_base if manifest.index_base is None else manifest.index_base,
        )

        self.lock = threading.Lock()
        self.shadows = [
            acceleration.ShadowChecker(choice.reference, settings.shadow_rate, SHADOW_TOLERANCE)
            if settings.shadow_rate and choice.engine is not choice.reference
            else None
            for choice in choices
        ]

    def score(self, rows: Rows) -> Scored:
        """Apply the project's features to decoded rows; predictions follow when asked for."""
        values, _ = features.transform(rows.values, rows.names, self.manifest.fitted_features)
        return Scored(self, values)

    def self_test(self) -> str:
        """Predict one row of missing values; return what is wrong, or the empty string."""
        row = np.full((1, self.engines[0].num_features), np.nan, np.float32)
        finite = np.isfinite(Scored(self, row).predictions).all()
        return "" if finite else "the self-test gave a prediction that is not finite"


class Scored:
    """The predictions of a model for some rows, each computed when first asked for."""

    def __init__(self, model: Model, values: Floats) -> None:
        self.model, self.values = model, values
        self.objective, self.num_groups = model.objective, model.num_groups
        self.label_names = model.label_names

    def _ask(self, engine: acceleration.Engine, method: str) -> Floats:
        # Not everything of XGBoost may run in several threads; oneDAL's predictions may.
        alone = engine.name == "xgboost" or method == "contributions"
        with self.model.lock if alone else nullcontext():
            answer: Floats = getattr(engine, method)(self.values)
            return answer

    def _combine(self, method: str) -> Any:
        answers = [self._ask(engine, method) for engine in self.model.engines]
        if method == "predict":
            for shadow, answer in zip(self.model.shadows, answers, strict=True):
                if shadow:
                    shadow.offer(self.values, answer)
        if len(answers) == 1:
            return answers[0]
        if method == "predict" and self.objective in VOTING:
            return vote(answers)
        return np.mean(answers, axis=0)

    @cached_property
    def predictions(self) -> Floats:
        """`Booster.predict`; the mean, or the vote, of an ensemble."""
        result: Floats = self._combine("predict")
        return result

    @cached_property
    def margins(self) -> Floats:
        """The untransformed sums of the trees."""
        result: Floats = self._combine("margins")
        return result

    @cached_property
    def contributions(self) -> Floats:
        """SHAP values, the bias last."""
        result: Floats = self._combine("contributions")
        return result


def probe_rows(path: Path) -> Floats | None:
    """Return the rows that training kept for the parity check; None when there are none to use."""
    if not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        log.warning("%s cannot be read (%s): the parity check does without", path.name, error)
        return None
    return np.ascontiguousarray(rows, np.float32)


def load(path: Path, settings: Settings) -> Model:
    """Load a model folder and choose the engines.

    Raises ModelFileError or UserError when the files are broken, StartError when they contradict
    the program or its settings, so that no other server of this image could do better.
    """
    started = time.monotonic()
    folder = path if path.is_dir() else path.parent
    files = model_files(path, settings.inference_ensemble)
    manifest = artifact.read_manifest(folder)
    if manifest.features_version not in (None, features.VERSION):
        raise StartError(
            f"the model was trained with features {manifest.features_version!r}, but "
            f"program/features.py is {features.VERSION!r}: train again, or serve the image "
            "that trained the model"
        )
    rows = probe_rows(folder / artifact.PROBE_FILE)
    choices = []
    for file in files:
        booster = acceleration.load_booster(file)
        try:
            choice = acceleration.choose(
                booster, mode=settings.acceleration, missing=manifest.missing, probe_rows=rows
            )
        except acceleration.AccelerationError as error:
            raise StartError(f"{file.name}: {error}") from None
        choices.append(choice)
    model = Model(choices, manifest, settings)
    log.info("model loaded in %.2f s, engine %s", time.monotonic() - started, model.engine_name)
    return model
