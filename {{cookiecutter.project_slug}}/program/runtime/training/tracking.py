"""A finished job, logged to the MLflow tracking server that MLFLOW_TRACKING_URI names.

`python -m runtime.training.tracking` logs what the job below SAGEMAKER_BASE_DIR left behind:
hyperparameters, the metrics of every round, the report, and the model as an MLmodel folder. It is a
process of its own, after the job's work is done: neither a server that is down nor MLflow itself
can fail a job or lose its model. The variables are MLflow's own, and MLFLOW_TAGS, a JSON object.

https://mlflow.org/docs/latest/ml/tracking/
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.job import artifact, logs
from runtime.job.paths import Paths

if TYPE_CHECKING:
    import mlflow

URI = "MLFLOW_TRACKING_URI"
SECONDS = 600  # for all of it
BATCH = 100  # parameters in one request; of metrics ten times as many
REPORTS = ("report.html", "metrics.json", "predictions.csv")  # of output/data
# A server that is down is given up after half a minute, not after MLflow's quarter of an hour.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",  # the image has no git
}
# The plugin for SageMaker's servers stumbles over other addresses, at each request; and containers
# have users without a name.
NOISY = ("mlflow.tracking.request_header.registry", "mlflow.tracking.context.registry")
CREDENTIALS = re.compile(r"//[^/@\s]+@")

log = logging.getLogger(__name__)


def is_requested(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether there is a server to log to."""
    return bool(environ.get(URI))


def track() -> None:
    """Log the job in another process, which a stop of the job stops too. Never raises."""
    if importlib.util.find_spec("mlflow") is None:
        log.error(
            "%s is set, but this image has no MLflow, so nothing is logged: make build MLFLOW=1",
            URI,
        )
        return
    command = [sys.executable, "-m", "runtime.training.tracking"]
    try:
        process = subprocess.Popen(command, env=DEFAULTS | os.environ)
    except OSError as problem:
        log.warning("MLflow: nothing is logged: %s", problem)
        return
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    try:
        code = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
        log.warning("MLflow: logging took more than %d s", SECONDS)
    if code != 0:
        log.warning("MLflow: not everything is logged; the job itself is complete")


def main() -> int:
    """Log the job below SAGEMAKER_BASE_DIR; return 0 when everything is logged."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO").upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return log_job(Paths.from_environment())
    except Exception as problem:
        log.warning("MLflow: %s: %s", type(problem).__name__, redacted(problem))
        return 1


def log_job(paths: Paths) -> int:
    """Log a job as a run; what cannot be logged is left out. Returns how many parts that were."""
    import mlflow

    manifest = artifact.read_manifest(paths.model)
    failed = 0
    with mlflow.start_run(run_name=run_name(), tags=tags(manifest)) as run:
        parts: dict[str, Callable[[], None]] = {
            "hyperparameters": lambda: log_parameters(run, manifest),
            "metrics": lambda: log_metrics(run, paths.output_data / "metrics.json"),
            "the report": lambda: log_reports(run, paths.output_data),
            "the model": lambda: log_model(run, paths, manifest),
        }
        for what, step in parts.items():
            try:
                step()
            except Exception as problem:
                failed += 1
                log.warning("MLflow: %s could not be logged: %s", what, redacted(problem))
        ids = (run.info.run_id, run.info.experiment_id)
        log.info("MLflow: run %s of experiment %s at %s", *ids, redacted(os.environ[URI]))
    return failed


def run_name() -> str | None:
    """Return the name of the run: the job's, unless another one is given; None: the server's."""
    if name := os.environ.get("MLFLOW_RUN_NAME"):
        return name
    return None if os.environ.get("MLFLOW_RUN_ID") else os.environ.get("TRAINING_JOB_NAME")


def tags(manifest: artifact.Manifest) -> dict[str, str]:
    """Return the tags of the run. Raises ValueError where MLFLOW_TAGS is not a JSON object."""
    given = json.loads(os.environ.get("MLFLOW_TAGS") or "{}")
    if not isinstance(given, dict):
        raise ValueError("MLFLOW_TAGS must be a JSON object")
    known = {
        "sagemaker.training_job_name": os.environ.get("TRAINING_JOB_NAME"),
        "sagemaker.training_job_arn": os.environ.get("TRAINING_JOB_ARN"),
        "engine": manifest.engine,
    }
    return {key: str(value) for key, value in (known | given).items() if value is not None}


def log_parameters(run: mlflow.ActiveRun, manifest: artifact.Manifest) -> None:
    """Log the hyperparameters of the job, and the objective where it is a default."""
    from mlflow import MlflowClient
    from mlflow.entities import Param

    values = {"objective": manifest.objective} | manifest.hyperparameters
    entries = [Param(name, text_of(value)) for name, value in values.items() if value is not None]
    for some in batches(entries, BATCH):
        MlflowClient().log_batch(run.info.run_id, params=some)


def text_of(value: Any) -> str:
    """Return a hyperparameter as text."""
    return value if isinstance(value, str) else json.dumps(value)


def log_metrics(run: mlflow.ActiveRun, path: Path) -> None:
    """Log the metrics of every round. Where the model does not end with the last round they are
    followed by those of the model, as MLflow's own autologging does, so the latest are its own."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    summary = json.loads(path.read_text(encoding="utf-8"))
    history = summary.get("history", [])
    if not history or summary["best_iteration"] != len(history) - 1:
        history = [*history, summary["metrics"]]
    if "best_iteration" in summary:
        history[-1] = history[-1] | {"best_iteration": float(summary["best_iteration"])}
    now = int(time.time() * 1000)
    entries = [
        Metric(name.replace("@", "_at_"), value, now, step)  # MLflow's names have no @
        for step, scores in enumerate(history)
        for name, value in scores.items()
    ]
    for some in batches(entries, 10 * BATCH):
        MlflowClient().log_batch(run.info.run_id, metrics=some)


def batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield entries as many as one request may have."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def log_reports(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log what the job wrote for people."""
    from mlflow import MlflowClient

    for name in REPORTS:
        if (folder / name).is_file():
            MlflowClient().log_artifact(run.info.run_id, str(folder / name))


def log_model(run: mlflow.ActiveRun, paths: Paths, manifest: artifact.Manifest) -> None:
    """Log the model as an MLmodel folder: as a model of MLflow 3, or where the server has none as
    artifacts of the run. Folds of cross-validation are artifacts as they are."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from runtime.training import mlmodel
    from runtime.training.pipeline import scratch_folder

    client, info = MlflowClient(), run.info
    if not (paths.model / artifact.MODEL_FILE).is_file():
        client.log_artifacts(info.run_id, str(paths.model), "model")
        return
    with scratch_folder(paths) as folder:
        try:
            logged = client.create_logged_model(
                info.experiment_id, name="model", source_run_id=info.run_id
            )
        except MlflowException as problem:  # a server of MLflow 2
            log.info("MLflow: the model is an artifact of the run: %s", redacted(problem))
            mlmodel.write(Path(folder), paths.model, manifest, info.run_id)
            client.log_artifacts(info.run_id, folder, "model")
            return
        mlmodel.write(Path(folder), paths.model, manifest, info.run_id, logged.model_id)
        log_files(run, logged.model_id, folder)


def log_files(run: mlflow.ActiveRun, model_id: str, folder: str) -> None:
    """Upload the files of a model of MLflow 3 and finish it, or say that it failed."""
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelOutput

    client, status = MlflowClient(), "FAILED"
    try:
        client.log_model_artifacts(model_id, folder)
        status = "READY"
    finally:
        client.finalize_logged_model(model_id, status)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, 0)])


def redacted(what: object) -> str:
    """Return a text on one line, without the credentials that a URI in it may hold."""
    return CREDENTIALS.sub("//", " ".join(str(what).split()))


if __name__ == "__main__":
    sys.exit(main())
