"""Packages that brought code asks for, installed by pip before it runs."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import sysconfig
import tomllib
from pathlib import Path

from runtime.job.commands import Runner
from runtime.job.failures import UserError

REQUIREMENTS = "requirements.txt"
PREFIX = Path("/tmp/packages")  # for a container's user who may not write the environment
NO_NETWORK = re.compile(
    r"Failed to establish a new connection|name resolution|Network is unreachable"
    r"|ConnectTimeout|Connection refused|NewConnectionError"
)


class InstallModuleError(UserError):
    """pip could not install what the code asks for."""


def install(folder: Path, runner: Runner) -> list[str]:
    """Install the package in `folder`, if it is one, and its requirements.txt, if there is one.

    Returns the folders to add to PYTHONPATH. Raises InstallModuleError with pip's last lines.
    """
    wanted = ["."] if _is_package(folder) else []
    if (folder / REQUIREMENTS).is_file():
        wanted += ["-r", REQUIREMENTS]
    if not wanted:
        return []
    if importlib.util.find_spec("pip") is None:
        raise InstallModuleError(
            f"{' '.join(wanted)} must be installed, but this Python has no pip: use the project's "
            "image, or add the packages to requirements.in and build it again"
        )
    place, paths = _place()
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-cache-dir",
    ]
    code, lines = runner.run([*command, *place, *wanted], folder)
    if runner.stopped:
        raise SystemExit(128 + signal.SIGTERM)
    if code:
        raise InstallModuleError(_explanation(wanted, code, lines))
    return paths


def _is_package(folder: Path) -> bool:
    """Return whether pip can install the folder: a pyproject.toml may only configure tools."""
    if (folder / "setup.py").is_file():
        return True
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool({"project", "build-system"} & document.keys())


def _place() -> tuple[list[str], list[str]]:
    """Return pip's options for where to install, and what PYTHONPATH needs for it."""
    if os.access(sysconfig.get_path("purelib"), os.W_OK):
        return [], []
    variables = {"base": str(PREFIX), "platbase": str(PREFIX)}
    return ["--prefix", str(PREFIX)], [sysconfig.get_path("purelib", vars=variables)]


def _explanation(wanted: list[str], code: int, lines: list[str]) -> str:
    """Return why pip failed, and what helps."""
    text = "\n".join(line for line in lines if not line.startswith("WARNING"))
    if any(NO_NETWORK.search(line) for line in lines):
        hint = (
            "there is no network (VPC without a route, or network isolation): put wheels beside "
            "the code and `--no-index --find-links .` into requirements.txt, or add the packages "
            "to requirements.in and build the image again"
        )
        errors = [line for line in lines if line.startswith("ERROR")]
        text = "\n".join([hint, *errors[-2:]])
    return f"pip install {' '.join(wanted)} exited with code {code}: {text}"
