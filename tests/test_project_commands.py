"""The targets of a rendered project's Makefile, in a folder whose name holds a space and a quote.

Docker is a stand-in that writes down its arguments; everything else is real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rendering import WINDOWS, render, run_module

pytestmark = [
    pytest.mark.rendered,
    pytest.mark.skipif(WINDOWS, reason="make is for Linux and macOS"),
]
REQUIREMENTS = ("requirements.txt", "requirements-parquet.txt", "requirements-dev.txt")
DOCKER = """#!/bin/sh
for argument; do printf '%s\\n' "$argument"; done >"$(dirname "$0")/docker-arguments"
"""


class Project:
    """A rendered project, and a way to run its targets."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.tools = folder, folder.parent
        (self.folder / ".venv").symlink_to(python.parents[1])
        for name in REQUIREMENTS:  # older than the environment, which has all of them
            os.utime(self.folder / name, (1, 1))
        (self.tools / "docker").write_text(DOCKER)
        (self.tools / "docker").chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            ["make", *arguments, "DOCKER=../docker"],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def docker_arguments(self) -> list[str]:
        return (self.tools / "docker-arguments").read_text().splitlines()


@pytest.fixture
def project(template: Path, project_python: Path, tmp_path: Path) -> Project:
    return Project(render(template, tmp_path / "it's a folder"), project_python)


def test_sample_and_train_stay_inside_the_project(project: Project) -> None:
    before = set(project.tools.iterdir())
    project.run("train")
    assert f"{project.folder}/ml:/opt/ml:z" in project.docker_arguments()
    assert (project.folder / "ml/input/data/train").is_dir()
    assert set(project.tools.iterdir()) - before == {project.tools / "docker-arguments"}


def test_data_that_is_there_is_left_alone(project: Project) -> None:
    data = project.folder / "my data" / "input/data/train/a.csv"
    data.parent.mkdir(parents=True)
    data.write_text("1,2\n")
    project.run("train", "ML=my data")
    assert f"{project.folder}/my data:/opt/ml:z" in project.docker_arguments()
    assert [path for path in (project.folder / "my data").rglob("*") if path.is_file()] == [data]


def test_serve_publishes_the_port_and_mounts_the_model(project: Project) -> None:
    project.run("sample")
    project.run("serve", "PORT=8099")
    arguments = project.docker_arguments()
    assert f"{project.folder}/ml/model:/opt/ml/model:ro,z" in arguments
    assert arguments[arguments.index("-p") + 1] == "8099:8080"


def test_clean_keeps_data_and_model(project: Project) -> None:
    project.run("sample")
    (project.folder / "ml/model/xgboost-model").write_bytes(b"mine")
    before = sorted((project.folder / "ml").rglob("*"))
    (project.folder / "build").mkdir()
    project.run("clean")
    assert sorted((project.folder / "ml").rglob("*")) == before
    assert not (project.folder / "build").exists()
    assert not (project.folder / ".venv").is_symlink()


def test_a_trained_model_is_tested_measured_and_asked(
    project: Project, project_python: Path
) -> None:
    """What `make train` and `make serve` do in containers is done here without them."""
    project.run("sample")
    ml, program = project.folder / "ml", project.folder / "program"
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(project_python.parent), os.environ["PATH"]]),
        "PYTHONPATH": str(program),
        "SAGEMAKER_BASE_DIR": str(ml),
    }
    subprocess.run([program / "train"], env=environment, check=True, capture_output=True)
    assert "golden" not in project.run("golden")
    golden = json.loads((project.folder / "tests/golden.json").read_text("utf-8"))
    assert len(golden["answer"]) == 5
    assert "skipped" not in project.run("test", "PYTEST_ADDOPTS=-k 'golden'")
    assert "engine" in project.run("parity")
    picture = project.run("bench", "ARGS=--turns 1 --seconds 0.01").splitlines()[-1]
    assert (project.folder / picture.removeprefix("picture: ")).is_file()


def test_invoke_posts_a_row_to_a_server(
    project: Project, template: Path, project_python: Path
) -> None:
    test = "test_sample.py::test_make_invoke_posts_a_row_to_the_served_model"
    arguments = ("pytest", "-p", "no:cacheprovider", test)
    variables = {"PROJECT_FOLDER": str(project.folder)}
    last = run_module(project_python, template / "tests/runtime", *arguments, **variables)
    assert last.startswith("1 passed")


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
