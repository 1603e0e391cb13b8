"""What a job logs to MLflow, without a server. test_mlflow_server.py has one."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
import yaml

import settings
from predictor import create_app
from runtime.job.artifact import read_manifest
from runtime.job.paths import Paths
from runtime.training import mlmodel, tracking
from training_job import Job, csv_text, labels_for, numbers, simple_job

pytestmark = pytest.mark.usefixtures("quick_choice")


@pytest.fixture(autouse=True)
def _version(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLmodel files hold the version of MLflow, which need not be installed here."""
    known = metadata.version

    def version(name: str) -> str:
        return "3.17.2" if name == "mlflow-skinny" else known(name)

    monkeypatch.setattr(metadata, "version", version)


def folder_of(job: Job, base: Path) -> Path:
    """Return the MLmodel folder of a job's model, where SageMaker would unpack it."""
    folder = base / "served" / "model"
    folder.mkdir(parents=True)
    source = job.base / "model"
    mlmodel.write(folder, source, read_manifest(source), "run-1", "m-1")
    return folder


def client_of(folder: Path, classes: int = 2) -> Any:
    """Return a client of this program, serving a model folder."""
    config = settings.load({"NUM_CLASSES": str(classes), "INPUT_FORMAT": "csv"})
    config = dataclasses.replace(config, acceleration="off")
    return create_app(config, Paths(folder.parent)).test_client()


def answer_of(client: Any, request: Any) -> Any:
    """Return the predictions for a request of MLflow's protocol."""
    answer = client.post("/invocations", json=request)
    assert answer.status_code == 200, answer.data
    return np.float32(answer.json["predictions"])


@pytest.mark.parametrize("header", [True, False], ids=["named", "unnamed"])
def test_the_model_of_a_job_is_an_mlmodel_folder(tmp_path: Path, header: bool) -> None:
    job = simple_job(tmp_path, rows=200, num_round="3")
    names = tuple("abcdef") if header else None
    if names:
        for path in (tmp_path / "input/data").rglob("part.csv"):
            path.write_text(",".join(("label", *names)) + "\n" + path.read_text())
    assert job.run().code == 0
    folder = folder_of(job, tmp_path)
    document = yaml.safe_load((folder / "MLmodel").read_text())
    assert (document["run_id"], document["model_id"]) == ("run-1", "m-1")
    inputs = json.loads(document["signature"]["inputs"])
    assert inputs == (
        [{"type": "double", "name": name, "required": True} for name in names]
        if names
        else [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 6]}}]
    )
    rows, _ = numbers(20, 3)
    expected = job.booster().predict(
        xgboost.DMatrix(rows, feature_names=list(names) if names else None)
    )
    cells, client = mlmodel.cells_of(rows), client_of(folder)
    split = {"dataframe_split": {"columns": names, "data": cells}}
    found = answer_of(client, split if names else {"inputs": cells})
    np.testing.assert_array_equal(found, expected)
    drift = client.application.extensions["scoring"].drift
    ((kept, _, scores),) = drift.kept  # what drift is measured from
    np.testing.assert_array_equal(kept, rows)
    np.testing.assert_array_equal(scores, expected)
    example = json.loads((folder / "serving_input_example.json").read_text())
    assert answer_of(client, example).shape == (3,)


def test_strings_of_a_job_are_strings_of_the_signature(tmp_path: Path) -> None:
    job = Job(tmp_path, {"num_round": "3", "enable_categorical": "true", "nthread": "1"})
    lines = [f"{number % 3},{'red' if number % 3 else 'blue'},{number}" for number in range(60)]
    job.put("train", "part.csv", "\n".join(["y,colour,size", *lines]))
    job.hyperparameters["objective"] = "reg:squarederror"
    assert job.run().code == 0
    folder = folder_of(job, tmp_path)
    signature = yaml.safe_load((folder / "MLmodel").read_text())["signature"]
    assert [entry["type"] for entry in json.loads(signature["inputs"])] == ["string", "double"]
    records = [{"size": 7, "colour": "red"}, {"size": 9, "colour": "blue"}]
    found = answer_of(client_of(folder, classes=1), {"dataframe_records": records})
    rows = np.array([[1, 7], [0, 9]], np.float32)  # blue is 0
    matrix = xgboost.DMatrix(rows, feature_names=["colour", "size"], feature_types=["c", "float"],
                             enable_categorical=True)  # fmt: skip
    expected = job.booster().predict(matrix)
    np.testing.assert_array_equal(found, expected)


def test_several_probabilities_are_in_the_signature(tmp_path: Path) -> None:
    job = Job(tmp_path, {"num_round": "2", "objective": "multi:softprob", "num_class": "3"})
    rows, score = numbers(100)
    job.put("train", "part.csv", csv_text(labels_for("multi:softprob", score), rows))
    assert job.run().code == 0
    signature = yaml.safe_load((folder_of(job, tmp_path) / "MLmodel").read_text())["signature"]
    (output,) = json.loads(signature["outputs"])
    assert output["tensor-spec"] == {"dtype": "float32", "shape": [-1, 3]}


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="MLflow is installed")
def test_a_job_without_the_package_says_so_and_succeeds(tmp_path: Path) -> None:
    job = simple_job(tmp_path, rows=100, num_round="2")
    job.environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert "this image has no MLflow, so nothing is logged: make build MLFLOW=1" in outcome.log


def test_names_and_tags_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = read_manifest(tmp_path)
    monkeypatch.setenv("TRAINING_JOB_NAME", "job-7")
    assert tracking.run_name() == "job-7"
    assert tracking.tags(manifest) == {"sagemaker.training_job_name": "job-7"}
    monkeypatch.setenv("MLFLOW_TAGS", '{"team": "risk", "attempt": 2}')
    assert tracking.tags(manifest)["attempt"] == "2"
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")  # a run that has its name already
    assert tracking.run_name() is None
    monkeypatch.setenv("MLFLOW_RUN_NAME", "baseline")
    assert tracking.run_name() == "baseline"
    monkeypatch.setenv("MLFLOW_TAGS", "team=risk")
    with pytest.raises(ValueError):  # noqa: PT011  (of whatever json says)
        tracking.tags(manifest)


def test_credentials_are_not_logged() -> None:
    problem = OSError("API request to https://me:secret@host/api\nfailed")
    assert tracking.redacted(problem) == "API request to https://host/api failed"
