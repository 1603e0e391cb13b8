"""A bar chart as one SVG file, drawn without any package."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, BAR, LABEL, VALUE = 760, 22, 300, 90
COLOURS = ("#1f6feb", "#8b949e", "#d29922", "#2da44e")


def bars(path: Path, title: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> None:
    """Write a chart of groups of bars: `rows` is (group, ((contestant, value), ...)), ...

    Bars are scaled within their group, since groups may differ a thousandfold; the figure stands
    at the end of each bar.
    """
    parts: list[str] = [f'<text x="10" y="24" font-size="16">{escape(title)}</text>']
    y = 44
    for group, values in rows:
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(group)}</text>')
        y += BAR
        largest = max(value for _, value in values) or 1.0
        for index, (name, value) in enumerate(values):
            length = (WIDTH - LABEL - VALUE) * value / largest
            colour = COLOURS[index % len(COLOURS)]
            parts.append(f'<text x="24" y="{y + 15}">{escape(name)}</text>')
            parts.append(
                f'<rect x="{LABEL}" y="{y + 2}" width="{length:.1f}" height="{BAR - 6}" '
                f'fill="{colour}"/>'
            )
            parts.append(f'<text x="{LABEL + length + 6:.1f}" y="{y + 15}">{value:,.0f}</text>')
            y += BAR
        y += 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" '
        'font-family="sans-serif" font-size="13">'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    path.write_text(head + "\n" + "\n".join(parts) + "\n</svg>\n", encoding="utf-8")
