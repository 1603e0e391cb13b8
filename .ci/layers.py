"""Run targets of make one after the other; say how long each took, and fail when one fails.

python .ci/layers.py lint+test-fast test-runtime

Targets that a plus joins run side by side; what each prints comes when it ends. Join no target
whose tests hold answers to a narrow time limit: it needs the machine for itself. What failed is
repeated at the very end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock

# A line of pytest's short summary; also of a pytest that a test has run and quotes.
FAILED_TEST = re.compile(r"(?:E +)*((?:FAILED|ERROR) \S.*)")
LAST_LINES = 15  # of a target that failed without such a line
WIDEST = 300  # characters of a line that is repeated
printing = Lock()


@dataclass
class Result:
    """What became of a target."""

    target: str
    seconds: float
    processor: float  # CPU seconds, of all its processes
    good: bool = True
    faults: tuple[str, ...] = ()  # the lines that say why it failed


def faults_of(lines: list[str]) -> tuple[str, ...]:
    """Return the failed tests that an output names, each once, or else its last lines."""
    named = [found[1] for line in lines if (found := FAILED_TEST.match(line))]
    chosen = dict.fromkeys(named) or [line for line in lines if line.strip()][-LAST_LINES:]
    return tuple(line[:WIDEST] for line in chosen)


def make(target: str, at_once: bool) -> Result:
    """Run a target; print what it prints at once, or when it ends."""
    started = time.monotonic()
    process = subprocess.Popen(
        ["make", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if at_once:
            print(line, end="", flush=True)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not at_once:
        with printing:
            print("\n".join(["", f"-- make {target}", *lines]), flush=True)
    seconds, processor = time.monotonic() - started, used.ru_utime + used.ru_stime
    return Result(target, seconds, processor, not status, faults_of(lines) if status else ())


def run(targets: list[str]) -> Iterable[Result]:
    """Run targets side by side."""
    print(f"\n== make {', make '.join(targets)}", flush=True)
    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(partial(make, at_once=len(targets) == 1), targets))


def main(groups: list[str]) -> int:
    """Run every target, even after one has failed; return an exit code."""
    started = time.monotonic()
    results = [result for group in groups for result in run(group.split("+"))]
    processor = sum(result.processor for result in results)
    print()
    for row in (*results, Result("in all", time.monotonic() - started, processor)):
        text = f"  {row.target:16} {row.seconds:6.0f} s {row.processor:6.0f} CPU s"
        print(text if row.good else f"{text}  failed")
    failed = [result for result in results if not result.good]
    for result in failed:
        print("\n".join([f"error: make {result.target} failed:", *result.faults]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
