"""Pipeline step 3: score the model on the test part, through the code that serves it.

Writes evaluation.json, whose `quality` decides on registration (larger is better), and the
predictions. Runs in the project's image, as a SageMaker processing job.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

import settings
from predictor import load_model
from runtime import acceleration
from runtime.formats import Categories, Rows
from runtime.formats.assembly import recoded
from runtime.formats.errors import FormatError
from runtime.formats.files import read_with_strings
from runtime.formats.strings import Strings
from runtime.formats.table import Table
from runtime.inference.models import Predictions
from runtime.inference.outputs import predicted_label
from runtime.job.artifact import Manifest
from runtime.job.failures import ContainerError
from runtime.job.paths import Paths


def metrics_of(labels: NDArray[Any], scores: NDArray[Any], classes: Any) -> dict[str, float]:
    """Return the metrics by name; `classes` are the predicted labels, None of a regression."""
    if classes is None:
        error = float(metrics.mean_squared_error(labels, scores))
        mean = float(metrics.mean_absolute_error(labels, scores))
        return {"r2": float(metrics.r2_score(labels, scores)), "rmse": error**0.5, "mae": mean}
    found = {
        "accuracy": float(metrics.accuracy_score(labels, classes)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, classes)),
        "f1_macro": float(metrics.f1_score(labels, classes, average="macro")),
    }
    if scores.ndim == 1 and len(np.unique(labels)) == 2:
        found["auc"] = float(metrics.roc_auc_score(labels, scores))
    return found


def read_test(path: Path, manifest: Manifest) -> Table:
    """Return the test part with the model's codes of strings, and labels as numbers of classes."""
    names, categories = manifest.feature_names, None
    if manifest.categories is not None:
        categories = Categories.from_document(manifest.categories, names)
    strings = Strings(categories.values if categories else (), labels=bool(manifest.label_names))
    table = read_with_strings(path, "text/csv", "csv", strings, names)
    return recoded(table, categories, manifest.label_names)[0]


def run(base: Path) -> dict[str, Any]:
    """Read model and test data below `base`/input; write the report below `base`/output."""
    options, output = settings.load(), base / "output" / "evaluation"
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(base / "input" / "model" / "model.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        model = load_model(Path(folder), options)
    table = read_test(base / "input" / "test", model.manifest)
    rows = Rows(np.ascontiguousarray(table.features), table.names)
    predictions = Predictions(model, model.features(rows))
    classes = predicted_label(predictions)
    found = metrics_of(np.asarray(table.labels), predictions.scores, classes)
    first = next(iter(found))
    kinds = {1: "regression", 2: "binary_classification"}
    kind = kinds.get(options.num_classes, "multiclass_classification")
    report: dict[str, Any] = {
        "quality": {"metric": first, "value": found[first]},
        f"{kind}_metrics": {
            name: {"value": value, "standard_deviation": "NaN"} for name, value in found.items()
        },
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    np.savetxt(output / "predictions.csv", predictions.scores, "%.9g", ",")
    return report


def main() -> int:
    """Run the step; a fault of model or data is one line, exit status 1."""
    try:
        report = run(Paths.from_environment().base / "processing")
    except (ContainerError, FormatError, acceleration.ModelFileError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(f"ok: {json.dumps(report)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
