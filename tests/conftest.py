"""Fixtures of all layers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

import environment
from rendering import export, render

# Each process that a test starts in a project would compile the project's files anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the ids that pytest makes of bodies: one of megabytes fills logs and caches."""
    if not isinstance(val, bytes | str):
        return None
    text = ascii(val[:60])
    return text[:60] if len(val) > 60 or len(text) > 60 else None


def unavailable(what: str) -> NoReturn:
    """Skip with a reason, which the summary shows; fail in CI, where everything must be there."""
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
    """The Python of an environment with all that projects need."""
    try:
        return environment.project_python()
    except environment.NoEnvironmentError as problem:
        unavailable(str(problem))


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
