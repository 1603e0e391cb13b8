"""Charts of the report: data scaled to the coordinates that report.html.jinja draws.

No package draws them. matplotlib is too large for the image and slow to import; pygal writes 26 KB
into each chart, 160 KB for 600 dots, in colours that do not follow the reader's light or dark page.
The template has one macro that draws any `Chart`; here is the scaling alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 408, 12, 232  # of the plotting area
POINTS = 400  # of a line: more than its pixels
BINS = 40
Range = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Values to draw: a line, dots, bars (`x` has one edge more than `y`) or a guide."""

    name: str
    x: Array
    y: Array
    kind: str = "line"


@dataclass(frozen=True)
class Shape:
    """A series in the coordinates of the picture."""

    name: str
    kind: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """What an axis measures, and its ticks: (coordinate, text)."""

    label: str
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Chart:
    """A picture: axes, shapes, and a round or value marked by a vertical line, with its text."""

    title: str
    x: Axis
    y: Axis
    shapes: list[Shape]
    mark: tuple[float, str] | None = None


def chart(
    title: str,
    labels: tuple[str, str],
    series: Sequence[Series],
    x_range: Range | None = None,
    y_range: Range | None = None,
    mark: tuple[float, str] | None = None,
    whole: tuple[bool, bool] = (False, False),
) -> Chart | None:
    """Return the chart of `series`, with axes that `labels` names; None if no value is finite.

    Values that are not finite are left out. A range that is not given is that of the values.
    `whole` says which axis counts something, and has ticks at whole numbers alone.
    """
    series = [_finite(each) for each in series]
    if not any(each.y.size for each in series):
        return None
    xs = x_range or _range([each.x for each in series])
    ys = y_range or _range([each.y for each in series], 0.04)
    shapes = [Shape(each.name, each.kind, _points(each, xs, ys)) for each in series]
    x_axis = Axis(labels[0], _ticks(xs, LEFT, RIGHT, whole[0]))
    y_axis = Axis(labels[1], _ticks(ys, BOTTOM, TOP, whole[1]))
    marked = (float(_scale(mark[0], xs, LEFT, RIGHT)), mark[1]) if mark else None
    return Chart(title, x_axis, y_axis, shapes, marked)


def histogram(title: str, labels: tuple[str, str], values: Array, name: str) -> Chart | None:
    """Return a chart of how many `values` [n] fall into each of some bins of equal width."""
    kept = values[np.isfinite(values)].astype(np.float64)  # large float32 leave no room for bins
    if not kept.size:
        return None
    ends = _range([kept])
    counts, edges = np.histogram(kept, bins=BINS, range=ends)
    top = (0.0, float(counts.max()) * 1.04)
    return chart(
        title, labels, [Series(name, edges, counts, "bars")], ends, top, None, (False, True)
    )


def _finite(series: Series) -> Series:
    if series.kind == "bars":
        return series
    kept = np.isfinite(series.x) & np.isfinite(series.y)
    return Series(series.name, series.x[kept], series.y[kept], series.kind)


def _range(values: list[Array], margin: float = 0.0) -> Range:
    """Return the ends of all values, with a margin as a share of their distance; of values that
    are equal, or nearly so, a range that has room for bins and ticks."""
    found = np.concatenate(values).astype(np.float64)
    low, high = float(found.min()), float(found.max())
    size = max(abs(low), abs(high))
    wider = (high - low) * margin if high - low > size * 1e-9 else max(size * 0.05, 1e-9)
    return low - wider, high + wider


def _scale(values: Any, ends: Range, start: float, end: float) -> Array:
    low, high = ends
    return np.asarray(start + (np.float64(values) - low) / (high - low) * (end - start))


def _points(series: Series, xs: Range, ys: Range) -> list[tuple[float, float]]:
    x, y = _scale(series.x, xs, LEFT, RIGHT), _scale(series.y, ys, BOTTOM, TOP)
    if series.kind == "bars":  # corners of the outline, from the left
        x = np.repeat(x, 2)
        y = np.concatenate([[BOTTOM], np.repeat(y, 2), [BOTTOM]])
    elif series.kind == "line" and x.size > POINTS:
        length = np.cumsum(np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0])))
        picked = np.unique(np.searchsorted(length, np.linspace(0, length[-1], POINTS)))
        x, y = x[picked], y[picked]
    return list(zip(x.round(1).tolist(), y.round(1).tolist(), strict=True))


def _ticks(ends: Range, start: float, end: float, whole: bool) -> list[tuple[float, str]]:
    """Return some four to seven round values between `ends`, where they are and how they read."""
    low, high = ends
    rough = max((high - low) / 5, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((size for size in (1, 2, 5) if size * power >= rough * 0.8), default=10)
    numbers = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    places = _scale(numbers * step, ends, start, end).round(1).tolist()
    return list(zip(places, _texts(numbers * step, step), strict=True))


def _texts(values: Array, step: float) -> list[str]:
    """Return the values with as many digits as tell neighbours apart."""
    largest, exponent = float(np.abs(values).max(initial=0.0)), math.floor(math.log10(step) + 1e-9)
    if step >= 1e-4 and largest < 1e6:
        return [f"{value + 0.0:,.{max(0, -exponent)}f}" for value in values]
    digits = max(0, math.floor(math.log10(largest or 1.0)) - exponent)
    return [
        f"{value + 0.0:.{digits}e}".replace("e+0", "e").replace("e-0", "e-") for value in values
    ]
