"""SageMaker's own SDK, in local mode, trains and serves the image (CONTRACT_IMAGE=NAME)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xgboost
from sklearn import datasets

from conftest import to_csv
from runtime.inference.loading import model_files

IMAGE = os.environ.get("CONTRACT_IMAGE", "")
SDK_2 = "sagemaker>=2.245,<3"
COMPOSE = [["docker-compose", "version"], ["docker", "compose", "version"]]


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


def run_sdk(package: str, program: str, folder: Path) -> None:
    """Run a program that uses the SDK, in an environment that has it."""
    tool = [sys.executable, "-m", "uv", "run", "--no-project", "--with", package]
    environ = {
        **os.environ,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
    }
    words = [*tool, "python", str(Path(__file__).with_name(program)), IMAGE, str(folder)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    remove_stopped()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(not IMAGE, reason="needs CONTRACT_IMAGE=NAME")
def test_local_mode_trains_and_serves_the_image(tmp_path: Path) -> None:
    if not has_compose():
        pytest.skip("needs Docker Compose")
    data = datasets.load_breast_cancer()
    rows = data.data.astype(np.float32)
    (tmp_path / "train").mkdir()
    table = np.column_stack([data.target, rows])
    np.savetxt(tmp_path / "train" / "data.csv", table, "%.9g", ",")
    (tmp_path / "rows.csv").write_bytes(to_csv(rows[:50]))
    run_sdk(SDK_2, "sdk_local_mode.py", tmp_path)
    with tarfile.open(tmp_path / "output" / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    model = xgboost.Booster(model_file=tmp_path / "model" / "xgboost-model")
    expected = model.predict(xgboost.DMatrix(rows[:50], nthread=1), validate_features=False)
    answers = np.loadtxt(tmp_path / "answers")
    np.testing.assert_allclose(answers, expected, rtol=1e-6, atol=1e-7)


def test_the_archive_that_local_mode_leaves_beside_a_model_is_no_model(tmp_path: Path) -> None:
    for name in ("model.tar.gz", "xgboost-model", "manifest.json"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in model_files(tmp_path)] == ["xgboost-model"]
