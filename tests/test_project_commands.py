"""The targets of a rendered project's Makefile, in a folder whose name holds a space and a quote.

Docker is a stand-in that writes down its arguments; everything else is real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rendering import WINDOWS, environ_of, render, serving

pytestmark = [
    pytest.mark.rendered,
    pytest.mark.skipif(WINDOWS, reason="make is for Linux and macOS"),
    pytest.mark.xdist_group("commands"),  # copies of one project
]
REQUIREMENTS = ("requirements.txt", "requirements-parquet.txt", "requirements-dev.txt")
DOCKER = """#!/bin/sh
for argument; do printf '%s\\n' "$argument"; done >"$(dirname "$0")/docker-arguments"
"""


class Project:
    """A rendered project, and a way to run its targets."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.tools, self.python = folder, folder.parent, python
        (self.tools / "docker").write_text(DOCKER)
        (self.tools / "docker").chmod(0o755)

    def make(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments, "DOCKER=../docker"],
            cwd=self.folder,
            env={**environ_of(self.python), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def run(self, *arguments: str, **variables: str) -> str:
        done = self.make(*arguments, **variables)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def copy(self, tools: Path) -> Project:
        folder = tools / "it's a folder" / self.folder.name
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.python)

    def golden(self) -> dict[str, Any]:
        return json.loads((self.folder / "tests/golden.json").read_text("utf-8"))

    def docker_arguments(self) -> list[str]:
        return (self.tools / "docker-arguments").read_text().splitlines()


@pytest.fixture(scope="module")
def sampled(
    template: Path, project_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project after its first `make train`, which makes sample data. Do not write into it."""
    folder = render(template, tmp_path_factory.mktemp("sampled") / "it's a folder", hooks=False)
    (folder / ".venv").symlink_to(project_python.parents[1])
    for name in REQUIREMENTS:  # older than the environment, which has all of them
        os.utime(folder / name, (1, 1))
    project = Project(folder, project_python)
    project.run("train")
    return project


@pytest.fixture
def project(sampled: Project, tmp_path: Path) -> Project:
    return sampled.copy(tmp_path)


def test_sample_and_train_stay_inside_the_project(sampled: Project) -> None:
    assert f"{sampled.folder}/ml:/opt/ml:z" in sampled.docker_arguments()
    assert (sampled.folder / "ml/input/data/train").is_dir()
    names = {path.name for path in sampled.tools.iterdir()}
    assert names == {sampled.folder.name, "docker", "docker-arguments"}


def test_data_that_is_there_is_left_alone(project: Project) -> None:
    data = project.folder / "my data" / "input/data/train/a.csv"
    data.parent.mkdir(parents=True)
    data.write_text("1,2\n")
    project.run("train", "ML=my data")
    assert f"{project.folder}/my data:/opt/ml:z" in project.docker_arguments()
    assert [path for path in (project.folder / "my data").rglob("*") if path.is_file()] == [data]


def test_serve_publishes_the_port_and_mounts_the_model(project: Project) -> None:
    project.run("serve", "PORT=8099")
    arguments = project.docker_arguments()
    assert f"{project.folder}/ml/model:/opt/ml/model:ro,z" in arguments
    assert arguments[arguments.index("-p") + 1] == "8099:8080"


def test_clean_keeps_data_and_model(project: Project) -> None:
    (project.folder / "ml/model/xgboost-model").write_bytes(b"mine")
    before = sorted((project.folder / "ml").rglob("*"))
    (project.folder / "build").mkdir()
    project.run("clean")
    assert sorted((project.folder / "ml").rglob("*")) == before
    assert not (project.folder / "build").exists()
    assert not (project.folder / ".venv").is_symlink()


@pytest.fixture(scope="module")
def trained(sampled: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a model, and with its golden answer, which was compared with XGBoost's."""
    project = sampled.copy(tmp_path_factory.mktemp("trained"))
    environment = {
        **environ_of(project.python),
        "PYTHONPATH": str(project.folder / "program"),
        "SAGEMAKER_BASE_DIR": str(project.folder / "ml"),
    }
    train = project.folder / "program/train"
    subprocess.run([train], env=environment, check=True, capture_output=True)
    assert "golden" not in project.run("golden")
    return project


# What `make train` and `make serve` do in containers is done here without them.


def test_a_trained_model_is_tested_and_measured(trained: Project) -> None:
    assert len(trained.golden()["answer"]) == 5
    assert "skipped" not in trained.run("test", "PYTEST_ADDOPTS=-k 'golden'")
    assert "engine" in trained.run("parity")
    few = {"WEB_CONCURRENCY": "1"}
    picture = trained.run("bench", "ARGS=--turns 1 --seconds 0.01", **few).splitlines()[-1]
    assert (trained.folder / picture.removeprefix("picture: ")).is_file()


def test_invoke_posts_rows_to_a_server(trained: Project) -> None:
    variables = {"SAGEMAKER_BASE_DIR": str(trained.folder / "ml"), "WEB_CONCURRENCY": "1"}
    with serving(trained.folder, trained.python, **variables) as port:
        arguments = ("invoke", f"PORT={port}", "ARGS=--rows 5")
        answers = [float(line) for line in trained.run(*arguments).split()]
    assert answers == pytest.approx(trained.golden()["answer"], rel=1e-6)
    done = trained.make(*arguments)
    assert done.returncode != 0
    assert "error: no server at http://localhost" in done.stderr


def test_commit_hooks_are_installed_in_a_repository_of_the_project_alone(project: Project) -> None:
    git = ["git", "-c", "init.defaultBranch=main", "init", "-q"]
    subprocess.run([*git, project.tools], check=True)  # one that merely holds the project
    assert "note: no commit hooks" in project.run("install")
    assert not (project.tools / ".git/hooks/pre-commit").exists()
    shutil.rmtree(project.tools / ".git")
    subprocess.run([*git, project.folder], check=True)
    project.run("install")
    for name in ("pre-commit", "pre-push"):
        assert (project.folder / ".git/hooks" / name).is_file()


def test_help_names_every_target_that_a_user_runs(project: Project) -> None:
    text = project.run("help")
    named = {line.split()[0] for line in text.splitlines() if line}
    assert {"install", "test", "golden", "lint", "smoke", "train", "invoke", "bench"} <= named
