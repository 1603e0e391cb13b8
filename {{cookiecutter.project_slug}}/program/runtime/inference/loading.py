"""A model folder -> a model that answers."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

import features
from runtime import acceleration
from runtime.formats import libsvm
from runtime.inference.errors import StartError
from runtime.inference.models import Floats, Model
from runtime.job import artifact
from settings import Settings

ARCHIVE = "model.tar.gz"  # SageMaker's SDK in local mode unpacks it beside itself
OURS = {artifact.MANIFEST_FILE, artifact.PARITY_FILE, artifact.PROBE_FILE, ARCHIVE}

log = logging.getLogger(__name__)


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
    log.info("libsvm requests: %s", libsvm.index_rule(model.schema))
    return model
