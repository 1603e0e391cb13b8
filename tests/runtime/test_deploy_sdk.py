"""The programs of deploy/README.md run with SageMaker's own SDKs (CONTRACT_IMAGE=NAME).

Those for this machine train and serve the image in local mode; those for AWS run against moto.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from moto.core.responses import ActionResult
from moto.iam.responses import IamResponse
from moto.sagemaker.responses import SageMakerResponse
from sklearn import datasets

from conftest import to_csv
from deploy_cloud import started
from locations import PROJECT
from runtime.inference.loading import model_files

IMAGE = os.environ.get("CONTRACT_IMAGE", "")
SDK_2, SDK_3 = "sagemaker==2.257.7", "sagemaker==3.27.0"
COMPOSE = [["docker-compose", "version"], ["docker", "compose", "version"]]
README = (PROJECT / "deploy" / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
DIGEST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/demo@sha256:" + "0" * 64


def has_compose() -> bool:
    """Return whether Docker Compose is there, which the SDK starts containers with."""
    found = [words for words in COMPOSE if shutil.which(words[0])]
    return any(subprocess.run(words, capture_output=True).returncode == 0 for words in found)


def remove_stopped() -> None:
    """Remove the containers of the image that the SDK made, and leaves behind when they end."""
    chosen = [f"--filter={text}" for text in (f"ancestor={IMAGE}", "name=algo-1", "status=exited")]
    listed = subprocess.run(["docker", "ps", "-aq", *chosen], capture_output=True, text=True)
    if names := listed.stdout.split():
        subprocess.run(["docker", "rm", *names], capture_output=True)


def run_python(package: str, *words: str, **variables: str) -> None:
    """Run Python in an environment that has the SDK `package`."""
    tool = [sys.executable, "-m", "uv", "run", "--no-project", "--with", package]
    environ = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        **variables,
    }
    assigned = [f"{name}={value}" for name, value in environ.items()]  # HOME for Python, not for uv
    done = subprocess.run(
        [*tool, "env", *assigned, "python", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def run_sdk(package: str, program: str, folder: Path) -> None:
    """Run a program of this folder that uses the SDK with the image."""
    try:
        run_python(package, str(Path(__file__).with_name(program)), IMAGE, str(folder))
    finally:
        remove_stopped()


def example(marker: str, folder: Path, **values: str) -> str:
    """Write README's program that has `marker`, with `values` for the variables at its head.

    It writes what it would print, among the lines of containers, into the folder's `answers`.
    Returns the path.
    """
    (text,) = [program for program in PROGRAMS if marker in program]
    for name, value in values.items():
        line = f"{name} = {value!r}"
        text, count = re.subn(
            rf"^{name} = .*$", lambda _, line=line: line, text, flags=re.MULTILINE
        )
        assert count == 1, name
    written = f'open("{folder}/answers", "w").write('
    text, count = re.subn(r"^print\(", written, text, flags=re.MULTILINE)
    assert count == 1
    path = folder / "example.py"
    path.write_text(text)
    return str(path)


def test_the_readme_names_the_versions_that_are_run() -> None:
    assert len(PROGRAMS) == 3
    for version in (SDK_2, SDK_3):
        assert version.replace("==", " ") in README


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose configuration keeps the SDK's files there, on a port of its own; with
    data beside it."""
    if not has_compose():
        pytest.skip("needs Docker Compose")
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    local = f"local_code: true, container_root: {tmp_path}/root, serving_port: {port}"
    (tmp_path / ".sagemaker").mkdir()
    (tmp_path / ".sagemaker" / "config.yaml").write_text(f"local: {{{local}}}\n")
    data = datasets.load_breast_cancer()
    for name in ("root", "train"):
        (tmp_path / name).mkdir()
    table = np.column_stack([data.target, data.data.astype(np.float32)])
    np.savetxt(tmp_path / "train" / "data.csv", table, "%.9g", ",")
    return tmp_path


@pytest.mark.parametrize(
    ("package", "marker", "archive"),
    [
        (SDK_2, "Estimator(", "output/model.tar.gz"),
        (SDK_3, "LocalSession()", "output/compressed_artifacts/model.tar.gz"),
    ],
    ids=["version 2", "version 3"],
)
@pytest.mark.slow
@pytest.mark.skipif(not IMAGE, reason="needs CONTRACT_IMAGE=NAME")
def test_local_mode_trains_and_serves_the_image(
    home: Path, package: str, marker: str, archive: str
) -> None:
    rows = datasets.load_breast_cancer().data.astype(np.float32)[:50]
    values = {"image": IMAGE, "rows": to_csv(rows).decode()}
    if package == SDK_2:
        program = example(marker, home, **values, instance="local")
        place = f'data, output = "file://{home}/train", "file://{home}/output"'
    else:
        program = example(marker, home, **values)
        place = f'data, root = "{home}/train", "{home}/output"'
        (home / "output").mkdir()
    text = Path(program).read_text()
    Path(program).write_text(re.sub(r"^data, \w+ = .*$", place, text, flags=re.MULTILINE))
    try:
        run_python(package, program, HOME=str(home))
    finally:
        remove_stopped()
    with tarfile.open(home / archive) as packed:
        packed.extractall(home / "model", filter="data")
    model = xgboost.Booster(model_file=home / "model" / "xgboost-model")
    assert model.num_boosted_rounds() == 100
    expected = model.predict(xgboost.DMatrix(rows, nthread=1), validate_features=False)
    np.testing.assert_allclose(np.loadtxt(home / "answers"), expected, rtol=1e-6, atol=1e-7)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Moto's server with a role and data, and what version 3 needs of AWS and moto has not; the
    variables of its clients."""

    def simulate(self: Any) -> ActionResult:
        names = self._get_param("ActionNames")
        decisions = [{"EvalActionName": name, "EvalDecision": "allowed"} for name in names]
        return ActionResult({"EvaluationResults": decisions, "IsTruncated": False})

    def without_empty(method: Any) -> Any:
        """AWS leaves out the structures that moto answers empty."""

        def answer(self: Any) -> ActionResult:
            found = method(self).result
            return ActionResult({key: value for key, value in found.items() if value != {}})

        return answer

    url, session = started()
    if not hasattr(IamResponse, "simulate_principal_policy"):
        monkeypatch.setattr(IamResponse, "simulate_principal_policy", simulate, raising=False)
    for name in ("describe_model", "describe_endpoint", "describe_endpoint_config"):
        method = getattr(SageMakerResponse, name)
        monkeypatch.setattr(SageMakerResponse, name, without_empty(method))
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session.client("iam").create_role(RoleName="demo", AssumeRolePolicyDocument="{}")
    storage = session.client("s3")
    place = {"LocationConstraint": "eu-west-1"}
    storage.create_bucket(Bucket="demo-data", CreateBucketConfiguration=place)
    storage.put_object(Bucket="demo-data", Key="train/a.csv", Body=b"1,2\n")
    return variables


@pytest.mark.parametrize(
    ("package", "marker"),
    [(SDK_2, "Estimator("), (SDK_3, "ModelBuilder(")],
    ids=["version 2", "version 3"],
)
@pytest.mark.slow
@pytest.mark.skipif(not IMAGE, reason="needs CONTRACT_IMAGE=NAME")
def test_the_programs_for_aws_train_deploy_and_delete(
    tmp_path: Path, account: dict[str, str], package: str, marker: str
) -> None:
    role = "arn:aws:iam::123456789012:role/demo"
    program = example(marker, tmp_path, image=DIGEST, role=role)
    text = Path(program).read_text().replace("BUCKET", "demo-data").replace('"NAME"', '"demo"')
    hurry = "import time\ntime.sleep = lambda seconds: None\n"  # moto has nothing to wait for
    Path(program).write_text(hurry + text)
    run_python(package, program, HOME=str(tmp_path), **account)
    assert (tmp_path / "answers").read_text() == "body"  # moto's answer to any request
    client = started()[1].client("sagemaker")
    (job,) = client.list_training_jobs()["TrainingJobSummaries"]
    found = client.describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert found["AlgorithmSpecification"]["TrainingImage"] == DIGEST
    assert found["HyperParameters"]["num_round"] == "100"
    assert found["InputDataConfig"][0]["ContentType"] == "text/csv"
    (model,) = client.list_models()["Models"]
    container = client.describe_model(ModelName=model["ModelName"])["PrimaryContainer"]
    assert container["Image"] == DIGEST
    assert container["ModelDataUrl"] == found["ModelArtifacts"]["S3ModelArtifacts"]
    assert client.list_endpoints()["Endpoints"] == []


def test_the_archive_that_local_mode_leaves_beside_a_model_is_no_model(tmp_path: Path) -> None:
    for name in ("model.tar.gz", "xgboost-model", "manifest.json"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in model_files(tmp_path)] == ["xgboost-model"]
