"""Large requests on CPUs that nobody else uses.

A worker has one thread, since there are as many workers as CPUs. A large request that comes alone
leaves all but one of them idle: it is cut into parts that threads predict side by side, oneDAL's
work being free of the interpreter's lock. As soon as anything else runs, it stays whole, so no
other request waits for it. An explanation takes a hundred times as long, so it is cut by time, and
who else runs is asked again every few hundredths of a second.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from runtime.job import resources

LOAD = Path("/proc/loadavg")  # proc(5): its fourth field is running / all of the machine's threads
SMALLEST = 2_500  # rows of a part: fewer are predicted sooner than a thread wakes up
WORTH = 0.0005  # seconds of a part, where a row takes longer
LOOK = 0.05  # seconds of long work until the next look at who else runs

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
    return _in_parts(whole, rows, min(idle_cpus(), len(rows) // SMALLEST))


class LongWork:
    """Work that takes long per row, by one thread at a time: cut by what its rows took last."""

    def __init__(self) -> None:
        self._row = 0.0  # seconds; 0 = unknown

    def run(self, whole: Callable[[Floats], Floats], rows: Floats) -> Floats:
        """Return `whole(rows)`, like `predict`. The first row of the first call goes alone."""
        if len(rows) < 2:
            return whole(rows)
        answers = []
        while len(rows):
            count, parts = self._next(len(rows))
            start = perf_counter()
            answers.append(_in_parts(whole, rows[:count], parts))
            self._row = (perf_counter() - start) * parts / count
            rows = rows[count:]
        return np.concatenate(answers)

    def _next(self, left: int) -> tuple[int, int]:
        """Return how many rows come next, in how many parts."""
        if not self._row:
            return 1, 1
        parts = max(1, min(idle_cpus(), int(left * self._row / WORTH), left))
        return min(left, parts * math.ceil(LOOK / self._row)), parts


def _in_parts(whole: Callable[[Floats], Floats], rows: Floats, parts: int) -> Floats:
    if parts < 2:
        return whole(rows)
    return np.concatenate(list(_threads().map(whole, np.array_split(rows, parts))))


@cache
def _threads() -> ThreadPoolExecutor:
    """Start with the first large request: in a worker, never before the fork."""
    return ThreadPoolExecutor(resources.cpu_count(), "spread")
