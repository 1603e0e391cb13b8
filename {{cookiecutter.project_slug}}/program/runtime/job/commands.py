"""Commands that brought code needs: pip, and the code itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

READ_BYTES = 1 << 16
TAIL_BYTES = 4096  # of the output that is kept for the failure file
DRAIN_SECONDS = 5.0  # for the last output; a process left in the background keeps the pipe open


class Runner:
    """Runs one command at a time, shows its output, and keeps the end of it."""

    def __init__(self) -> None:
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def pass_on_sigterm(self) -> None:
        """From now on a SIGTERM goes to the command that runs, and to the processes it started.

        Without a command it ends this process.
        """
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self._process is None:
            raise SystemExit(128 + number)
        os.killpg(self._process.pid, number)

    def run(
        self, command: list[str], folder: Path, environ: Mapping[str, str] | None = None
    ) -> tuple[int, list[str]]:
        """Run a command in `folder`; return its exit code and the last lines of its output.

        The code is negative when a signal killed the command. Raises OSError when it cannot start.
        """
        sys.stdout.flush()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        tail = bytearray()
        reader = threading.Thread(target=_copy, args=(self._process, tail), daemon=True)
        reader.start()
        code = self._process.wait()
        self._process = None
        reader.join(DRAIN_SECONDS)
        return code, bytes(tail).decode(errors="replace").splitlines()


def _copy(process: subprocess.Popen[bytes], tail: bytearray) -> None:
    """Copy a process's output to standard output as it comes; keep the end of it in `tail`."""
    assert process.stdout is not None
    while chunk := os.read(process.stdout.fileno(), READ_BYTES):
        view = memoryview(chunk)
        while view:
            view = view[os.write(1, view) :]
        tail += chunk
        del tail[:-TAIL_BYTES]
