"""Framework mode of training: the job brings its own program, and this one runs it.

https://sagemaker.readthedocs.io/en/stable/frameworks/xgboost/using_xgboost.html#prepare-a-training-script
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import runtime
from runtime.job import code, packages, resources
from runtime.job.commands import Runner
from runtime.job.description import Job, read_job
from runtime.job.failures import LIMIT, PlatformError, UserError
from runtime.job.paths import Paths
from runtime.training import environment

COMPAT = Path(runtime.__file__).parent / "compat"  # the modules that such programs import
MARGIN = 40  # of the failure file's characters, for the name of the error
MISSING_PACKAGE = re.compile(r"ModuleNotFoundError: No module named '(\w+)[\w.]*'")
TELLING = 10  # lines of output that the failure file tries to hold

log = logging.getLogger(__name__)


class ExecuteUserScriptError(UserError):
    """The script failed; the container exits with the script's own code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_requested(paths: Paths) -> bool:
    """Return whether the job brings a program of its own. Broken files are left to the job."""
    try:
        return environment.program_of(read_job(paths)) is not None
    except UserError:
        return False


def run(paths: Paths, allowed: bool) -> int:
    """Bring, install and run the job's program; return the exit code of the container.

    Raises UserError for a program that cannot be run, ExecuteUserScriptError when it fails.
    """
    runner = Runner()
    runner.pass_on_sigterm()
    job = read_job(paths)
    program = environment.program_of(job) or ""
    if not allowed:
        raise UserError(f"the job brings the program {program!r}, but ALLOW_CODE=never forbids it")
    _bring(job, paths, program)
    added = packages.install(paths.code, runner)
    for folder in (paths.model, paths.output_data):
        folder.mkdir(parents=True, exist_ok=True)
    description = environment.describe(job, paths, resources.cpu_count())
    command = command_of(program, environment.arguments(description), paths.code)
    environ = {**os.environ, **environment.variables(job, paths, resources.cpu_count())}
    log.info("framework mode: %s", shlex.join(command))
    status, lines = runner.run(command, paths.code, {**environ, **_python(paths, added)})
    return _ended(program, status, lines, runner.stopped)


def _bring(job: Job, paths: Paths, program: str) -> None:
    """Put the code into /opt/ml/code, where it may be already: in the image, or mounted."""
    values = environment.decoded(job.hyperparameters)
    uri = values.get("sagemaker_submit_directory")
    present = paths.code.is_dir() and any(paths.code.iterdir())
    if uri and str(uri) != str(paths.code):
        if present:
            log.warning("%s holds files already: they run, %s is not used", paths.code, uri)
        else:
            code.bring(str(uri), paths.code)
    elif not present:
        raise UserError(
            f"the job names the program {program!r}, but neither sagemaker_submit_directory nor "
            f"{paths.code} brings it"
        )
    if program.endswith((".py", ".sh")) and not (paths.code / program).is_file():
        found = sorted(entry.name for entry in paths.code.iterdir())[:20]
        raise UserError(
            f"the program {program!r} is not in {uri or paths.code}, which holds: "
            f"{', '.join(found) or 'nothing'}"
        )


def command_of(program: str, words: list[str], folder: Path) -> list[str]:
    """Return the command: a module for Python, a file in a folder as a path, else a shell's."""
    path = folder / program
    if program.endswith(".py"):
        is_path = "/" in program
        return [sys.executable, *([program] if is_path else ["-m", program[:-3]]), *words]
    if path.is_file():
        path.chmod(path.stat().st_mode | 0o111)
        # A shell of its own gives scripts without a first line `#!` one; exec lets signals through.
        return ["/bin/sh", "-c", shlex.join(["exec", f"./{program}", *words])]
    return [sys.executable, "-m", program, *words]


def _python(paths: Paths, added: list[str]) -> dict[str, str]:
    """Return what the script's Python needs: its own code first, then the compatible modules."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    program = str(COMPAT.parents[1])
    folders = [str(paths.code), *added, str(COMPAT), program, *given]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(folder for folder in folders if folder)),
        "PYTHONUNBUFFERED": "1",
    }


def _ended(program: str, status: int, lines: list[str], stopped: bool) -> int:
    """Return the exit code of a script that succeeded or was stopped; raise for one that failed."""
    if status == 0:
        return 0
    exit_code = status if status > 0 else 128 - status
    if stopped:
        log.info("the script was stopped and exited with code %d", exit_code)
        return exit_code
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise PlatformError(
            f"{program} was killed, most likely because the memory ran out: "
            "use an instance with more"
        )
    how = f"exited with code {status}"
    if status < 0:
        how = f"was killed by signal {signal.Signals(-status).name}"
    raise ExecuteUserScriptError(_with_last(f"{program} {how}{_hint(lines)}:", lines), exit_code)


def _hint(lines: list[str]) -> str:
    """Return what to do about a package that the built-in container has and this image has not."""
    absent = MISSING_PACKAGE.fullmatch(lines[-1]) if lines else None
    if absent is None:
        return ""
    return f" (name the package {absent[1]} in requirements.txt beside it, or in requirements.in)"


def _with_last(message: str, lines: list[str]) -> str:
    """Return the message and as many of the last lines as the failure file shows."""
    room = LIMIT - MARGIN - len(message)
    kept: list[str] = []
    for line in reversed(lines[-TELLING:]):
        room -= len(line) + 1
        if room < 0:
            break
        kept.insert(0, line)
    return "\n".join([message, *(kept or lines[-1:])])
