"""The heartbeats of the workers: a file each, written by the worker, read by whoever answers /ping.

A worker that is computing cannot answer /ping, and a router that gets no answer within two seconds
takes the container down. So every worker tests its model in a thread of its own and touches its
file, and the supervisor answers from the files, however busy the workers are.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runtime.job.resources import alive

INTERVAL = 1.0  # seconds between two tests of a worker
STALE = 10.0  # seconds without a heartbeat after which a worker counts as hung
HEALTHY = "ok"  # the finding of a test that passed: an empty file is not a healthy worker's
DRAFT = ".draft"

log = logging.getLogger(__name__)


def problem(folder: Path) -> str | None:
    """Return why no worker can answer; None when at least one is alive and passed its test."""
    findings = ["no worker is ready"]
    for path in folder.iterdir():
        if not path.name.isdecimal():
            continue  # a draft
        try:
            age, text = time.time() - path.stat().st_mtime, path.read_text(encoding="utf-8")
        except OSError:
            continue  # the worker ended between the listing and the reading
        if not alive(int(path.name)):
            continue
        if age > STALE:
            findings.append(f"worker {path.name} has sent no heartbeat for {age:.0f} s")
        elif text == HEALTHY:
            return None
        else:
            findings.append(text)
    return findings[-1]


def forget(folder: Path, pid: int) -> None:
    """Remove the files of a worker that exited."""
    for name in (f"{pid}", f"{pid}{DRAFT}"):
        (folder / name).unlink(missing_ok=True)


class Heartbeat(threading.Thread):
    """Calls `test` every second and keeps its finding in the folder, in a file named by process.

    `test` returns the empty string when all is well, else a sentence that says what is broken.
    """

    def __init__(self, folder: Path, test: Callable[[], str]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.path = folder / str(os.getpid())
        self.test = test
        self.written = ""
        self.beat()

    def beat(self) -> None:
        """Test once and write the finding; a test that raises is a finding too."""
        try:
            finding = self.test() or HEALTHY
        except Exception as error:
            log.exception("the self-test failed")
            finding = f"self-test failed: {error}"
        try:
            self._write(finding)
        except OSError as error:  # a full disk may have room again in a second
            self.written = ""
            log.error("error: the heartbeat cannot be written: %s", error)

    def _write(self, finding: str) -> None:
        """Replace the file as a whole: one that is half written would be read as a finding."""
        if finding == self.written:
            os.utime(self.path)
            return
        draft = self.path.with_suffix(DRAFT)
        draft.write_text(finding, encoding="utf-8", errors="backslashreplace")
        draft.rename(self.path)
        self.written = finding

    def run(self) -> None:
        """Beat until the process ends."""
        while True:
            time.sleep(INTERVAL)
            self.beat()
