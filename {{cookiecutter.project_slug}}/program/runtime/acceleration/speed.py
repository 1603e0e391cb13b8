"""How much faster one engine is: both timed in turn, A B A B, so that a noisy machine hits both."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from runtime.acceleration.engines import Engine, Floats

SIZES = (1, 32, 1000)
ROUNDS = 9
SLICE = 0.01  # seconds that one engine runs before the other's turn
TIME_BOX = 3.0  # seconds for all sizes; three rounds are made whatever they take


def compare(engine: Engine, reference: Engine, rows: Floats) -> list[dict[str, Any]]:
    """Return for each size the median microseconds of a call, and the median ratio."""
    deadline = time.perf_counter() + TIME_BOX
    many = np.ascontiguousarray(rows[np.arange(max(SIZES)) % len(rows)])
    results = []
    for size in SIZES:
        batch = many[:size]
        pairs: list[tuple[float, float]] = []
        while len(pairs) < ROUNDS and (len(pairs) < 3 or time.perf_counter() < deadline):
            pairs.append((_timed(engine, batch), _timed(reference, batch)))
        results.append(
            {
                "rows": size,
                engine.name: round(statistics.median(mine for mine, _ in pairs) * 1e6, 1),
                reference.name: round(statistics.median(other for _, other in pairs) * 1e6, 1),
                "ratio": round(statistics.median(other / mine for mine, other in pairs), 2),
            }
        )
    return results


def _timed(engine: Engine, rows: Floats) -> float:
    """Return the mean seconds of a prediction, over a slice of time."""
    engine.predict(rows)  # warms the caches that the other engine has just filled
    calls, started = 0, time.perf_counter()
    while True:
        engine.predict(rows)
        calls += 1
        elapsed = time.perf_counter() - started
        if elapsed >= SLICE:
            return elapsed / calls
