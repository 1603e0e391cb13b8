"""A training job as a process: a child does the work, the parent tells how it ended.

The parent imports no native library, so it lives to write the failure file when the child is
killed for its memory, or when a lost peer makes XGBoost's collective abort the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable

import settings
from runtime.job import logs, resources
from runtime.job.failures import PlatformError, UserError
from runtime.job.paths import Paths
from runtime.training import script, tracking
from runtime.training.ending import MORE_MEMORY, Stop, classify, discard, fail, files_below

PR_SET_PDEATHSIG = 1  # prctl(2): the child must not outlive a killed parent
log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the job below SAGEMAKER_BASE_DIR; return the exit code of the container."""
    if arguments and arguments[0] in {"-h", "--help"}:
        from runtime.training.parameters import markdown

        print(f"Train a model on the channels below /opt/ml. Hyperparameters:\n\n{markdown()}")
        return 0
    paths = Paths.from_environment()
    try:
        chosen = settings.load()
        logs.configure(chosen.log_level)
    except settings.SettingError as problem:
        logs.configure()
        return fail(paths, UserError(str(problem)))
    paths.failure.unlink(missing_ok=True)
    if script.is_requested(paths):
        return guarded(paths, lambda paths: script.run(paths, chosen.allow_code == "auto"))
    os.environ.setdefault(resources.BLAS_THREADS, "1")  # those of XGBoost are enough
    os.environ.setdefault(*resources.OPENMP_SPINS)
    sys.stdout.flush()
    before = files_below(paths.model)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _die_with(parent)
        code = guarded(paths, work)
        sys.stdout.flush()
        os._exit(code)
    signal.signal(signal.SIGTERM, lambda number, frame: _pass_on(child, number))
    code = _ended(paths, os.waitpid(child, 0)[1])
    if code != 0:
        discard(paths.model, before)
    elif tracking.is_requested() and files_below(paths.model) != before:  # by the first host alone
        tracking.track()
    return code


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(child, number)


def work(paths: Paths) -> int:
    """Do the job's work in this process; return its exit code."""
    from runtime.imports import import_xgboost

    import_xgboost()
    from runtime.training import pipeline

    return pipeline.run(paths, Stop())


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
        return fail(paths, error)


def _ended(paths: Paths, status: int) -> int:
    """Return the child's exit code; write the failure that a killed child could not write."""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGTERM:  # before it could catch the signal
        return 128 + signal.SIGTERM
    if code >= 0 and (code == 0 or code == 128 + signal.SIGTERM or paths.failure.exists()):
        return code
    if code == -signal.SIGKILL:
        return fail(
            paths,
            PlatformError(
                "the training process was killed, most likely because the memory ran out: "
                f"{MORE_MEMORY}"
            ),
        )
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return fail(paths, PlatformError(f"the training process ended {how}; see the log"))
