"""Checkpoints: one file per round, complete or absent, found again at restart.

A file is a line of JSON (round, history of metrics, fingerprint, SHA-256 of the model) and then
the model's bytes. It appears under its name by an atomic rename, because the platform uploads the
folder all the time and a spot instance may vanish at any moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from scipy.sparse import csr_matrix

import custom
from runtime import transformation
from runtime.formats.table import Table
from runtime.job import artifact
from runtime.job.failures import PlatformError, UserError
from runtime.training.parameters import Hyperparameters

NAME = re.compile(r"xgboost-checkpoint\.(\d+)")  # leaves out .sagemaker-uploading and the like
KEPT = 3
BLOCK_BYTES = 16 << 20  # of a table that are digested at a time
VOLATILE = {  # hyperparameters that may differ when a job continues
    "num_round",
    "nthread",
    "verbosity",
    "checkpoint_rounds",
    "checkpoint_seconds",
    "save_model_on_termination",
}

log = logging.getLogger(__name__)
History = list[dict[str, float]]
Digests = dict[str, list[str]]  # of each data set, one per host


def digest_of(table: Table) -> str:
    """Return the shape of a table and a digest of all that it holds, read block by block."""
    rows = table.features
    parts = [rows.indptr, rows.indices, rows.data] if isinstance(rows, csr_matrix) else [rows]
    digest = hashlib.blake2b(f"{table.names} {table.index_base}".encode(), digest_size=16)
    for array in (*parts, table.labels, table.weights, table.query_ids):
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype} {array.shape}".encode())
        step = max(1, BLOCK_BYTES // (array.itemsize * math.prod(array.shape[1:]) or 1))
        for start in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[start : start + step]).data)
    return f"{rows.shape[0]} x {rows.shape[1]}, {digest.hexdigest()}"


def fingerprint(chosen: Hyperparameters, data: Digests, fitted: object) -> dict[str, Any]:
    """Return what makes a checkpoint this job's: parameters, data, features and XGBoost.

    `data` has the digests of each data set, one per host. Their order does not count: after a
    restart the shards may be dealt to other hosts.
    """
    values: dict[str, Any] = {k: v for k, v in chosen.given.items() if k not in VOLATILE}
    values |= {f"data of {name}": sorted(digests) for name, digests in data.items()}
    values |= {"features": transformation.version(), "fitted": fitted}
    values |= {"custom.py": artifact.source_digest(custom)}
    return values | {"xgboost": xgboost.__version__}


@dataclass
class Checkpoints:
    """The checkpoints of one host. `fingerprint` is what must be equal to continue."""

    folder: Path
    fingerprint: dict[str, Any]
    rounds: int
    seconds: float
    _saved_at: float = field(default_factory=time.monotonic)

    def due(self, done: int) -> bool:
        """Whether a checkpoint should be saved after `done` rounds."""
        late = self.seconds > 0 and time.monotonic() - self._saved_at >= self.seconds
        return late or (self.rounds > 0 and done % self.rounds == 0)

    def save(self, model: bytes, history: History) -> None:
        """Write the checkpoint of `len(history)` rounds; drop the oldest beyond KEPT.

        Raises PlatformError when the disk refuses.
        """
        self._saved_at = time.monotonic()
        header = {
            "round": len(history),
            "sha256": hashlib.sha256(model).hexdigest(),
            "fingerprint": self.fingerprint,
            "history": history,
        }
        path = self.folder / f"xgboost-checkpoint.{len(history)}"
        partial = self.folder / f".{path.name}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(json.dumps(header).encode() + b"\n" + model)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            for old in self._found()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as problem:
            raise PlatformError(f"cannot write checkpoint {path}: {problem}") from problem

    def restore(self) -> tuple[bytes, History] | None:
        """Return the newest complete checkpoint: the model's bytes and the history of metrics.

        A damaged file is skipped for the one before. Raises UserError, with the differences, when
        the checkpoint is another job's.
        """
        for path in self._found():
            try:
                head, model = path.read_bytes().split(b"\n", 1)
                header = json.loads(head)
                if hashlib.sha256(model).hexdigest() != header["sha256"]:
                    raise ValueError("the model's bytes do not match their checksum")
                saved, history = header["fingerprint"], header["history"]
            except (OSError, ValueError, KeyError) as problem:
                log.warning("checkpoint %s is damaged (%s): trying the one before", path, problem)
                continue
            self._compare(saved, path)
            log.info("continuing after round %d, from %s", len(history) - 1, path)
            return model, history
        return None

    def _found(self) -> list[Path]:
        """Return the checkpoint files, newest round first."""
        if not self.folder.is_dir():
            return []
        matches = {path: NAME.fullmatch(path.name) for path in self.folder.iterdir()}
        rounds = {path: int(match[1]) for path, match in matches.items() if match}
        return sorted(rounds, key=rounds.__getitem__, reverse=True)

    def _compare(self, saved: dict[str, Any], path: Path) -> None:
        mine = json.loads(json.dumps(self.fingerprint))
        names = sorted(key for key in {*saved, *mine} if saved.get(key) != mine.get(key))
        if names:
            changes = ", ".join(f"{key}: {saved.get(key)} -> {mine.get(key)}" for key in names)
            raise UserError(
                f"checkpoint {path} is of another job ({changes}): name another checkpoint "
                "location, or empty this one"
            )
