"""An environment with all that projects and the runtime's tests need, kept under build/.

python environment.py                  makes it where it is missing; prints its Python
python environment.py mlflow           one that has MLflow's client as well
python environment.py mlflow-server    one of MLflow itself, which needs another gunicorn
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "{{cookiecutter.project_slug}}"
RUNTIME = ROOT / "tests/runtime/requirements.txt"
PROJECT = ("requirements.txt", "requirements-parquet.txt", "requirements-dev.txt")
FILES = {
    "project": [*(TREE / name for name in PROJECT), RUNTIME],
    "mlflow": [*(TREE / name for name in (*PROJECT, "requirements-mlflow.txt")), RUNTIME],
    "mlflow-server": [RUNTIME.with_name("requirements-mlflow-server.txt")],
}

# Compiled at once, with all that they import; pip would compile 12,000 files, and tests use a few.
USED = (
    "cfnlint",
    "daal4py",
    "flask",
    "gunicorn.workers.sync",
    "hypothesis",
    "moto.server",
    "pandas",
    "pyarrow.parquet",
    "pytest",
    "sklearn.datasets",
    "xdist",
    "xgboost.sklearn",
)
IMPORT = """import contextlib, importlib, sys
for name in sys.argv[1:]:
    with contextlib.suppress(ImportError):  # of a package that another platform lacks
        importlib.import_module(name)
"""


class NoEnvironmentError(Exception):
    """The packages cannot be installed here; the message holds pip's last line."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make the environment: tests run in several."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if os.name != "nt":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def project_python(name: str = "project") -> Path:
    """Return the Python of an environment of FILES, made once per set of requirement files.

    Raises NoEnvironmentError.
    """
    every = [*sorted(TREE.glob("requirements*.txt")), *FILES[name]]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in every)).hexdigest()[:12]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = ROOT / "build" / f"{name}-{version}-{digest}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with locked(ROOT / "build" / "project.lock"):
        if not (folder / "ready").exists():
            make(folder, python, FILES[name])
            (folder / "ready").touch()
    return python


def make(folder: Path, python: Path, files: list[Path]) -> None:
    """Make the environment and install everything."""
    pip = [python, "-m", "pip", "install", "-q", "--no-compile"]
    pip.append("--disable-pip-version-check")
    commands = [[sys.executable, "-m", "venv", "--clear", folder]]
    commands += [[*pip, "-r", path] for path in files]
    commands.append([python, "-c", IMPORT, *USED])
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for command in commands:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise NoEnvironmentError(f"the packages of a project cannot be installed: {last}")


if __name__ == "__main__":
    print(project_python(*sys.argv[1:]))
