"""A training job in a temporary /opt/ml, and the real `train` program that runs it.

The program is `program/train` on this machine, or, for a job on a Docker network, a container of
the image CONTRACT_IMAGE.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xgboost

from locations import PROGRAM
from runtime.job import logs
from runtime.job.paths import Paths
from runtime.training.process import guarded, work

COLUMNS = 6


def numbers(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows with missing cells, and a score that depends on them."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, COLUMNS)).round(3).astype(np.float32) + np.float32(0)
    score = rows[:, 0] + rows[:, 1] ** 2 + generator.normal(size=count) * 0.1
    rows[generator.random(rows.shape) < 0.05] = np.nan
    return rows, score


def labels_for(objective: str, score: np.ndarray) -> np.ndarray:
    """Return labels that the objective takes."""
    if objective.startswith("binary:") or objective in {"reg:logistic", "rank:map"}:
        return (score > 0.8).astype(np.float32)
    if objective.startswith(("multi:", "rank:")):
        return np.digitize(score, [0.2, 1.2]).astype(np.float32)
    return (np.abs(score) + 0.5).round(3).astype(np.float32)


def csv_text(*columns: np.ndarray) -> str:
    """Return CSV without a header; a NaN is an empty cell."""
    table = np.column_stack(columns)
    cells = (["" if np.isnan(value) else f"{value:.9g}" for value in row] for row in table)
    return "".join(",".join(row) + "\n" for row in cells)


@dataclass
class Outcome:
    """How a run ended."""

    code: int
    log: str


def local_command(
    base: Path, environ: dict[str, str], program: Path | None = None
) -> dict[str, Any]:
    """Return how to start `train` from the source tree, or from a copy of it."""
    program = program or PROGRAM
    variables = {
        **os.environ,
        **environ,
        "SAGEMAKER_BASE_DIR": str(base),
        "PYTHONPATH": str(program),
    }
    return {"args": [sys.executable, str(program / "train")], "env": variables}


def docker_command(image: str, base: Path, environ: dict[str, str], *more: str) -> dict[str, Any]:
    """Return how to start `train` in a container as SageMaker would; what it writes is ours."""
    options = [f"-e{key}={value}" for key, value in environ.items()]
    options += [f"-v{base}:/opt/ml", f"--user={os.getuid()}:{os.getgid()}", *more]
    return {"args": ["docker", "run", "--rm", *options, image, "train"]}


@dataclass
class Job:
    """A job below `base`: write channels and configuration, run it, look at what it left."""

    base: Path
    hyperparameters: dict[str, str] = field(default_factory=dict)
    channels: dict[str, dict[str, str]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("algo-1",)
    host: str = "algo-1"
    checkpoints: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    network: str = ""  # of Docker: there this host is a container, and its name resolves
    container: str = ""
    process: subprocess.Popen[str] | None = None

    def put(self, channel: str, name: str, content: str | bytes, **config: str) -> Path:
        """Write a file into a channel; `config` is its entry in inputdataconfig.json."""
        path = self.base / "input" / "data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.channels[channel] = {"ContentType": "text/csv", "TrainingInputMode": "File", **config}
        return path

    def configure(self) -> None:
        """Write the configuration files."""
        config = self.base / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        documents: dict[str, Any] = {
            "hyperparameters": self.hyperparameters,
            "inputdataconfig": self.channels,
            "resourceconfig": {"current_host": self.host, "hosts": list(self.hosts)},
        }
        if self.checkpoints:
            root = Path("/opt/ml") if self.network else self.base
            documents["checkpointconfig"] = {"LocalPath": str(root / "checkpoints")}
        for name, document in documents.items():
            (config / f"{name}.json").write_text(json.dumps(document))

    def start(self, program: Path | None = None) -> subprocess.Popen[str]:
        """Start `train` and return it at once; its output is one text stream."""
        self.configure()
        environ = {"ACCELERATION": "off", **self.environ}
        if self.network:
            self.container = f"{self.network}-{uuid4().hex[:8]}"
            place = (f"--network={self.network}", f"--network-alias={self.host}")
            names = (f"--hostname={self.host}", f"--name={self.container}")
            image = os.environ["CONTRACT_IMAGE"]
            command = docker_command(image, self.base, environ, *place, *names)
        else:
            command = local_command(self.base, environ, program)
        self.process = subprocess.Popen(
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **command
        )
        return self.process

    def kill(self) -> None:
        """End this host at once, as when its instance is lost."""
        assert self.process is not None
        if self.network:  # `docker run` alone would die, not what it runs
            subprocess.run(["docker", "kill", self.container], capture_output=True, check=False)
        else:
            self.process.kill()

    def run_program(self, program: Path | None = None) -> Outcome:
        """Run `train` to its end."""
        process = self.start(program)
        text, _ = process.communicate(timeout=300)
        return Outcome(process.returncode, text)

    def run(self) -> Outcome:
        """Do the job's work in this process, as the program's child does: quick, the same code."""
        self.configure()
        paths = Paths(self.base)
        before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
        os.environ |= {"ACCELERATION": "off", **self.environ}
        with contextlib.redirect_stdout(io.StringIO()) as log:
            logs.configure()
            code = guarded(paths, work)
        os.environ.clear()
        os.environ |= before
        signal.signal(signal.SIGTERM, handler)
        return Outcome(code, log.getvalue())

    @property
    def model(self) -> bytes:
        return (self.base / "model" / "xgboost-model").read_bytes()

    @property
    def failure(self) -> str:
        path = self.base / "output" / "failure"
        return path.read_text() if path.exists() else ""

    def output(self, name: str) -> Any:
        """Return a JSON file of output/data or the model folder."""
        folders = (self.base / "output" / "data", self.base / "model")
        path = next(folder / name for folder in folders if (folder / name).exists())
        return json.loads(path.read_text())

    def booster(self) -> xgboost.Booster:
        return xgboost.Booster(model_file=bytearray(self.model))


def simple_job(base: Path, rows: int = 600, **hyperparameters: str) -> Job:
    """Return a job with a csv training and validation channel for the given objective."""
    given = {"num_round": "12", "objective": "binary:logistic", "nthread": "2", **hyperparameters}
    job = Job(base, given)
    for channel, seed, count in (("train", 0, rows), ("validation", 1, rows // 3)):
        values, score = numbers(count, seed)
        job.put(channel, "part.csv", csv_text(labels_for(given["objective"], score), values))
    return job
