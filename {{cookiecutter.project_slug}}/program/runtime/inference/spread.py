"""Large requests on CPUs that nobody else uses.

A worker has one thread, since there are as many workers as CPUs. A large request that comes alone
leaves all but one of them idle: it is cut into parts that threads predict side by side, oneDAL's
work being free of the interpreter's lock. As soon as anything else runs, it stays whole, so no
other request waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.job import resources

LOAD = Path("/proc/loadavg")  # proc(5): its fourth field is running / all of the machine's threads
SMALLEST = 2_500  # rows of a part: fewer are predicted sooner than a thread wakes up

Floats = NDArray[np.float32]


def idle_cpus() -> int:
    """Return how many CPUs this process could use now, its own included; 1 where none can tell."""
    try:
        running = int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1
    return min(resources.cpu_count(), (os.cpu_count() or 1) - running + 1)


def predict(whole: Callable[[Floats], Floats], rows: Floats) -> Floats:
    """Return `whole(rows)`, computed in parts on as many CPUs as are idle.

    `whole` must be safe in several threads, and treat every row alone.
    """
    parts = min(idle_cpus(), len(rows) // SMALLEST)
    if parts < 2:
        return whole(rows)
    return np.concatenate(list(_threads().map(whole, np.array_split(rows, parts))))


@cache
def _threads() -> ThreadPoolExecutor:
    """Start with the first large request: in a worker, never before the fork."""
    return ThreadPoolExecutor(resources.cpu_count(), "spread")
