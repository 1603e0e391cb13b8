"""How a training job fails: three kinds of error, an exit code each, and the failure file."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

LIMIT = 1024  # characters of output/failure that become the job's FailureReason

log = logging.getLogger(__name__)


class ContainerError(Exception):
    """A failure with a message for the person who started the job."""

    exit_code = 2


class UserError(ContainerError):
    """Input that the user can fix: data, hyperparameters, configuration."""

    exit_code = 1


class AlgorithmError(ContainerError):
    """A defect of this program."""

    exit_code = 2


class PlatformError(ContainerError):
    """The environment failed: disk, memory, network, peers."""

    exit_code = 3


def write_failure(path: Path, error: ContainerError) -> None:
    """Write `Class: message` to the failure file, at most 1,024 characters, message first.

    Never raises: a failure that cannot be written is logged, so that the true error survives. The
    file is whole at any time: where hosts fail together, two threads write it, and one of them
    ends the process.
    """
    text = f"{type(error).__name__}: {error}"
    if len(text) > LIMIT:
        text = text[: LIMIT - 4].rstrip() + " ..."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}-{threading.get_ident()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as problem:
        log.error("cannot write %s: %s", path, problem)
