"""A model folder -> what it holds: Boosters, the manifest, rows to check them with."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import custom
from runtime import acceleration, transformation
from runtime.formats.categories import Categories
from runtime.inference import mlmodel
from runtime.inference.errors import StartError
from runtime.inference.mlmodel import MLmodel
from runtime.inference.models import Floats
from runtime.job import artifact
from runtime.job.failures import UserError
from settings import Settings

if TYPE_CHECKING:
    from xgboost import Booster

ARCHIVE = "model.tar.gz"  # SageMaker's SDK in local mode unpacks it beside itself
FOLD = re.compile(re.escape(artifact.MODEL_FILE) + r"-\d+")  # of cross-validation
OURS = {artifact.MANIFEST_FILE, artifact.PARITY_FILE, artifact.PROBE_FILE, ARCHIVE}

log = logging.getLogger(__name__)


class ModelFolder(NamedTuple):
    """What a model folder holds: Boosters by the names of their files, what training says of them,
    rows that it kept for the parity check, float32 [rows, features], the categories of the columns
    of requests, and what MLflow says of it."""

    path: Path
    boosters: dict[str, Booster]
    manifest: artifact.Manifest
    probe_rows: Floats | None
    categories: Categories | None
    mlmodel: MLmodel | None = None


def candidates(path: Path) -> list[Path]:
    """Return the files of a folder that are not training's own notes, sorted by name."""
    if path.is_file():
        return [path]
    entries = sorted(path.iterdir()) if path.is_dir() else []
    return [
        entry
        for entry in entries
        if entry.is_file() and entry.name not in OURS and not entry.name.startswith(".")
    ]


def load_any(path: Path, settings: Settings) -> dict[str, Booster]:
    """Return the Boosters of `model_files`, or where none of those is a model, of the others.

    Notes beside a model, such as model_metrics.json, hold `model` in their names as well.
    """
    files = model_files(path)
    others = [file for file in candidates(path) if file not in files]
    try:
        return load_boosters(files, settings)
    except acceleration.ForeignFileError as error:
        if not others or files[0].name.startswith(artifact.MODEL_FILE):
            raise
        log.warning("looking at the other files: %s", error)
        return load_boosters(others, settings)


def model_files(path: Path) -> list[Path]:
    """Return the files of a folder that may be models, sorted by name.

    The file that an MLmodel names is the only one, or that which training writes, or those of its
    folds; without them, files with `model` in the name come before others. Raises ModelFileError
    when there is none.
    """
    if folder := mlmodel.find(path):
        return [mlmodel.read(folder).file]
    files = candidates(path)
    for chosen in (
        [entry for entry in files if entry.name == artifact.MODEL_FILE],
        [entry for entry in files if FOLD.fullmatch(entry.name)],
        [entry for entry in files if "model" in entry.name.lower()],
        files,
    ):
        if chosen:
            return chosen
    raise acceleration.ModelFileError(f"{path} has no file that could be a model")


def load_boosters(files: list[Path], settings: Settings) -> dict[str, Booster]:
    """Return the Boosters of `files` by the file's name; only the first unless
    they are to answer together.

    A file that is not a model of XGBoost at all is left out with a warning, unless nothing is left.
    Raises ModelFileError for the first model that cannot be read: the others together would answer
    otherwise than all of them.
    """
    found: dict[str, Booster] = {}
    foreign: list[acceleration.ForeignFileError] = []
    for file in files:
        try:
            found[file.name] = acceleration.load_booster(file, allow_pickle=settings.allow_pickle)
        except acceleration.ForeignFileError as error:
            if FOLD.fullmatch(file.name):
                raise
            foreign.append(error)
        except acceleration.ModelFileError as error:
            if len(files) == 1:
                raise
            hint = f"; or give the one file that shall answer the name {artifact.MODEL_FILE}"
            raise acceleration.ModelFileError(f"{error}{hint}") from None
        if found and not settings.inference_ensemble:
            break
    if not found:
        raise foreign[0]
    for reason in foreign:
        log.warning("left out, since it is not a model of XGBoost: %s", reason)
    return found


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


def keep_reports(reports: Sequence[dict[str, Any]], run: Path) -> None:
    """Write what was compared when the model was loaded to parity.json in the folder of this
    server: the model's own may be absent, or of another machine. Several models: a list."""
    if reports:
        path = run / artifact.PARITY_FILE
        document = reports[0] if len(reports) == 1 else list(reports)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        log.info("what was compared: %s", path)


def categories_of(boosters: dict[str, Booster], manifest: artifact.Manifest) -> Categories | None:
    """Return the categories of the columns of requests: those of the manifest, or of models that
    were trained elsewhere and store them; None where there are none, or requests hold codes.

    The manifest comes first: it has the columns before features.transform, and XGBoost before 3.4
    loses categories that are not ASCII. Raises UserError where the manifest's are broken.
    """
    if manifest.categories is None:
        found = stored_by_all(boosters)
    else:
        names = manifest.feature_names
        try:
            found = Categories.from_document(manifest.categories, names)
        except ValueError as problem:
            raise UserError(f"{artifact.MANIFEST_FILE}: {problem}") from None
    return replace(found, takes_codes=True) if found else None


def stored_by_all(boosters: dict[str, Booster]) -> Categories | None:
    """Return the categories that the models store; None, with a warning, where they cannot be those
    of requests."""
    stored = [acceleration.stored_categories(booster) for booster in boosters.values()]
    reason = ""
    if any(other != stored[0] for other in stored):
        reason = f"{', '.join(boosters)} store different categories"
    elif stored[0] and not transformation.is_untouched():
        reason = "features.py is edited, so columns of requests may not be those of the model"
    if reason:
        log.warning("categorical columns of requests take codes alone: %s", reason)
        return None
    return stored[0]


def check_columns(booster: Booster, manifest: artifact.Manifest) -> None:
    """Raise StartError when `features.transform` does not make the columns that the model has."""
    wanted = booster.num_features()
    columns = manifest.num_columns or wanted
    names = manifest.feature_names or (tuple(booster.feature_names or ()) or None)
    row = np.full((1, columns), np.nan, np.float32)
    try:
        values, _ = transformation.apply(row, names, manifest.fitted_features)
    except UserError as problem:
        raise StartError(f"a row of {columns} missing values: {problem}") from None
    if values.shape[1] != wanted:
        raise StartError(
            f"features.transform makes {values.shape[1]} columns of {columns}, but the model has "
            f"{wanted}: it was trained with other features; train again, or serve the image that "
            "trained the model"
        )


def read(path: Path, settings: Settings) -> ModelFolder:
    """Read a model folder, or a single file of it.

    Raises ModelFileError or UserError when the files are broken, StartError when they contradict
    the program, so that no other server of this image could do better.
    """
    of_mlflow = mlmodel.find(path)
    folder = of_mlflow or (path if path.is_dir() else path.parent)
    manifest = artifact.read_manifest(folder)
    if not transformation.is_version_of(manifest.features_version):
        raise StartError(
            f"the model was trained with features {manifest.features_version!r}, but "
            f"program/features.py is {transformation.version()!r}: train again, serve the image "
            f"that trained the model, or, if both make the same features, set "
            f"VERSION = {manifest.features_version!r} in features.py"
        )
    if manifest.custom_version not in (None, artifact.source_digest(custom)):
        log.info("note: custom.py is not the one that the model was trained with")
    described = mlmodel.read(of_mlflow) if of_mlflow else None
    boosters = load_boosters([described.file], settings) if described else load_any(path, settings)
    first = next(iter(boosters.values()))
    check_columns(first, manifest)
    probes = probe_rows(folder / artifact.PROBE_FILE)
    categories = categories_of(boosters, manifest)
    return ModelFolder(path, boosters, manifest, probes, categories, described)
