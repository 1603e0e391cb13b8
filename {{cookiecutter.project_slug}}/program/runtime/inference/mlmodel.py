"""A model folder as MLflow saves it: the file MLmodel says what is in it.

MLflow 2 and 3 write the same: a flavour `xgboost` with the model file and the class that it was
saved by, a signature with the types of the columns, an example of a request. Nothing of it is run:
an estimator's class only says what its `predict` would return.

https://mlflow.org/docs/latest/ml/model/#model-format
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.formats.dataframes import Signature, SignatureColumn
from runtime.job.failures import UserError

MLMODEL = "MLmodel"
BOOSTER = "xgboost.core.Booster"
# MLflow's types of columns, as numpy names them; a string is a category of the model's.
TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "",
}
FORM_OF = {"dataframe": "dataframe_split", "ndarray": "inputs"}  # by the type of an example


class MLmodelError(UserError):
    """An MLmodel that cannot be served: what it says, and what is supported."""


@dataclass(frozen=True)
class MLmodel:
    """What the file says. `model_class` is that of the object which MLflow predicts with;
    `defaults` are those of the parameters that requests may set."""

    file: Path
    model_class: str = BOOSTER
    signature: Signature | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    example: bytes | None = None  # the body of a request

    @property
    def is_classifier(self) -> bool:
        """Whether MLflow predicts with an estimator that returns classes."""
        return self.model_class.endswith("Classifier")


def takes_all_rounds(described: MLmodel | None) -> bool:
    """Return whether MLflow predicts with a Booster, which does not stop at the best round."""
    return described is not None and described.model_class == BOOSTER


def find(folder: Path) -> Path | None:
    """Return the folder that has an MLmodel: this one, or the only one in it; None without."""
    if (folder / MLMODEL).is_file():
        return folder
    inside = sorted(folder.glob(f"*/{MLMODEL}")) if folder.is_dir() else []
    plain = folder.is_dir() and any(entry.is_file() for entry in folder.iterdir())
    return inside[0].parent if len(inside) == 1 and not plain else None


def read(folder: Path) -> MLmodel:
    """Return what the MLmodel of a folder says. Raises MLmodelError."""
    import yaml  # of no use to other models

    path = folder / MLMODEL
    try:
        document = yaml.safe_load(path.read_bytes())
        flavors = dict(document["flavors"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as problem:
        raise MLmodelError(f"{path} is not a valid MLmodel: {first_line(problem)}") from None
    flavor = flavors.get("xgboost")
    if not isinstance(flavor, dict) or not isinstance(flavor.get("data"), str):
        raise MLmodelError(
            f"{path} has the flavors {', '.join(map(str, flavors)) or 'none'}; supported: models "
            "that mlflow.xgboost.save_model or log_model saved"
        )
    file = (folder / flavor["data"]).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise MLmodelError(f"{path} names the model file {flavor['data']!r}, which is not there")
    try:
        found = document.get("signature") or {}
        return MLmodel(
            file,
            str(flavor.get("model_class") or BOOSTER),
            signature_of(found.get("inputs")),
            {entry["name"]: entry.get("default") for entry in parsed(found.get("params"))},
            example_of(folder, document.get("saved_input_example_info") or {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise MLmodelError(f"{path}: its signature cannot be used: {problem}") from None


def parsed(text: Any) -> list[Any]:
    """Return the JSON array that a part of a signature is; an empty one where it is absent."""
    return list(json.loads(text)) if text else []


def signature_of(inputs: Any) -> Signature | None:
    """Return the columns of a signature. Raises ValueError for what no model of XGBoost takes."""
    entries = parsed(inputs)
    if not entries:
        return None
    if entries[0]["type"] == "tensor":
        return tensor_of(entries)
    columns: list[SignatureColumn] = []
    for entry in entries:
        kind = entry["type"]
        if not isinstance(kind, str) or kind not in TYPES:
            name = entry.get("name", len(columns) + 1)
            raise ValueError(f"column {name!r} is of type {kind!r}; supported: {', '.join(TYPES)}")
        required = entry.get("required", not entry.get("optional", False))
        columns.append(SignatureColumn(entry.get("name"), TYPES[kind], bool(required)))
    return tuple(columns)


def tensor_of(entries: list[Any]) -> Signature | None:
    """Return the columns of a signature that is a tensor; None where it leaves open how many."""
    spec = entries[0]["tensor-spec"]
    dtype, shape = str(spec["dtype"]), list(spec["shape"])
    if len(entries) > 1 or entries[0].get("name") or len(shape) != 2:
        raise ValueError("it has named tensors, or another than one of rows and columns")
    if not dtype.startswith(("float", "int", "uint", "bool")):
        raise ValueError(f"its tensor is of type {dtype}: not of numbers")
    return (SignatureColumn(None, dtype),) * shape[1] if shape[1] > 0 else None


def example_of(folder: Path, info: dict[str, Any]) -> bytes | None:
    """Return the body of the request that was saved as an example, if the folder has one."""
    served = info.get("serving_input_path")
    if served and (folder / str(served)).is_file():
        return (folder / str(served)).read_bytes()
    data, form = info.get("artifact_path"), FORM_OF.get(str(info.get("type")))
    if form and data and (folder / str(data)).is_file():  # of MLflow before 2.14
        return b'{"%s": %s}' % (form.encode(), (folder / str(data)).read_bytes())
    return None


def first_line(problem: Exception) -> str:
    """Return an error as one line."""
    return str(problem).replace("\n", " ") or type(problem).__name__
