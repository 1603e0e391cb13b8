"""The heartbeats of the workers: a file each, written by the worker, read by whoever answers /ping.

A worker that computes cannot answer /ping, and a router that gets no answer within two seconds
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

INTERVAL = 1.0  # seconds between two tests of a worker
STALE = 10.0  # seconds without a heartbeat after which a worker counts as hung

log = logging.getLogger(__name__)


def alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def problem(folder: Path) -> str | None:
    """Return why serving is broken; None when at least one worker lives and passed its test."""
    findings = ["no worker is ready"]
    for path in folder.iterdir():
        try:
            age, text = time.time() - path.stat().st_mtime, path.read_text(encoding="utf-8")
        except OSError:
            continue  # the worker ended between the listing and the reading
        if not alive(int(path.name)):
            continue
        if text:
            findings.append(text)
        elif age > STALE:
            findings.append(f"worker {path.name} gave no sign of life for {age:.0f} s")
        else:
            return None
    return findings[-1]


class Heartbeat(threading.Thread):
    """Calls `test` every second and keeps its finding in the folder, in a file named by process.

    `test` returns the empty string when all is well, else a sentence that says what is broken.
    """

    def __init__(self, folder: Path, test: Callable[[], str]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.path = folder / str(os.getpid())
        self.test = test
        self.beat()

    def beat(self) -> None:
        """Test once and write the finding; a test that raises is a finding too."""
        try:
            finding = self.test()
        except Exception as error:
            log.exception("the self-test failed")
            finding = f"self-test failed: {error}"
        self.path.write_text(finding, encoding="utf-8")

    def run(self) -> None:
        """Beat until the process ends."""
        while True:
            time.sleep(INTERVAL)
            self.beat()
