"""A training job as a process: a child does the work, the parent tells how it ended.

The parent imports no native library, so it lives to write the failure file when the child is
killed for its memory, or when a lost peer makes XGBoost's collective abort the process.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

import settings
from container import logs
from container.failures import (
    AlgorithmError,
    ContainerError,
    PlatformError,
    UserError,
    write_failure,
)
from container.paths import Paths

PR_SET_PDEATHSIG = 1  # prctl(2): the child must not outlive a killed parent
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
XGBOOST_CAUSES: tuple[tuple[str, type[ContainerError]], ...] = (
    (r"bad_alloc|out of memory|Cannot allocate", PlatformError),
    (r"rabit|collective|socket|tracker|Connection|poll", PlatformError),
    (r"Invalid|valid values|Unknown|exceed bound|not supported|not yet|must|should", UserError),
)

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the job below SAGEMAKER_BASE_DIR; return the exit code of the container."""
    if arguments and arguments[0] in {"-h", "--help"}:
        from training.parameters import markdown

        print(f"Train a model on the channels below /opt/ml. Hyperparameters:\n\n{markdown()}")
        return 0
    paths = Paths.from_environment()
    try:
        logs.configure(settings.load().log_level)
    except settings.SettingError as problem:
        logs.configure()
        return _fail(paths, UserError(str(problem)))
    paths.failure.unlink(missing_ok=True)
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with(parent)
        code = guarded(paths, work)
        sys.stdout.flush()
        os._exit(code)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    return _ended(paths, os.waitpid(child, 0)[1])


def work(paths: Paths) -> int:
    """Do the job's work in this process; return its exit code."""
    from training import pipeline  # imports XGBoost: in the child alone

    return pipeline.run(paths, Stop())


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


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def guarded(paths: Paths, task: Callable[[Paths], int]) -> int:
    """Do the work; turn any exception into the failure file, a log line and an exit code."""
    try:
        return task(paths)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as problem:
        error = classify(problem)
        if not isinstance(error, UserError):
            log.error("%s", traceback.format_exc())
        return _fail(paths, error)


def classify(problem: BaseException) -> ContainerError:
    """Return the failure that an exception means to the person who started the job."""
    if isinstance(problem, ContainerError):
        return problem
    if isinstance(problem, SystemExit):
        return PlatformError("the job was stopped")
    if isinstance(problem, MemoryError):
        return PlatformError(
            "out of memory: use an instance with more, or the hyperparameter external_memory=true"
        )
    if isinstance(problem, OSError):
        hint = "the disk is full: use a larger volume: " if problem.errno in DISK_FULL else ""
        return PlatformError(f"{hint}{problem}")
    message = re.sub(r"^\[[\d:]+\] \S+: |\s*Stack trace:.*", "", str(problem), flags=re.DOTALL)
    if type(problem).__name__ == "XGBoostError":
        for pattern, error in XGBOOST_CAUSES:
            if re.search(pattern, message):
                return error(f"XGBoost: {message}")
    return AlgorithmError(f"{type(problem).__name__}: {message}")


def abort(paths: Paths, error: ContainerError) -> None:
    """End this process at once with an error: for threads, while the main one waits in XGBoost."""
    code = _fail(paths, error)
    sys.stdout.flush()
    os._exit(code)


def _fail(paths: Paths, error: ContainerError) -> int:
    log.error("%s: %s", type(error).__name__, error)
    write_failure(paths.failure, error)
    return error.exit_code


def _ended(paths: Paths, status: int) -> int:
    """Return the child's exit code; write the failure that a killed child could not write."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0 and (code == 0 or code == 128 + signal.SIGTERM or paths.failure.exists()):
        return code
    if code == -signal.SIGKILL:
        return _fail(
            paths,
            PlatformError(
                "the training process was killed, most likely because the memory ran out: use an "
                "instance with more, or the hyperparameter external_memory=true"
            ),
        )
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return _fail(paths, PlatformError(f"the training process ended {how}; see the log"))
