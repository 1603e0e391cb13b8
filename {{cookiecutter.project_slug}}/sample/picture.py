"""The picture of a measurement: figures as dots on one scale, with the machine and the date."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.job.resources import cpu_count
from runtime.training.report import templates

Group = tuple[str, Sequence[tuple[str, float]]]  # a case, and the figure of each contestant

WIDTH, LEFT, RIGHT, LINE = 760, 220, 650, 22
CPU_INFO = Path("/proc/cpuinfo")


def machine() -> str:
    """Return what figures of today depend on: the CPU's model, the CPUs, the system, the date."""
    model = platform.machine()
    if CPU_INFO.is_file():
        lines = CPU_INFO.read_text(errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    today = datetime.date.today().isoformat()
    kernel = platform.release().partition("-")[0]  # what follows names a build, not a kernel
    return f"{model}, {cpu_count()} CPUs, {platform.system()} {kernel}; {today}"


def draw(path: Path, title: str, notes: Sequence[str], unit: str, groups: Sequence[Group]) -> None:
    """Write an SVG: a dot per contestant and case, all on one logarithmic axis in `unit`.

    `notes` are lines below the title. Figures are above 0.
    """
    figures = [value for _, values in groups for _, value in values]
    start = math.floor(math.log10(min(figures)))
    end = max(math.ceil(math.log10(max(figures))), start + 1)

    def place(value: float) -> float:
        return round(LEFT + (math.log10(value) - start) / (end - start) * (RIGHT - LEFT), 1)

    top = 40 + 18 * len(notes)
    y, lines = top, []
    for case, values in groups:
        y += LINE
        lines.append({"y": y, "case": case, "name": "", "x": 0.0, "figure": "", "colour": 0})
        for number, (name, value) in enumerate(values):
            y += LINE
            line: dict[str, Any] = {"y": y, "case": "", "name": name, "x": place(value)}
            lines.append(line | {"figure": _text(value), "colour": number % 6 + 1})
        y += LINE // 3
    powers = range(start, end + 1)
    ticks = [(place(10.0**power), f"{10.0**power:,.{max(0, -power)}f}") for power in powers]
    area = {"width": WIDTH, "left": LEFT, "right": RIGHT, "top": top, "bottom": y + LINE // 2}
    template = templates(Path(__file__).parent).get_template("picture.svg.jinja")
    page = {"title": title, "notes": notes, "unit": unit, "lines": lines, "ticks": ticks}
    text = template.render(page, area=area)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def _text(value: float) -> str:
    """Return a figure with three digits, thousands apart."""
    decimals = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{decimals}f}" if decimals < 5 else f"{value:.3g}"
