"""Paired measurement: contestants take turns, A B C A B C, and only ratios within a turn count.

On a shared machine the same server can be five times slower a minute later, so two absolute
figures prove nothing; the ratio of two neighbours in time does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles of the ratio of two contestants over all turns."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(
    contestants: Mapping[str, Callable[[], dict[str, float]]], turns: int
) -> dict[str, dict[str, list[float]]]:
    """Run every contestant once a turn, after one turn that does not count.

    Returns contestant -> figure -> one value a turn. Every other turn runs backwards, so that no
    contestant always comes first.
    """
    results: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    for turn in range(turns + 1):
        order = list(contestants) if turn % 2 else list(contestants)[::-1]
        for name in order:
            for figure, value in contestants[name]().items():
                if turn:
                    results[name].setdefault(figure, []).append(value)
    return results


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    """Return the spread of the pairwise ratios of two lists of the same turns."""
    values = np.asarray(numerator) / np.asarray(denominator)
    low, median, high = np.percentile(values, [25, 50, 75])
    return Ratio(float(median), float(low), float(high))
