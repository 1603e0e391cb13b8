"""The /opt/ml tree, and another base folder in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_the_process_environment_is_the_default_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    assert Paths.from_environment().base == tmp_path
