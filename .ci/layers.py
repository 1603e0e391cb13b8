"""Run targets of make one after the other; say how long each took, and fail when one fails.

python .ci/layers.py lint+test-fast test-runtime

Targets that a plus joins run side by side; what each prints comes when it ends. Join no target
whose tests hold answers to a time limit: it needs the machine for itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

Row = tuple[str, float, float, bool]


def run(targets: list[str]) -> list[Row]:
    """Run targets side by side; return the name, seconds, CPU seconds and success of each."""
    print(f"\n== make {', make '.join(targets)}", flush=True)
    started, rows, outputs, running = time.monotonic(), [], {}, {}
    for target in targets:
        output = tempfile.TemporaryFile() if len(targets) > 1 else None  # noqa: SIM115
        command = ["make", "--no-print-directory", target]
        process = subprocess.Popen(command, stdout=output, stderr=output and subprocess.STDOUT)
        outputs[process.pid], running[process.pid] = output, target
    while running:
        pid, status, used = os.wait4(-1, 0)
        target, output = running.pop(pid), outputs[pid]
        if output:
            output.seek(0)
            text = output.read().decode(errors="replace")
            print(f"\n-- make {target}\n{text}", end="", flush=True)
        rows.append((target, time.monotonic() - started, used.ru_utime + used.ru_stime, not status))
    return rows


def main(groups: list[str]) -> int:
    """Run every target, even after one has failed; return an exit code."""
    started = time.monotonic()
    rows = [row for group in groups for row in run(group.split("+"))]
    failed = [target for target, _, _, good in rows if not good]
    rows.append(("in all", time.monotonic() - started, sum(row[2] for row in rows), True))
    print()
    for name, seconds, processor, good in rows:
        result = "" if good else "failed"
        print(f"  {name:16} {seconds:6.0f} s {processor:6.0f} CPU s  {result}".rstrip())
    if failed:
        print(f"error: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
