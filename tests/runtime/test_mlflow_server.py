"""MLflow's own servers: one takes what a job logs, `mlflow models serve` answers as we do.

They run in the Python that MLFLOW_SERVER names, which has MLflow, and jobs in one that has its
client: `make test-mlflow` makes both.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import settings
from conftest import free_port
from mlmodels.cases import REQUESTS, body_of
from predictor import create_app
from runtime.job.paths import Paths
from runtime.training import mlmodel
from training_job import Job, numbers, simple_job

SERVER = os.environ.get("MLFLOW_SERVER", "")
if not SERVER:
    pytest.skip("no MLFLOW_SERVER: make test-mlflow", allow_module_level=True)
mlflow = pytest.importorskip("mlflow", reason="MLflow's client is not installed: make test-mlflow")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_choice")]

HERE = Path(__file__).resolve().parent / "mlmodels"
NAMES = tuple("abcdef")
JSON = {"Content-Type": "application/json"}


@contextmanager
def running(log: Path, url: str, *arguments: str, **environ: str) -> Iterator[str]:
    """Run a command of MLflow's until its server answers, and end it."""
    command = [SERVER, "-m", "mlflow", *arguments]
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **environ}
    variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes
    variables["PATH"] = f"{Path(SERVER).parent}{os.pathsep}{variables['PATH']}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=variables, start_new_session=True
        )
    try:
        limit = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < limit, log.read_text()
                time.sleep(0.2)
        yield url.rpartition("/")[0]
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="module")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server, which keeps artifacts too."""
    base, port = tmp_path_factory.mktemp("mlflow"), free_port()
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{base / 'runs.db'}"]
    arguments += ["--artifacts-destination", str(base / "artifacts")]
    with running(base / "log", f"http://127.0.0.1:{port}/health", *arguments) as address:
        yield address


@contextmanager
def scoring_server(model: str, base: Path, **environ: str) -> Iterator[str]:
    """The address of `mlflow models serve` for a model."""
    port = str(free_port())
    arguments = ["models", "serve", "-m", model, "--env-manager", "local", "--port", port]
    url = f"http://127.0.0.1:{port}/ping"
    with running(base / "scoring.log", url, *arguments, **environ) as address:
        yield address


def post(address: str, body: bytes) -> Any:
    """Return MLflow's answer to a request, or the status that refuses it."""
    request = urllib.request.Request(f"{address}/invocations", body, JSON)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def ours(base: Path) -> Any:
    """Return a client of this program, serving the model folder of `base`."""
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": "off"})
    return create_app(dataclasses.replace(config), Paths(base)).test_client()


def named_job(base: Path, server: str, **hyperparameters: str) -> Job:
    """Return a job on columns with names that logs to a server."""
    job = simple_job(base, rows=300, **hyperparameters)
    for path in (base / "input/data").rglob("part.csv"):
        path.write_text(",".join(("label", *NAMES)) + "\n" + path.read_text())
    job.environ = {
        "MLFLOW_TRACKING_URI": server,
        "MLFLOW_EXPERIMENT_NAME": base.name,
        "TRAINING_JOB_NAME": "job-7",
        "MLFLOW_TAGS": '{"team": "risk"}',
    }
    return job


def run_of(server: str, experiment: str) -> Any:
    """Return the only run of an experiment."""
    client = mlflow.MlflowClient(server)
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id])
    return run


def test_a_job_is_a_run(tmp_path: Path, tracking_server: str) -> None:
    given = {"num_round": "20", "early_stopping_rounds": "3", "eta": "0.9", "max_depth": "6"}
    job = named_job(tmp_path, tracking_server, **given)
    before = {"eval_metric": "logloss,error@0.4"}
    job.hyperparameters |= before
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert f"at {tracking_server}" in outcome.log
    assert "Traceback" not in outcome.log
    assert "WARNING" not in outcome.log
    run, client = run_of(tracking_server, tmp_path.name), mlflow.MlflowClient(tracking_server)
    assert (run.info.run_name, run.info.status) == ("job-7", "FINISHED")
    assert run.data.tags["team"] == "risk"
    assert run.data.tags["sagemaker.training_job_name"] == "job-7"
    manifest, summary = job.output("manifest.json"), job.output("metrics.json")
    assert run.data.params == {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in manifest["hyperparameters"].items()
    }
    for name, logged in (
        ("validation-logloss", "validation-logloss"),
        ("train-error@0.4", "train-error_at_0.4"),
    ):
        found = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, logged)]
        rounds = [*summary["history"], summary["metrics"]]  # the model's own come last
        assert sorted(found) == [(step, scores[name]) for step, scores in enumerate(rounds)]
    assert run.data.metrics["best_iteration"] == summary["best_iteration"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "metrics.json"} <= files


def test_mlflow_serves_the_logged_model_as_we_do(tmp_path: Path, tracking_server: str) -> None:
    job = named_job(tmp_path, tracking_server)
    assert job.run_program().code == 0
    run = run_of(tracking_server, tmp_path.name)
    rows, _ = numbers(20, 3)
    request = {"dataframe_split": {"columns": list(NAMES), "data": mlmodel.cells_of(rows)}}
    model = f"runs:/{run.info.run_id}/model"
    environ = {"MLFLOW_TRACKING_URI": tracking_server}
    with scoring_server(model, tmp_path, **environ) as address:
        theirs = post(address, body_of(request))
    expected = job.booster().predict(xgboost.DMatrix(rows, feature_names=list(NAMES)))
    np.testing.assert_array_equal(np.float32(theirs["predictions"]), expected)
    (tmp_path / "downloaded").mkdir()
    environment = os.environ | environ
    command = ["artifacts", "download", "-u", model, "-d", str(tmp_path / "downloaded" / "model")]
    subprocess.run([SERVER, "-m", "mlflow", *command], env=environment, check=True)
    assert ours(tmp_path / "downloaded").post("/invocations", json=request).json == theirs


def test_a_run_that_was_begun_elsewhere_goes_on(tmp_path: Path, tracking_server: str) -> None:
    client = mlflow.MlflowClient(tracking_server)
    run = client.create_run(client.create_experiment(tmp_path.name), run_name="mine")
    job = named_job(tmp_path, tracking_server)
    job.environ |= {"MLFLOW_RUN_ID": run.info.run_id}
    assert job.run_program().code == 0
    found = run_of(tracking_server, tmp_path.name)
    assert (found.info.run_id, found.info.run_name) == (run.info.run_id, "mine")
    assert found.data.params["num_round"] == "12"


def test_folds_are_artifacts(tmp_path: Path, tracking_server: str) -> None:
    job = named_job(tmp_path, tracking_server, _kfold="3", num_round="2")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    run, client = run_of(tracking_server, tmp_path.name), mlflow.MlflowClient(tracking_server)
    files = {file.path for file in client.list_artifacts(run.info.run_id, "model")}
    assert {f"model/xgboost-model-{fold}" for fold in range(3)} <= files
    assert "validation-logloss" in run.data.metrics


@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:{port}", "no-such-scheme://x"])
def test_a_server_that_is_down_costs_a_line_of_the_log(tmp_path: Path, address: str) -> None:
    job = named_job(tmp_path, address.format(port=free_port()))
    started = time.monotonic()
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert time.monotonic() - started < 60
    assert "MLflow: not everything is logged; the job itself is complete" in outcome.log
    assert "secret" not in outcome.log
    assert "Traceback" not in outcome.log
    assert job.booster().num_features() == len(NAMES)
    assert not (tmp_path / "output" / "failure").exists()


def test_the_contract_is_that_of_a_job_without_mlflow(tmp_path: Path, tracking_server: str) -> None:
    jobs = [named_job(tmp_path / name, tracking_server) for name in ("with", "without")]
    jobs[1].environ = {}
    assert [job.run_program().code for job in jobs] == [0, 0]
    left = [sorted(p.relative_to(job.base) for p in job.base.rglob("*")) for job in jobs]
    assert left[0] == left[1]
    assert jobs[0].model == jobs[1].model


@pytest.mark.parametrize("name", ["booster", "classifier"])
def test_mlflows_server_answers_as_recorded_and_as_we_do(name: str, tmp_path: Path) -> None:
    with tarfile.open(HERE / "models.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    figures = json.loads((HERE / "figures.json").read_text())["answers"][name]
    (tmp_path / "base").mkdir()
    (tmp_path / name).rename(tmp_path / "base" / "model")
    client, folder = ours(tmp_path / "base"), str(tmp_path / "base" / "model")
    with scoring_server(folder, tmp_path) as address:
        for case in ("split-shuffled", "records", "inputs-columns", "instances-objects"):
            theirs = post(address, body_of(REQUESTS[case]))
            assert theirs == figures[case]
            assert client.post("/invocations", json=REQUESTS[case]).json == theirs
        assert post(address, body_of(REQUESTS["split-without-age"])) == 400
    assert client.post("/invocations", json=REQUESTS["split-without-age"]).status_code == 400
