"""features.py in training and serving: it cannot drift apart, whatever the owner forgets."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from scipy.sparse import csr_matrix

import features
from locations import PROGRAM
from runtime import transformation
from runtime.training.external import densify, sparsify
from training_job import Job, csv_text, labels_for, numbers, simple_job

APPENDED = """
_template = transform
def transform(rows, names, fitted=None):
    rows, names = _template(rows, names, fitted)
    return np.column_stack([rows, rows[:, 0] * 2]), names and (*names, "twice")
"""
LOAD = """
import sys, json
from pathlib import Path
import numpy as np
import settings
import predictor
from runtime.formats import Rows
try:
    model = predictor.load_model(Path(sys.argv[1]), settings.load())
except Exception as problem:
    print(json.dumps(f"{type(problem).__name__}: {problem}"))
else:
    rows = np.load(sys.argv[2])
    print(json.dumps(model.predict(model.features(Rows(rows))).tolist()))
"""
ENVIRON = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": "off"}


def edited(folder: Path, more: str = APPENDED) -> Path:
    """Return a copy of the program whose owner has edited features.py."""
    program = folder / "program"
    shutil.copytree(PROGRAM, program, ignore=shutil.ignore_patterns("__pycache__"))
    path = program / "features.py"
    path.write_text(path.read_text() + more)
    return program


def served(program: Path, model: Path, rows: np.ndarray) -> str | list[float]:
    """Return the answers of a model as `program` serves it, or why it refuses."""
    path = model.parent / "rows.npy"
    np.save(path, rows)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(model), str(path)], env=ENVIRON, cwd=program,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def sparse_job(base: Path) -> tuple[Job, np.ndarray]:
    rows, score = numbers(600, 0)
    rows[:, 0] = np.abs(np.nan_to_num(rows[:, 0])) + 1
    lines = [
        f"{label:g} " + " ".join(f"{i}:{v:.9g}" for i, v in enumerate(row) if not np.isnan(v))
        for label, row in zip(labels_for("binary:logistic", score), rows, strict=True)
    ]
    job = Job(base, {"num_round": "5", "objective": "binary:logistic", "nthread": "1"})
    job.put("train", "data", "\n".join(lines), ContentType="text/libsvm")
    return job, rows


@pytest.mark.parametrize("external_memory", ["false", "true"])
def test_an_edit_without_a_new_version_reaches_sparse_training_and_serving(
    tmp_path: Path, external_memory: str
) -> None:
    program = edited(tmp_path)
    job, rows = sparse_job(tmp_path / "job")
    job.hyperparameters["external_memory"] = external_memory
    outcome = job.run_program(program)
    assert outcome.code == 0, outcome.log
    assert job.booster().num_features() == 7
    digest = hashlib.sha256((program / "features.py").read_bytes()).hexdigest()
    assert job.output("manifest.json")["features_version"] == digest
    wide = np.column_stack([rows, rows[:, 0] * 2])
    expected = job.booster().inplace_predict(wide)
    np.testing.assert_allclose(served(program, job.base / "model", rows), expected, atol=1e-6)
    refused = served(PROGRAM, job.base / "model", rows)
    assert f"StartError: the model was trained with features '{digest}'" in str(refused)


def test_a_version_of_the_owners_own_overrides_the_digest(tmp_path: Path) -> None:
    program = edited(tmp_path, APPENDED + 'VERSION = "ratio 1"\n')
    job, rows = sparse_job(tmp_path / "job")
    assert job.run_program(program).code == 0
    assert job.output("manifest.json")["features_version"] == "ratio 1"
    path = program / "features.py"
    path.write_text(path.read_text() + "# a comment\n")
    assert len(served(program, job.base / "model", rows)) == len(rows)


def manifest_with(model: Path, **values: object) -> None:
    path = model / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_manifests_of_former_releases_are_served(tmp_path: Path) -> None:
    """They say `identity`, as the template's file did; an edited file may have said it too."""
    job = simple_job(tmp_path / "job")
    assert job.run().code == 0
    rows, _ = numbers(20, 3)
    expected = job.booster().inplace_predict(rows)
    manifest_with(job.base / "model", features_version="identity")
    np.testing.assert_allclose(served(PROGRAM, job.base / "model", rows), expected, atol=1e-6)
    program = edited(tmp_path, APPENDED + 'VERSION = "identity"\n')
    assert "trained with features 'identity'" in str(served(program, job.base / "model", rows))


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_model_with_other_columns_is_refused_at_load(tmp_path: Path, with_manifest: bool) -> None:
    job = simple_job(tmp_path / "job")
    assert job.run().code == 0
    model = job.base / "model"
    if with_manifest:
        manifest_with(model, features_version=None)
    else:
        (model / "manifest.json").unlink()
    answer = str(served(edited(tmp_path), model, numbers(3, 3)[0]))
    assert "features.transform makes 7 columns of 6, but the model has 6" in answer


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("def transform(rows, names, fitted=None):\n    return rows[1:], names\n", "made 599 rows"),
        ("def transform(rows, names, fitted=None):\n    return rows * 1.0e0 + np.zeros(1), names\n",
         "float64"),
        ("def transform(rows, names, fitted=None):\n    return rows[:, 9], names\n", "IndexError"),
        ("def transform(rows, names, fitted=None):\n    return rows, ('a',)\n", "1 names for 6"),
    ],
)  # fmt: skip
def test_a_transformation_that_breaks_its_contract_is_the_owners_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: str, message: str
) -> None:
    names: dict[str, Any] = {"np": np}
    exec(edit, names)
    monkeypatch.setattr(features, "transform", names["transform"])
    job = simple_job(tmp_path)
    assert job.run().code == 1
    assert message.replace("599", "0") in job.failure or message in job.failure


def test_the_template_knows_its_own_file() -> None:
    assert transformation.is_untouched()
    assert transformation.version() in transformation.UNTOUCHED


def test_sparse_rows_survive_as_they_are() -> None:
    rows, _ = numbers(50, 1)
    rows[3] = np.nan
    rows[5, 2] = 0  # an entry all the same
    sparse = sparsify(rows)
    assert isinstance(sparse, csr_matrix)
    np.testing.assert_array_equal(densify(sparse), rows)
    kept = xgboost.DMatrix(sparse).get_data()
    assert (kept != xgboost.DMatrix(csr_matrix(sparse)).get_data()).nnz == 0


def test_an_untouched_file_leaves_csv_training_as_it_was(tmp_path: Path) -> None:
    rows, score = numbers(300, 0)
    job = Job(tmp_path, {"num_round": "2", "objective": "reg:squarederror"})
    job.put("train", "x.csv", csv_text(labels_for("reg:squarederror", score), rows))
    assert job.run().code == 0
    assert job.output("manifest.json")["features_version"] == transformation.version()
