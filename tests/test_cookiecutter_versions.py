"""The oldest cookiecutter that is tested, 2.6, in the oldest Python at hand.

The newest one is what all the other tests run: requirements-dev.txt names it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import unavailable
from environment import locked
from rendering import DEFAULT_SLUG, ROOT, WINDOWS, files_of, run_cookiecutter

OLDEST = "2.6.0"
PYTHONS = ("python3.9", "python3.10", "python3.11")


def oldest_python() -> str:
    """Return the oldest interpreter that runs here, from Python 3.9 up."""
    for name in PYTHONS:
        path = shutil.which(name)
        runs = path and subprocess.run([path, "-c", ""], capture_output=True, check=False)
        if path and runs and runs.returncode == 0:
            return path
    return sys.executable


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The Python of an environment with the old cookiecutter; made once, kept under build/."""
    folder = ROOT / "build" / f"cookiecutter-{OLDEST}"
    with locked(folder.with_suffix(".lock")):
        return made(folder)


def made(folder: Path) -> Path:
    """Make the environment in `folder` unless it is there; return its Python."""
    python = folder / ("Scripts/python.exe" if WINDOWS else "bin/python")
    check = [python, "-c", "import cookiecutter"]
    if python.exists() and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [oldest_python(), "-m", "venv", folder],
        [python, "-m", "pip", "install", "-q", "--no-compile", f"cookiecutter=={OLDEST}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            unavailable(f"cookiecutter {OLDEST} cannot be installed here: {last}")
    return python


def test_the_old_cookiecutter_renders_the_same_project(
    old_python: Path, template: Path, project: Path, tmp_path: Path
) -> None:
    done = run_cookiecutter(template, tmp_path / "out", "validate=none", python=old_python)
    assert done.returncode == 0, done.stderr
    assert "NOT VALIDATED: validate=none; run python3 smoke_test.py" in done.stdout
    other = tmp_path / "out" / DEFAULT_SLUG
    assert files_of(other) == files_of(project)
    assert [
        n for n in files_of(project) if (other / n).read_bytes() != (project / n).read_bytes()
    ] == []


def test_the_old_cookiecutter_refuses_bad_answers(
    old_python: Path, template: Path, tmp_path: Path
) -> None:
    bad = ("num_classes=0", 'description=x"; import os; "', "aws_region=mars")
    done = run_cookiecutter(template, tmp_path / "out", *bad, python=old_python)
    assert done.returncode == 1
    errors = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["description", "num_classes", "aws_region"]
    assert list((tmp_path / "out").iterdir()) == []
