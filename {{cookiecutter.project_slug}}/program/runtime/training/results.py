"""What a training job leaves behind: the model and its manifest, parity, metrics, the report."""

from __future__ import annotations

import json
import logging
import math
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

import custom
from runtime import transformation
from runtime.acceleration.stored import with_categories
from runtime.formats.categories import Categories
from runtime.formats.media import resolve
from runtime.formats.table import Table
from runtime.job import artifact
from runtime.job.description import Job
from runtime.job.failures import UserError
from runtime.job.paths import Paths
from runtime.training import categorical, data, report
from runtime.training.choosing import Chooser
from runtime.training.fit import Fit, Matrices
from runtime.training.parameters import Hyperparameters
from runtime.training.reference import Reference, document, sampled
from settings import PROJECT, Settings

PACKAGES = ("xgboost-cpu", "xgboost", "scikit-learn-intelex", "numpy", "scikit-learn")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What the outputs say of the job besides the fit."""

    paths: Paths
    settings: Settings
    chosen: Hyperparameters
    input_format: str
    columns: int  # of the data, before features.transform
    names: tuple[str, ...] | None
    index_base: int | None
    fitted: dict[str, Any] | None
    categories: Categories | None  # of the data's columns
    stored: Categories | None  # of the model's columns, to be kept in the model itself
    label_names: tuple[str, ...] | None
    probe: NDArray[np.float32]
    reference: Reference | None  # what drift is measured from; None: DRIFT=off
    chooser: Chooser | None  # of the engine; None: XGBoost serves

    @property
    def num_classes(self) -> int:
        """1 for a number, 2 for a binary objective, else the class count."""
        binary = self.chosen.objective.startswith("binary:")
        return int(self.chosen["num_class"] or (2 if binary else 1))


def context(
    paths: Paths,
    settings: Settings,
    job: Job,
    chosen: Hyperparameters,
    tables: dict[str, Table],
    chooser: Chooser | None,
) -> Context:
    """Take from the job's tables what the outputs need of them."""
    train, names = tables["train"], chosen["label_names"]
    codec, _ = resolve(job.channels["train"].content_type, settings.input_format)
    return Context(
        paths=paths,
        settings=settings,
        chosen=chosen,
        input_format=codec.name,
        columns=train.features.shape[1],
        names=train.names,
        index_base=train.index_base,
        fitted=train.fitted,
        categories=train.categories,
        stored=categorical.of_model(train, *data.columns_of(train)),
        label_names=train.label_names or (tuple(names) if names else None),
        probe=data.sample(train, chosen["seed"]),
        reference=None if settings.drift == "off" else sampled(tables, chosen["seed"]),
        chooser=chooser,
    )


def save_model(context: Context, trained: Fit, suffix: str = "") -> None:
    """Write the model as UBJSON. Python writes the file: its error for a full disk is clear."""
    folder, model = context.paths.model, trained.model
    if context.stored:
        model = with_categories(model, context.stored)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{artifact.MODEL_FILE}{suffix}").write_bytes(model)


def histograms_of(context: Context, booster: xgboost.Booster | None) -> dict[str, Any] | None:
    """Return the histograms of features, and of the scores of a model; None with DRIFT=off, or
    where they could not be counted."""
    reference = context.reference
    with best_effort("the histograms of features and scores"):
        if reference is not None:
            return document(reference, context.chosen, context.label_names, booster)
    return None


def save_manifest(
    context: Context,
    engine: str | None,
    scores: dict[str, float],
    histograms: dict[str, Any] | None,
) -> None:
    """Write the manifest that serving reads."""
    artifact.Manifest(
        feature_names=context.names,
        num_columns=context.columns,
        label_names=context.label_names,
        num_classes=context.num_classes,
        objective=context.chosen.objective,
        input_format=context.input_format,
        index_base=context.index_base,
        missing=context.chosen["missing"],
        features_version=transformation.version(),
        custom_version=artifact.source_digest(custom),
        categories=context.categories.document() if context.categories else None,
        fitted_features=context.fitted,
        engine=engine,
        hyperparameters=context.chosen.given,
        metrics=finite(scores),
        histograms=histograms,
        versions={"python": platform.python_version(), **versions()},
    ).save(context.paths.model)


@cache
def versions() -> dict[str, str]:
    """Return the versions of those of PACKAGES that are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def finite(scores: dict[str, float]) -> dict[str, float]:
    """Leave out what JSON cannot hold: a metric may be NaN or infinite."""
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def measure_parity(context: Context) -> dict[str, Any]:
    """Choose the engine for the saved model as serving will; write and return parity.json.

    Raises UserError when ACCELERATION=require cannot be met.
    """
    mode, folder = context.settings.acceleration, context.paths.model
    reason = "ACCELERATION=off"
    if context.chooser:
        reason = context.chooser.choose(folder, mode, context.chosen["missing"])
        if not reason:
            found: dict[str, Any] = json.loads((folder / artifact.PARITY_FILE).read_text())
            return found
        log.warning("the parity check failed, serving will use XGBoost: %s", reason)
    if mode == "require":
        raise UserError(f"ACCELERATION=require, but this model cannot be accelerated: {reason}")
    outcome = {"engine": "xgboost", "reason": reason}
    (folder / artifact.PARITY_FILE).write_text(json.dumps(outcome, indent=2) + "\n")
    return outcome


@contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Let nothing that follows a complete model fail the job, except what its owner required."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        log.warning("%s could not be made: %s: %s", what, type(problem).__name__, problem)


def write(context: Context, trained: Fit, matrices: Matrices) -> None:
    """Write every output of a fit: the model and its manifest first, the rest as far as it goes."""
    folder = context.paths.model
    save_model(context, trained)
    histograms = histograms_of(context, trained.booster)
    save_manifest(context, None, trained.scores, histograms)
    log.info("model saved after round %d of %d", trained.best, len(trained.history) - 1)
    parity: dict[str, Any] = {}
    with best_effort("the template of the report"):  # 40 ms, while another process compares
        threading.Thread(target=report.template).start()
    with best_effort("the comparison of the engines"):
        np.save(folder / artifact.PROBE_FILE, context.probe)
        parity = measure_parity(context)
        save_manifest(context, parity.get("engine"), trained.scores, histograms)
        log.info("engine for serving: %s (%s)", parity.get("engine"), parity.get("reason"))
    with best_effort("metrics.json"):
        summary = {
            "best_iteration": trained.best,
            "rounds": len(trained.history),
            "metrics": finite(trained.scores),
            "history": [finite(scores) for scores in trained.history],
        }
        write_json(context.paths.output_data / "metrics.json", summary)
    with best_effort("report.html"):
        write_report(context, trained, matrices, parity)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a file of JSON and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_report(
    context: Context, trained: Fit, matrices: Matrices, parity: dict[str, Any]
) -> None:
    """Write the page about the model, with its predictions on the last data set."""
    count = context.num_classes
    facts = report.Facts(
        project=PROJECT,
        objective=context.chosen.objective,
        class_names=list(context.label_names or map(str, range(count))) if count > 1 else [],
        names=matrices["train"].feature_names or context.names,
        hyperparameters=context.chosen.given,
        parity=parity,
    )
    page = report.render(trained, matrices, facts)
    context.paths.output_data.mkdir(parents=True, exist_ok=True)
    (context.paths.output_data / "report.html").write_text(page, encoding="utf-8")
