"""What is faster on this processor, for this model: measured when a model is loaded.

oneDAL works in blocks of rows (32 on some processors, 80 on others); rows beyond the last whole
block cost several times as much each. Where a block padded with rows of zeros takes less time than
the rows that are left, they are padded. And where XGBoost itself is faster, for a range of row
counts, it answers. Both engines give the same answers, so a measurement that the machine's noise
has spoilt costs time and nothing else.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from runtime.acceleration.engines import Engine, Floats, MixedEngine, OneDALEngine, XGBoostEngine

BLOCKS = (16, 32, 48, 64, 80, 96, 128, 160)  # rows that may be a whole block
BLOCK_GAIN = 0.75  # of the time of one row less: what tells a block from a coincidence
SIZES = (1, 32, 1000)  # rows of a call of both engines
CLEARLY = 0.95  # of oneDAL's time: what XGBoost must beat to be taken
PROBE_ROWS = 2 * max(BLOCKS)
TURNS, FEWEST = 7, 3  # of a comparison, and of one that has taken ENOUGH seconds
ENOUGH = 0.02
SLICE = 0.001  # seconds of repeated calls that make a turn of one engine
PADDING_SECONDS = 0.15  # for all of the blocks
CHOICE_SECONDS = 0.3  # for all sizes
THOROUGH_SECONDS = 3.0  # the same, where somebody waits for the figures


def pad(engine: OneDALEngine, rows: Floats) -> dict[str, int] | None:
    """Let `engine` pad where it pays; return the block and from how many rows on, or None."""
    deadline = time.thread_time() + PADDING_SECONDS

    def times(*counts: int) -> list[float]:
        turns = _turns([partial(engine.margins, rows[:count]) for count in counts], deadline)
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
    """Return the engine that is never slower than XGBoost, and the comparison by rows.

    Sizes whose calls would not fit into the time are judged as the largest that did.
    """
    table = compare(engine, reference, rows, CHOICE_SECONDS)
    return fastest(table, engine, reference), table


def fastest(table: list[dict[str, Any]], engine: OneDALEngine, reference: XGBoostEngine) -> Engine:
    """Name the faster engine in each row of a comparison; return what is so for every size.

    Each row has `rows`, ascending, and `ratio`, XGBoost's time over oneDAL's.
    """
    engines: dict[str, Engine] = {engine.name: engine, reference.name: reference}
    for row in table:
        row["engine"] = reference.name if row["ratio"] < CLEARLY else engine.name
    winners = [str(row["engine"]) for row in table] or [engine.name]
    if len(set(winners)) == 1:
        return engines[winners[0]]
    # Between two sizes with different winners the change is at their geometric mean.
    sizes = [row["rows"] for row in table]
    starts = [0, *(round((a * b) ** 0.5) for a, b in pairwise(sizes))]
    steps = [
        (start, engines[name])
        for start, name, before in zip(starts, winners, ["", *winners], strict=False)
        if name != before
    ]
    return MixedEngine(steps)


def compare(
    engine: OneDALEngine, reference: XGBoostEngine, rows: Floats, seconds: float
) -> list[dict[str, Any]]:
    """Return for each of SIZES the median microseconds of both engines' calls, and the median of
    XGBoost's time over oneDAL's, turn by turn; without the sizes that `seconds` are too few for.
    """
    deadline, cost = time.thread_time() + seconds, 0.0
    table: list[dict[str, Any]] = []
    for size in SIZES:
        left = deadline - time.thread_time()
        if table and cost * size / table[-1]["rows"] * (FEWEST + 1) > left:
            break
        batch = np.ascontiguousarray(rows[np.arange(size) % len(rows)])
        turns = _turns(
            [partial(each.predict, batch) for each in (engine, reference)], deadline, SLICE
        )
        if len(turns) < FEWEST:
            break
        mine, other = (statistics.median(times) for times in zip(*turns, strict=True))
        cost = mine + other
        ratio = statistics.median(other / max(mine, 1e-9) for mine, other in turns)
        times = {engine.name: round(mine * 1e6, 1), reference.name: round(other * 1e6, 1)}
        table.append({"rows": size, **times, "ratio": round(ratio, 2)})
    return table


def _turns(
    functions: list[Callable[[], object]], deadline: float, seconds: float = 0.0
) -> list[list[float]]:
    """Return the CPU seconds of a call of each function by turn; few turns of what is slow, or
    none. With `seconds` a turn is the mean of as many calls, after one that fills the caches.

    Both engines work in the thread that calls them, and its CPU time leaves out what the machine
    did for others meanwhile.
    """
    counts = [int(seconds / max(_mean(f, 1), 1e-7)) + 1 if seconds else 1 for f in functions]
    turns: list[list[float]] = []
    enough = time.thread_time() + ENOUGH
    while len(turns) < TURNS:
        now = time.thread_time()
        if now > deadline or (now > enough and len(turns) >= FEWEST):
            break
        turns.append([_mean(f, count) for f, count in zip(functions, counts, strict=True)])
    return turns


def _mean(function: Callable[[], object], calls: int) -> float:
    """Return the mean CPU seconds of a call."""
    before = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - before) / calls
