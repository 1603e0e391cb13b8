"""Fixtures of all layers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rendering import PROJECT, ROOT, WINDOWS, export, render


def unavailable(what: str) -> None:
    """Skip with a reason, which the summary shows; fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a fresh clone holds it."""
    return export(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the default answers. Do not write into it."""
    return render(template, tmp_path_factory.mktemp("rendered") / "default")


@pytest.fixture(scope="session")
def project_python() -> Path:
    """An environment with all that projects need; made once for a lock, kept under build/."""
    names = ("requirements.txt", "requirements-parquet.txt", "requirements-dev.txt")
    tests = ROOT / "tests/runtime/requirements.txt"
    files = [*(ROOT / PROJECT / name for name in names), tests]
    every = [*sorted((ROOT / PROJECT).glob("requirements*.txt")), tests]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in every)).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = ROOT / "build" / f"project-{version}-{digest}"
    python = folder / ("Scripts/python.exe" if WINDOWS else "bin/python")
    if (folder / "ready").exists():
        return python
    commands = [[sys.executable, "-m", "venv", "--clear", folder]]
    commands += [[python, "-m", "pip", "install", "-q", "-r", path] for path in files]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            unavailable(f"the packages of a project cannot be installed here: {last}")
    (folder / "ready").touch()
    return python


@pytest.fixture(scope="session")
def docker() -> str:
    """The version of a Docker engine that answers."""
    command = ["docker", "info", "--format", "{{.ServerVersion}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        unavailable(f"no Docker engine: {problem}")
    if done.returncode != 0 or not done.stdout.strip():
        unavailable(f"no Docker engine: {done.stderr.strip() or 'docker info says nothing'}")
    return done.stdout.strip()
