"""The /opt/ml tree, and another base folder in its place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import Server, free_port, local_command, sample_rows, save, to_csv
from runtime.job.paths import Paths


def test_the_tree_is_that_of_the_platform() -> None:
    paths = Paths.from_environment({})
    assert paths.base == Path("/opt/ml")
    assert paths.config == Path("/opt/ml/input/config")
    assert paths.data == Path("/opt/ml/input/data")
    assert paths.model == Path("/opt/ml/model")
    assert paths.models == Path("/opt/ml/models")
    assert paths.output_data == Path("/opt/ml/output/data")
    assert paths.failure == Path("/opt/ml/output/failure")
    assert paths.checkpoints == Path("/opt/ml/checkpoints")


def test_sagemaker_base_dir_moves_all_of_it(tmp_path: Path) -> None:
    paths = Paths.from_environment({"SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert paths.model == tmp_path / "model"
    assert paths.failure == tmp_path / "output" / "failure"


def test_an_empty_variable_counts_as_absent() -> None:
    assert Paths.from_environment({"SAGEMAKER_BASE_DIR": ""}).base == Path("/opt/ml")


def test_a_relative_folder_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Paths.from_environment({"SAGEMAKER_BASE_DIR": "ml"}).base == tmp_path / "ml"


def test_the_process_environment_is_the_default_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    assert Paths.from_environment().base == tmp_path


def test_serve_finds_a_model_in_a_relative_folder(booster, opt_ml: Path) -> None:
    save(booster("binary:logistic"), opt_ml / "model")
    port = free_port()
    command = local_command(opt_ml, port, {"WEB_CONCURRENCY": "1"}, nginx=False)
    command |= {"cwd": opt_ml.parent, "env": command["env"] | {"SAGEMAKER_BASE_DIR": opt_ml.name}}
    log = opt_ml / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(stdout=stream, stderr=stream, **command)
    server = Server(port, process=process, log=log)
    try:
        assert server.wait_until_ready().post(to_csv(sample_rows(1, seed=5))).status == 200
    finally:
        server.stop()
