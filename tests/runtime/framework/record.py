"""Record what AWS's own code makes of the scripts here: `python framework/record.py PYTHON`.

PYTHON is an interpreter outside this repository that can import AWS's packages
sagemaker_xgboost_container and sagemaker_containers, and the XGBoost of this project. Nothing of
those packages comes into this repository: expected.json holds figures alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from framework_job import (
    SCRIPTS,
    csv_text,
    libsvm_text,
    requests,
    script_job,
    serving_model,
)

TRAIN = "from sagemaker_containers.beta.framework import trainer; trainer.train()"
HYPERPARAMETERS = {
    "max_depth": "5",
    "eta": "0.2",
    "name": '"two words"',
    "plain": "a b",
    "flag": "true",
    "nothing": "null",
    "list": "[1, 2]",
    "mapping": '{"b": 1, "a": "z"}',
    "n": "7",
    "empty": '""',
    "größe": '"é"',
    "large": "12345678901234567890",
    "small": "1e-3",
    "sagemaker_region": '"us-west-2"',
    "sagemaker_job_name": '"job-1"',
    "sagemaker_container_log_level": "20",
    "sagemaker_mpi_enabled": "false",
    "_tuning_objective_metric": "validation:rmse",
}
TRAINED = {  # script -> the hyperparameters of one run after the other in the same folder
    "single": [{"max_depth": "4", "eta": "0.3", "num_round": "12"}],
    "distributed": [{"max_depth": "4", "eta": "0.3", "num_round": "8"}],
    "checkpoint": [{"num_round": "6"}, {"num_round": "11"}],
}
CLIENT = """
import base64, json, sys
from werkzeug.test import Client
from sagemaker_xgboost_container.serving import main
client, answers = Client(main), []
for headers, body in json.load(sys.stdin):
    answer = client.post("/invocations", data=base64.b64decode(body), headers=headers)
    content = base64.b64encode(answer.get_data()).decode()
    answers.append([answer.status_code, answer.headers.get("Content-Type"), content])
print("ANSWERS" + json.dumps(answers))
"""
SERVED = ("loading", "functions", "transform")


def aws_train(python: str, base: Path) -> None:
    """Train with AWS's code below `base`."""
    config = base / "input" / "config"
    environ = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_TRAINING_MODULE": "sagemaker_xgboost_container.training:main",
        "SM_INPUT": str(base / "input"),
        "SM_INPUT_TRAINING_CONFIG_FILE": str(config / "hyperparameters.json"),
        "SM_INPUT_DATA_CONFIG_FILE": str(config / "inputdataconfig.json"),
        "SM_CHECKPOINT_CONFIG_FILE": str(config / "checkpointconfig.json"),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "TRAINING_JOB_NAME": "job-7",
        "OMP_NUM_THREADS": "1",
    }
    for folder in ("model", "output/data"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    subprocess.run([python, "-c", TRAIN], env=environ, check=True)


def models(base: Path) -> dict[str, str]:
    """Return the digest of every file in the model folder."""
    files = sorted(path for path in (base / "model").rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def record_training(python: str, scratch: Path) -> dict[str, Any]:
    """Return arguments, environment and model digests."""
    job = script_job(scratch / "environment", "environment", **HYPERPARAMETERS)
    job.configure()
    aws_train(python, job.base)
    text = (job.base / "model" / "given.json").read_text(encoding="utf-8")
    given = json.loads(text.replace(str(job.base), "/opt/ml"))
    digests = {}
    for name, runs in TRAINED.items():
        write = libsvm_text if name == "distributed" else csv_text
        for hyperparameters in runs:
            job = script_job(scratch / name, name, write=write, **hyperparameters)
            job.configure()
            aws_train(python, job.base)
        digests[name] = models(job.base)
    return {"hyperparameters": HYPERPARAMETERS, **given, "models": digests, "trained": TRAINED}


def record_serving(python: str, scratch: Path) -> dict[str, Any]:
    """Return the answers of each script to each of its requests."""
    answers = {}
    for name in SERVED:
        base = scratch / f"serving-{name}"
        (base / "model").mkdir(parents=True)
        (base / "model" / "xgboost-model.ubj").write_bytes(serving_model().save_raw("ubj"))
        environ = {
            **os.environ,
            "PYTHONPATH": str(SCRIPTS / name),
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_PROGRAM": "serve.py",
            "OMP_NUM_THREADS": "1",
        }
        text = json.dumps([[r.headers, base64.b64encode(r.body).decode()] for r in requests(name)])
        done = subprocess.run(
            [python, "-c", CLIENT], env=environ, input=text, text=True, capture_output=True
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS"))
        answers[name] = [
            [*answer, request.name]
            for request, answer in zip(
                requests(name), json.loads(line.removeprefix("ANSWERS")), strict=True
            )
        ]
    return answers


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = record_training(sys.argv[1], Path(folder))
        found["answers"] = record_serving(sys.argv[1], Path(folder))
    path = SCRIPTS / "expected.json"
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
