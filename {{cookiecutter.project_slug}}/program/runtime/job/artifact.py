"""The model artifact: the names and the schema of what training writes and serving reads.

Only the model itself has `model` in its name: tools of the built-in algorithm look for that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.job.failures import UserError

MODEL_FILE = "xgboost-model"  # k-fold training writes xgboost-model-0, xgboost-model-1, ...
MANIFEST_FILE = "manifest.json"
PARITY_FILE = "parity.json"
PROBE_FILE = "probe.npy"  # float32 rows of the training data, for the parity check at load
SCHEMA_VERSION = 1
NUMBERS = re.compile(r"\[\n[-+.,e0-9\s]+\]")  # lists that fit on a line of JSON


@dataclass(frozen=True)
class Manifest:
    """What serving must know beyond the model file. Every field has a default, so that a model
    of the built-in algorithm, which comes without a manifest, is served too."""

    schema_version: int = SCHEMA_VERSION
    feature_names: tuple[str, ...] | None = None
    num_columns: int | None = None  # of the data, before features.transform
    label_names: tuple[str, ...] | None = None
    num_classes: int | None = None
    objective: str | None = None
    input_format: str | None = None
    index_base: int | None = None  # of libsvm column numbers: 0 or 1
    missing: float | None = None  # value that means "missing" besides NaN
    features_version: str | None = None
    custom_version: str | None = None  # the digest of custom.py
    categories: dict[str, Any] | None = None  # formats.Categories.document, of the data's columns
    fitted_features: dict[str, Any] | None = None  # what features.fit learned
    engine: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Any] | None = None  # of features and scores: training.reference.document
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the manifest into the model folder as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"
        text = NUMBERS.sub(lambda found: " ".join(found[0].split()), text)
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def source_digest(module: ModuleType) -> str:
    """Return the SHA-256 of a module's source, whatever its line endings."""
    source = Path(str(module.__file__)).read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(source).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder; all defaults when there is none.

    Raises UserError when the file is not a valid manifest or was written by a newer schema.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return Manifest()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = int(document.get("schema_version", 0))
    except (ValueError, AttributeError, TypeError) as problem:
        raise UserError(f"{path} is not a valid manifest: {problem}") from None
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema {version}; this image reads up to {SCHEMA_VERSION}: "
            "serve it with the image that trained it, or a newer one"
        )
    known = {entry.name for entry in dataclasses.fields(Manifest)}
    values = {key: value for key, value in document.items() if key in known}
    for key in ("feature_names", "label_names"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    return Manifest(**values)
