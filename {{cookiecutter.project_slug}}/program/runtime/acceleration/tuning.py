"""What is faster on this processor, for this model: measured once, when a model is loaded.

oneDAL works in blocks of rows (32 on some processors, 80 on others); rows beyond the last whole
block cost several times as much each. Where a block padded with rows of zeros takes less time than
the rows that are left, they are padded. And where XGBoost itself is faster, for a range of row
counts, it answers. Both engines give the same answers, so a measurement that the machine's noise
has spoilt costs time and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from runtime.acceleration.engines import Engine, Floats, MixedEngine, OneDALEngine, XGBoostEngine

BLOCKS = (16, 32, 48, 64, 80, 96, 128, 160)  # rows that may be a whole block
BLOCK_GAIN = 0.75  # of the time of one row less: what tells a block from a coincidence
SIZES = (1, 16, 256, 2048)  # rows of a call of both engines
CLEARLY = 0.95  # of oneDAL's time: what XGBoost must beat to be taken
PROBE_ROWS = 2 * max(BLOCKS)
CALLS = 7  # turns of a comparison; of a function's own times the least counts
FEWEST = 3  # turns that a comparison takes at least
SLICE = 0.02  # seconds of a comparison that needs no more turns
TIME_BOX = 0.15  # seconds for all of the blocks, and for all comparisons with XGBoost


def pad(engine: OneDALEngine, rows: Floats) -> dict[str, int] | None:
    """Let `engine` pad where it pays; return the block and from how many rows on, or None."""
    deadline = time.perf_counter() + TIME_BOX

    def times(*counts: int) -> list[float]:
        turns = _timed([partial(engine.margins, rows[:count]) for count in counts], deadline)
        return [min(times) for times in zip(*turns, strict=True)]

    for block in BLOCKS:
        found = times(block - 1, block)
        if not found:
            return None
        below, whole = found
        if whole > BLOCK_GAIN * below:
            continue
        low, high = 1, block - 1  # a padded block is slower than `low` rows, faster than `high`
        while high - low > 1:
            middle = (low + high) // 2
            pays = max(times(middle), default=0.0) > whole
            low, high = (low, middle) if pays else (middle, high)
        return _proven(engine, rows, block, high)
    return None


def _proven(engine: OneDALEngine, rows: Floats, block: int, first: int) -> dict[str, int] | None:
    """Turn padding on if no answer changes by a bit."""
    sizes = [n for n in (first, block - 1, block + first, 2 * block - 1) if n <= len(rows)]
    plain = [engine.predict(rows[:n]) for n in sizes]
    engine.block, engine.padded_from = block, first
    padded = [engine.predict(rows[:n]) for n in sizes]
    if all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, padded, strict=True)):
        return {"rows": block, "padded_from": first}
    engine.block = 0
    return None


def choose(
    engine: OneDALEngine, reference: XGBoostEngine, rows: Floats
) -> tuple[Engine, list[dict[str, Any]]]:
    """Return the engine that is never slower than XGBoost, and the times of both by rows.

    Sizes whose calls would not fit into the time box are judged as the largest that did.
    """
    deadline, table = time.perf_counter() + TIME_BOX, []
    engines: dict[str, Engine] = {engine.name: engine, reference.name: reference}
    for size in SIZES:
        batch = np.ascontiguousarray(rows[np.arange(size) % len(rows)])
        turns = _timed([partial(each.predict, batch) for each in engines.values()], deadline)
        if len(turns) < FEWEST:
            break
        # One turn that noise has spoilt is no reason to change: XGBoost must win them all.
        won = all(other < CLEARLY * mine for mine, other in turns)
        best = [round(min(times) * 1e6, 1) for times in zip(*turns, strict=True)]
        winner = reference if won else engine
        table.append({"rows": size, **dict(zip(engines, best, strict=True)), "engine": winner.name})
    winners = [str(row["engine"]) for row in table] or [engine.name]
    if len(set(winners)) == 1:
        return engines[winners[0]], table
    # Between two sizes with different winners the change is at their geometric mean.
    starts = [0, *(round((a * b) ** 0.5) for a, b in pairwise(SIZES))]
    steps = [
        (start, engines[name])
        for start, name, before in zip(starts, winners, ["", *winners], strict=False)
        if name != before
    ]
    return MixedEngine(steps), table


def _timed(functions: list[Callable[[], object]], deadline: float) -> list[list[float]]:
    """Return the CPU seconds of each function by turn; few turns of what is slow, or none.

    Both engines work in the thread that calls them, and its CPU time leaves out what the machine
    did for others meanwhile.
    """
    turns: list[list[float]] = []
    enough = time.perf_counter() + SLICE
    while len(turns) < CALLS:
        now = time.perf_counter()
        if now > deadline or (now > enough and len(turns) >= FEWEST):
            break
        turn = []
        for function in functions:
            before = time.thread_time()
            function()
            turn.append(time.thread_time() - before)
        turns.append(turn)
    return turns
