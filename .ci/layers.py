"""Run targets of make one after the other; say how long each took, and fail when one fails.

python .ci/layers.py lint test-fast
"""

from __future__ import annotations

import os
import subprocess
import sys
import time


def main(targets: list[str]) -> int:
    """Run every target, even after one has failed; return an exit code."""
    rows, failed = [], []
    for target in targets:
        print(f"\n== make {target}", flush=True)
        started, before = time.monotonic(), os.times()
        if subprocess.run(["make", "--no-print-directory", target], check=False).returncode:
            failed.append(target)
        after = os.times()
        user = after.children_user - before.children_user
        system = after.children_system - before.children_system
        rows.append((target, time.monotonic() - started, user + system))
    rows.append(("in all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    print()
    for name, seconds, processor in rows:
        result = "failed" if name in failed else ""
        print(f"  {name:16} {seconds:6.0f} s {processor:6.0f} CPU s  {result}".rstrip())
    if failed:
        print(f"error: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
