"""A trained model as an MLmodel folder, which MLflow predicts with and this project serves.

The signature has the columns of the Booster itself. The manifest comes along: this project's server
takes the columns of the data from it, and applies features.transform.

https://mlflow.org/docs/latest/ml/model/#model-format
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from runtime import acceleration, transformation
from runtime.acceleration.engines import XGBoostEngine
from runtime.job import artifact

MODEL = "model.ubj"
EXAMPLE_ROWS = 3

log = logging.getLogger(__name__)


def write(
    folder: Path,
    source: Path,
    manifest: artifact.Manifest,
    run_id: str,
    model_id: str | None = None,
) -> None:
    """Write the model of the model folder `source` into `folder`, which exists."""
    shutil.copyfile(source / artifact.MODEL_FILE, folder / MODEL)
    for name in (artifact.MANIFEST_FILE, artifact.PROBE_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    engine = XGBoostEngine(acceleration.load_booster(folder / MODEL))
    rows = np.zeros((1, engine.num_features), np.float32)
    shape = engine.predict(rows).shape
    inputs = inputs_of(engine)
    python = manifest.versions.get("python", "3")
    document: dict[str, Any] = {
        "flavors": flavors(manifest, python),
        "mlflow_version": metadata.version("mlflow-skinny"),
        "model_uuid": uuid.uuid4().hex,
        "run_id": run_id,
        "signature": {
            "inputs": json.dumps(inputs),
            "outputs": json.dumps([tensor("float32", [-1, *shape[1:]])]),
            "params": None,
        },
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
    }
    if model_id:
        document["model_id"] = model_id
    if example := write_example(folder, engine, manifest):
        document["saved_input_example_info"] = example
    if not transformation.is_untouched() or manifest.missing is not None:
        log.info("note: MLflow itself predicts from the model's columns, after features.transform")
    (folder / "MLmodel").write_text(yaml.safe_dump(document), encoding="utf-8")
    write_environment(folder, manifest, python)


def flavors(manifest: artifact.Manifest, python: str) -> dict[str, Any]:
    """Return what mlflow.xgboost.save_model writes of a Booster."""
    return {
        "python_function": {
            "data": MODEL,
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.xgboost",
            "python_version": python,
        },
        "xgboost": {
            "code": None,
            "data": MODEL,
            "model_class": "xgboost.core.Booster",
            "model_format": "ubj",
            "xgb_version": xgboost_of(manifest),
        },
    }


def xgboost_of(manifest: artifact.Manifest) -> str:
    """Return the version of XGBoost that trained the model."""
    versions = manifest.versions
    return versions.get("xgboost-cpu") or versions.get("xgboost", "")


def inputs_of(engine: XGBoostEngine) -> list[dict[str, Any]]:
    """Return the columns of the signature: numbers, and strings of columns that store them."""
    if engine.feature_names is None:
        return [tensor("float64", [-1, engine.num_features])]
    stored = acceleration.stored_categories(engine.booster)
    strings = [at for at in stored.values if stored.is_text(at)] if stored else []
    return [
        {"type": "string" if at in strings else "double", "name": name, "required": True}
        for at, name in enumerate(engine.feature_names)
    ]


def tensor(dtype: str, shape: list[int]) -> dict[str, Any]:
    """Return the part of a signature that is an array."""
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


def write_example(
    folder: Path, engine: XGBoostEngine, manifest: artifact.Manifest
) -> dict[str, Any] | None:
    """Write rows of the training data as an example of a request; return what MLmodel says of it.

    None where the model's columns are not those of the data, or hold strings.
    """
    path = folder / artifact.PROBE_FILE
    names = engine.feature_names
    if manifest.categories or names != manifest.feature_names or not path.is_file():
        return None
    rows = cells_of(np.load(path, allow_pickle=False)[:EXAMPLE_ROWS])
    info = {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
    }
    if names:
        example: Any = {"columns": list(names), "data": rows}
        request, kind = (
            {"dataframe_split": example},
            {"type": "dataframe", "pandas_orient": "split"},
        )
    else:
        example, request, kind = rows, {"inputs": rows}, {"type": "ndarray"}
    (folder / info["artifact_path"]).write_text(json.dumps(example), encoding="utf-8")
    (folder / info["serving_input_path"]).write_text(json.dumps(request), encoding="utf-8")
    return info | kind


def cells_of(rows: NDArray[np.float32]) -> list[list[float | None]]:
    """Return rows for JSON: null where a cell is missing."""
    return [[None if np.isnan(cell) else float(cell) for cell in row] for row in rows]


def write_environment(folder: Path, manifest: artifact.Manifest, python: str) -> None:
    """Write what MLflow makes an environment of, where it makes one to serve the model."""
    packages = [f"mlflow=={metadata.version('mlflow-skinny')}", f"xgboost=={xgboost_of(manifest)}"]
    (folder / "requirements.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
    virtualenv = {"python": python, "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(virtualenv), encoding="utf-8")
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": packages}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda), encoding="utf-8")
