"""SHAP values ("contributions"): oneDAL's where they are XGBoost's, through whichever is faster.

To explain a row takes as long as to predict a hundred, so the calls that prove oneDAL's values are
timed meanwhile. Before version 3.3 XGBoost takes twice oneDAL's time; from then on it explains by
quadrature, and is the faster one with several rows.
"""

from __future__ import annotations

import logging
import math
import time
from itertools import cycle, islice
from typing import Any

import numpy as np

from runtime.acceleration import comparison, tuning
from runtime.acceleration.engines import Engine, Floats, OneDALEngine, XGBoostEngine

SECONDS = 0.02  # of CPU time for all calls after the first of each size
CALLS = 7  # of each size and engine at most

Cases = list[tuple[str, Floats]]

log = logging.getLogger(__name__)


def choose(
    engine: OneDALEngine, reference: XGBoostEngine, cases: Cases, *, require: bool = False
) -> tuple[Engine, dict[str, Any]]:
    """Return what explains, by the number of rows, and what was compared and timed.

    From then on `engine` itself takes XGBoost's values unless its own are proven. With `require`
    oneDAL explains whatever it can.
    """
    try:
        found, report = _compare(engine, reference, _rows(cases))
    except Exception as error:
        log.debug("contributions of oneDAL were given up", exc_info=error)
        engine.shap = False
        found, report = reference, {"reason": f"the check failed: {type(error).__name__}: {error}"}
    if require and engine.shap:
        found = engine
    level = logging.INFO if engine.shap else logging.WARNING
    log.log(level, "contributions come from %s: %s", found.name, report["reason"])
    return found, {"engine": found.name, **report}


def _compare(
    engine: OneDALEngine, reference: XGBoostEngine, rows: Floats
) -> tuple[Engine, dict[str, Any]]:
    (mine, theirs), seconds = _measure([engine, reference], rows)
    report: dict[str, Any] = {**comparison.check_contributions(mine, theirs, engine.margins(rows))}
    worst = max(report["onedal_sum_to_margin"], report["difference"])
    engine.shap = worst <= comparison.CONTRIBUTION
    report["times"] = [
        {
            "rows": size,
            engine.name: round(own * 1e6, 1),
            reference.name: round(other * 1e6, 1),
            "ratio": round(other / max(own, 1e-9), 2),
        }
        for size, (own, other) in seconds.items()
    ]
    if not engine.shap:
        report["reason"] = f"oneDAL's values differ from XGBoost's by {worst:.3g} of the largest"
        return reference, report
    fastest = tuning.fastest(report["times"], engine, reference)
    ratios = ", ".join(f"{row['ratio']} with {row['rows']}" for row in report["times"])
    report["reason"] = f"oneDAL gives XGBoost's values; XGBoost's time over oneDAL's: {ratios} rows"
    return fastest, report


def _rows(cases: Cases) -> Floats:
    """Return a few rows of different kinds: plain ones, on thresholds, with missing cells."""
    plain, at_splits, with_missing = (rows for _, rows in cases[:3])
    return np.concatenate([plain[:2], at_splits[:1], with_missing[-1:]])


def _measure(engines: list[Engine], rows: Floats) -> tuple[list[Floats], dict[int, list[float]]]:
    """Return each engine's values of the rows, and its least CPU seconds for one row and for all.

    The first call for one row fills the caches. After a call of each size there are none that would
    not fit into SECONDS.
    """
    end = time.thread_time() + SECONDS
    sizes = (1, len(rows))
    best = {size: [math.inf] * len(engines) for size in sizes}
    values: list[Floats] = []
    for size in islice(cycle(sizes), CALLS * len(sizes)):
        if values and time.thread_time() + sum(best[size]) > end:
            break
        found = []
        for number, engine in enumerate(engines):
            start = time.thread_time()
            found.append(engine.contributions(rows[:size]))
            best[size][number] = min(best[size][number], time.thread_time() - start)
        if size == len(rows):
            values = found
    return values, best
