"""Charts as inline SVG: lines, bars, a scatter plot, a histogram."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH, HEIGHT, MARGIN = 460, 260, 58
COLOURS = ("#2f6fb7", "#d1662b", "#3b8f5a")
BINS = 40


def _figure(title: str, body: str, height: int = HEIGHT) -> str:
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'font-size="11" fill="#5a6877"><title>{escape(title)}</title>{body}</svg></figure>'
    )


def _scale(values: Array, low: float, high: float, start: float, end: float) -> Array:
    return start + (values - low) / ((high - low) or 1.0) * (end - start)


def _range(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _axes(x: tuple[float, float], y: tuple[float, float]) -> str:
    """Draw the frame with the ends of both ranges."""
    bottom, right = HEIGHT - MARGIN / 2, WIDTH - 10
    return (
        f'<path d="M{MARGIN} 10V{bottom}H{right}" fill="none" stroke="#9aa7b4"/>'
        f'<text x="{MARGIN}" y="{HEIGHT - 6}">{x[0]:.4g}</text>'
        f'<text x="{right}" y="{HEIGHT - 6}" text-anchor="end">{x[1]:.4g}</text>'
        f'<text x="{MARGIN - 4}" y="{bottom}" text-anchor="end">{y[0]:.4g}</text>'
        f'<text x="{MARGIN - 4}" y="18" text-anchor="end">{y[1]:.4g}</text>'
    )


def _points(x: Array, y: Array, xs: tuple[float, float], ys: tuple[float, float]) -> Array:
    across = _scale(x, *xs, MARGIN, WIDTH - 10)
    return np.column_stack([across, _scale(y, *ys, HEIGHT - MARGIN / 2, 10)])


def lines(title: str, series: dict[str, Array], marked: int) -> str:
    """Draw one line a series over its index; a dashed line marks the index `marked`."""
    ys = _range(np.concatenate(list(series.values())))
    xs = (0.0, float(max(len(values) for values in series.values()) - 1))
    body = _axes(xs, ys)
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        step = max(1, len(values) // 1000)
        index = np.arange(0, len(values), step)
        kept = index[np.isfinite(values[index])]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in _points(kept, values[kept], xs, ys))
        body += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        body += f'<text x="{WIDTH - 14}" y="{24 + 15 * number}" text-anchor="end" '
        body += f'fill="{colour}">{escape(name)}</text>'
    at = float(_scale(np.array(float(marked)), *xs, MARGIN, WIDTH - 10))
    body += f'<path d="M{at:.1f} 10V{HEIGHT - MARGIN / 2}" stroke="#9aa7b4" stroke-dasharray="4"/>'
    return _figure(title, body)


def scatter(title: str, x: Array, y: Array) -> str:
    """Draw points with the diagonal on which both are equal."""
    ends = _range(np.concatenate([x, y]))
    (a, b), (c, d) = _points(np.array(ends), np.array(ends), ends, ends)
    dots = "".join(
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2" fill="{COLOURS[0]}" fill-opacity=".5"/>'
        for px, py in _points(x, y, ends, ends)
    )
    diagonal = f'<path d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" stroke="#9aa7b4"/>'
    return _figure(title, _axes(ends, ends) + diagonal + dots)


def histogram(title: str, values: Array) -> str:
    """Draw how often values fall into each of some bins."""
    kept = values[np.isfinite(values)].astype(np.float64)  # large float32 leave no room for bins
    if not kept.size:
        return ""
    counts, edges = np.histogram(kept, bins=BINS)
    xs, ys = (float(edges[0]), float(edges[-1])), (0.0, float(counts.max()))
    corners = _points(edges[:-1], counts, xs, ys)
    width = (WIDTH - 10 - MARGIN) / BINS - 1
    floor = HEIGHT - MARGIN / 2
    boxes = "".join(
        f'<rect x="{px:.1f}" y="{py:.1f}" width="{width:.1f}" height="{floor - py:.1f}" '
        f'fill="{COLOURS[0]}"/>'
        for px, py in corners
    )
    return _figure(title, _axes(xs, ys) + boxes)


def bars(title: str, values: list[tuple[str, float]]) -> str:
    """Draw a horizontal bar for each named value; the largest fills the width."""
    if not values:
        return ""
    top = max(value for _, value in values) or 1.0
    body = ""
    for number, (name, value) in enumerate(values):
        y, width = 20 * number, value / top * (WIDTH - 230)
        label = name if len(name) <= 22 else name[:21] + "~"
        body += f'<text x="150" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
        body += f'<rect x="156" y="{y + 3}" width="{width:.1f}" height="14" fill="{COLOURS[0]}"/>'
        body += f'<text x="{160 + width:.1f}" y="{y + 14}">{value:.4g}</text>'
    return _figure(title, body, 20 * len(values) + 4)
