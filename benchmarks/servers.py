"""The contestants: this project, the same program through XGBoost, and the bare transport."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "{{cookiecutter.project_slug}}" / "program"
TICK = os.sysconf("SC_CLK_TCK")
START_LIMIT = 120.0  # seconds
STOP_LIMIT = 40.0  # seconds


@dataclass(frozen=True)
class Server:
    """A running server: its port, the process that `serve` is, the seconds to its first 200, and
    what it has written so far."""

    port: int
    pid: int
    start_seconds: float
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU time of the whole process tree so far, in seconds."""
        return sum(_cpu(pid) for pid in _tree(self.pid))

    def memory_bytes(self) -> int:
        """Return the memory of the process tree, shared pages counted once (PSS)."""
        return sum(_pss(pid) for pid in _tree(self.pid))


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def _tree(root: int) -> list[int]:
    children, result = _children(), [root]
    for pid in result:
        result.extend(children.get(pid, []))
    return result


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) * 1024


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def floor_program(folder: Path, *, own_worker: bool = False) -> Path:
    """Make a copy of the program whose application is the constant of floor.py.

    It stands behind the program's nginx and gunicorn, with gunicorn's own worker or the program's.
    """
    target = folder / ("floor-own-worker" if own_worker else "floor")
    shutil.copytree(PROGRAM, target)
    shutil.copyfile(Path(__file__).with_name("floor.py"), target / "wsgi.py")
    if not own_worker:
        with (target / "gunicorn.conf.py").open("a", encoding="utf-8") as file:
            file.write('worker_class = "sync"\n')
        nginx = target / "nginx.conf"
        nginx.write_text(nginx.read_text("utf-8").replace("${SMALL}", "application"), "utf-8")
    return target


def _wait(url: str, process: subprocess.Popen[bytes], log: Path, limit: float) -> None:
    while time.perf_counter() < limit:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.01)
    raise RuntimeError(f"the server did not start; its last lines:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server, and what it started: not every server ends its own processes."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def serve(
    base: Path,
    program: Path = PROGRAM,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    ping: str = "/ping",
) -> Iterator[Server]:
    """Run `serve` of `program`, or `command`, with `base` as its /opt/ml; stop it at the end.

    It is ready when it answers `ping` with 200.
    """
    port = free_port()
    log = base / f"serve-{port}.log"
    environment = {
        **os.environ,
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "PYTHONPATH": str(program),
        "LOG_LEVEL": "INFO",
        **(environ or {}),
    }
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command or [sys.executable, str(program / "serve")],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(f"http://127.0.0.1:{port}{ping}", process, log, start + START_LIMIT)
            yield Server(port, process.pid, time.perf_counter() - start, log)
        finally:
            _stop(process)
