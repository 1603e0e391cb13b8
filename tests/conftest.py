"""Fixtures of all layers, and a last line for everything that was skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendering import export, render


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a fresh clone holds it."""
    return export(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the default answers. Do not write into it."""
    return render(template, tmp_path_factory.mktemp("rendered") / "default")
