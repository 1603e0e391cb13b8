"""How a training job ends: on request, or with an error that its failure file explains."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType

from runtime.job.failures import (
    AlgorithmError,
    ContainerError,
    PlatformError,
    UserError,
    write_failure,
)
from runtime.job.paths import Paths

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
MORE_MEMORY = (
    "use an instance with more, or the hyperparameter external_memory=true, which is not for "
    "ranking and _kfold"
)
XGBOOST_CAUSES: tuple[tuple[str, type[ContainerError]], ...] = (
    (r"bad_alloc|out of memory|Cannot allocate", PlatformError),
    (r"rabit|collective|socket|tracker|Connection|poll", PlatformError),
    (
        r"Invalid|valid values|Unknown|exceed bound|not supported|not yet|must|should|can only",
        UserError,
    ),
)

log = logging.getLogger(__name__)


class Stop:
    """Whether the platform has asked the job to stop (SIGTERM).

    Until `wait` is called the job ends at once; from then on, after the round in hand.
    """

    def __init__(self) -> None:
        self.requested = False
        self._patient = False
        signal.signal(signal.SIGTERM, self._receive)

    def wait(self) -> None:
        """From now on let the work look at `requested`."""
        self._patient = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        log.info("stop requested by signal %d", number)
        self.requested = True
        if not self._patient:
            raise SystemExit(128 + number)


def classify(problem: BaseException) -> ContainerError:
    """Return the failure that an exception means to the person who started the job."""
    if isinstance(problem, ContainerError):
        return problem
    if isinstance(problem, SystemExit):
        return PlatformError("the job was stopped")
    if isinstance(problem, MemoryError):
        return PlatformError(f"out of memory: {MORE_MEMORY}")
    if isinstance(problem, OSError):
        hint = "the disk is full: use a larger volume: " if problem.errno in DISK_FULL else ""
        return PlatformError(f"{hint}{problem}")
    text = re.sub(r"\s*Stack trace:.*", "", str(problem), flags=re.DOTALL)
    message = re.sub(r"^\[[\d:]+\] \S+: ", "", text)
    if type(problem).__name__ == "XGBoostError":
        for pattern, error in XGBOOST_CAUSES:
            if re.search(pattern, text):  # with its source file: src/collective tells of a peer
                return error(f"XGBoost: {message}")
    return AlgorithmError(f"{type(problem).__name__}: {message}")


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the files below a folder with their time of change and size."""
    if not folder.is_dir():
        return {}
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


def discard(folder: Path, before: dict[Path, tuple[int, int]]) -> None:
    """Remove what was written below a folder since `before`: no failed job leaves a model."""
    for path, state in files_below(folder).items():
        if before.get(path) != state:
            try:
                path.unlink()
            except OSError as problem:
                log.error("cannot remove %s: %s", path, problem)


def abort(paths: Paths, error: ContainerError) -> None:
    """End this process at once with an error: for threads, while the main one waits in XGBoost."""
    code = fail(paths, error)
    sys.stdout.flush()
    os._exit(code)


def fail(paths: Paths, error: ContainerError) -> int:
    """Log the error and write the failure file; return the exit code."""
    log.error("%s: %s", type(error).__name__, error)
    write_failure(paths.failure, error)
    return error.exit_code
