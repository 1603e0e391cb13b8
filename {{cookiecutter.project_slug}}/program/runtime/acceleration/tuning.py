"""What is faster on this processor, for this model: measured when a model is loaded.

How many rows oneDAL is best called with at a time (see calls.py); and where XGBoost itself is
faster, for a range of row counts, it answers. Both engines give the same answers, so a measurement
that the machine's noise has spoilt costs time and nothing else.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from runtime.acceleration.calls import STEP, Calls
from runtime.acceleration.engines import Engine, Floats, MixedEngine, OneDALEngine, XGBoostEngine

CALLS = (16, 32, 48, 64, 80, 96, 112, 128, 160, 240, 256, 320)  # rows: whole blocks of most sizes
PLAN_GAIN = 1.1  # of some number of rows: what tells blocks from noise
SIZES = (1, 32, 1000)  # rows of a call of both engines
CLEARLY = 0.95  # of oneDAL's time: what XGBoost must beat to be taken
PROBE_ROWS = max(CALLS)
TURNS, FEWEST = 7, 3  # of a comparison, and of one that has taken ENOUGH seconds
ENOUGH = 0.04
CLEAR = 1.5  # the faster of two engines in every turn: FEWEST turns tell
PLAN_TURNS = 8  # at least: the machine's noise must spare one call of each size
CALM = 4  # turns in which no size was faster than before, before there are enough of them
LOWER = 0.99  # of a size's least time: what counts as faster
SLICE = 0.001  # seconds of repeated calls that make a turn of one engine
PLAN_SECONDS = 0.15  # for all calls
PLAN_ENOUGH = 0.08  # after which FEWEST turns do
CHOICE_SECONDS = 0.3  # for all sizes
THOROUGH_SECONDS = 3.0  # the same, where somebody waits for the figures


def plan(engine: OneDALEngine, rows: Floats) -> dict[str, Any] | None:
    """Let `engine` cut batches where that pays.

    Returns from how many rows on calls are padded, the times of calls, and which of them are
    planned; or None.
    """
    deadline = time.thread_time() + PLAN_SECONDS
    sizes = [STEP, 1, *CALLS[1:]]  # one row after a few others: at the price of a loop
    engine.margins(rows[:STEP])  # fills the caches
    row = _mean(partial(engine.margins, rows[:STEP]), 1) / STEP
    while len(sizes) > 2 and row * sum(sizes) > PLAN_SECONDS / 2:
        sizes.pop()
    functions: list[Callable[[], object]] = [partial(engine.margins, rows[:size]) for size in sizes]
    least = _least(_turns(functions, deadline))
    if not least:
        return None
    seconds = dict(zip(sizes, least, strict=True))
    calls = Calls(seconds)
    if max(map(calls.gain, range(1, max(sizes)))) < PLAN_GAIN or not _is_exact(engine, rows, calls):
        return None
    engine.calls = calls
    padded = [count for count in range(1, max(sizes)) if sum(calls(count)) > count]
    times = [
        {"rows": size, "microseconds": round(taken * 1e6, 1), "planned": calls(size) == (size,)}
        for size, taken in sorted(seconds.items())
    ]
    return {"padded_from": min(padded, default=None), "times": times}


def sentence(found: dict[str, Any]) -> str:
    """Return in words what `plan` returned."""
    planned = [str(call["rows"]) for call in found["times"] if call["planned"] and call["rows"] > 1]
    text, first = f"oneDAL takes rows in calls of {', '.join(planned)}", found["padded_from"]
    return f"{text}; {first} and more are padded to one" if first else text


def _is_exact(engine: OneDALEngine, rows: Floats, calls: Calls) -> bool:
    """Return whether no answer changes by a bit where batches are padded, and where cut."""
    every = range(1, len(rows) + 1)
    padded = [count for count in every if sum(calls(count)) > count]
    cut = [count for count in every if len(calls(count)) > 1]
    counts = [*padded[:1], *padded[-1:], *cut[:1], *cut[-1:]]
    plain = [engine.predict(rows[:count]) for count in counts]
    engine.calls = calls
    planned = [engine.predict(rows[:count]) for count in counts]
    engine.calls = None
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, planned, strict=True))


def choose(
    engine: OneDALEngine, reference: XGBoostEngine, rows: Floats
) -> tuple[Engine, list[dict[str, Any]]]:
    """Return the engine that is never slower than XGBoost, and the comparison by rows.

    Sizes whose calls would not fit into the time are judged as the largest that did.
    """
    table = compare(engine, reference, rows, CHOICE_SECONDS, CLEAR)
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
    engine: OneDALEngine,
    reference: XGBoostEngine,
    rows: Floats,
    seconds: float,
    clear: float = math.inf,
) -> list[dict[str, Any]]:
    """Return for each of SIZES the median microseconds of both engines' calls, and the median of
    XGBoost's time over oneDAL's, turn by turn; without the sizes that `seconds` are too few for.

    A size has few turns where one engine is `clear` times as fast as the other in all of them.
    """
    deadline, cost = time.thread_time() + seconds, 0.0
    table: list[dict[str, Any]] = []
    for size in SIZES:
        left = deadline - time.thread_time()
        if table and cost * size / table[-1]["rows"] * (FEWEST + 1) > left:
            break
        batch = np.ascontiguousarray(rows[np.arange(size) % len(rows)])
        calls: list[Callable[[], object]] = [
            partial(each.predict, batch) for each in (engine, reference)
        ]
        turns = _some(_turns(calls, deadline, SLICE), TURNS, clear)
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
) -> Iterator[list[float]]:
    """Yield the CPU seconds of a call of each function, turn by turn until the deadline. With
    `seconds` a turn is the mean of as many calls, after one that fills the caches.

    Both engines work in the thread that calls them, and its CPU time leaves out what the machine
    did for others meanwhile.
    """
    counts = [int(seconds / max(_mean(f, 1), 1e-7)) + 1 if seconds else 1 for f in functions]
    while time.thread_time() <= deadline:
        yield [_mean(f, count) for f, count in zip(functions, counts, strict=True)]


def _some(turns: Iterator[list[float]], most: int, clear: float = math.inf) -> list[list[float]]:
    """Return `most` turns at most; fewer of what is slow, or where one of two functions takes
    `clear` times as long as the other in each of them."""
    found: list[list[float]] = []
    enough = time.thread_time() + ENOUGH
    for turn in turns:
        found.append(turn)
        settled = all(max(turn) > clear * min(turn) for turn in found)
        late = time.thread_time() > enough
        if len(found) >= (FEWEST if settled or late else most):
            break
    return found


def _least(turns: Iterator[list[float]]) -> list[float]:
    """Return the least time of each function, of as many turns as it takes to find it."""
    least: list[float] = []
    calm, enough = 0, time.thread_time() + PLAN_ENOUGH
    for number, turn in enumerate(turns, 1):
        before, least = least or turn, [min(pair) for pair in zip(least or turn, turn, strict=True)]
        lower = any(now < LOWER * then for now, then in zip(least, before, strict=True))
        calm = 0 if lower else calm + 1
        if number >= FEWEST and time.thread_time() > enough:
            break
        if number >= PLAN_TURNS and calm >= CALM:
            break
    return least


def _mean(function: Callable[[], object], calls: int) -> float:
    """Return the mean CPU seconds of a call."""
    before = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - before) / calls
