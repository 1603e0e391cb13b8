"""The results as Markdown and as a picture, and their places in README.md and docs/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.paired import Ratio
from sample import picture

PROJECT = "this project"
ROOT = Path(__file__).resolve().parents[2]
README, DETAILS, PICTURE = Path("README.md"), Path("docs/peers.md"), Path("docs/peers.svg")
BEGIN = "<!-- peers: written by `python -m benchmarks.peers --publish` -->"
END = "<!-- end of peers -->"


def case_name(rows: int, clients: int) -> str:
    """Return a point in words."""
    return f"{rows:,} row{'s' * (rows > 1)}, {clients} client{'s' * (clients > 1)}"


def number(value: float) -> str:
    """Return a figure with three significant digits or, from 100 on, none behind the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(*cells: str) -> str:
    """Return one row of a table."""
    return "| " + " | ".join(cells) + " |"


def spread(found: Mapping[str, float]) -> str:
    """Return a ratio with its quartiles."""
    return str(Ratio(**found))


def case_table(case: str, entry: Mapping[str, Any]) -> str:
    """Return all figures of one point, medians of its turns, as a table."""
    figures = entry["figures"]
    head = (case, *figures[PROJECT], "requests/s of this project / its")
    lines = [row(*head), "|---" + "|---:" * (len(head) - 1) + "|"]
    for name, found in figures.items():
        cells = [number(median(values)) for values in found.values()]
        ratios = entry["ratios"]
        lines.append(row(name, *cells, spread(ratios[name]) if name in ratios else ""))
    return "\n".join(lines)


def summary(results: Mapping[str, Any]) -> str:
    """Return the ratios of all points, and this project's requests per second, as a table."""
    cases = results["cases"]
    lines = [row("this project / peer", *cases), "|---" * (len(cases) + 1) + "|"]
    for name in next(iter(cases.values()))["ratios"]:
        lines.append(row(name, *(spread(entry["ratios"][name]) for entry in cases.values())))
    speeds = (median(entry["figures"][PROJECT]["requests/s"]) for entry in cases.values())
    lines.append(row("this project, requests/s", *map(number, speeds)))
    return "\n".join(lines)


def conditions(results: Mapping[str, Any]) -> str:
    """Return when, where, how long and on which versions the results were taken."""
    lines = [
        f"Machine and date: {results['machine']}. The client, {results['client']}, is on the same "
        f"machine. {results['turns']} turns of {results['seconds']} s.",
        "",
        *(
            f"- {name}: " + ", ".join(f"{package} {version}" for package, version in found.items())
            for name, found in results["versions"].items()
        ),
    ]
    return "\n".join(lines)


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Write the requests per second of all points as dots."""
    chart = [
        (case, [(name, median(found["requests/s"])) for name, found in entry["figures"].items()])
        for case, entry in results["cases"].items()
    ]
    turns = f"client: {results['client']}; medians of {results['turns']} paired turns"
    notes = (results["machine"], f"{turns}, higher is better")
    picture.draw(path, "Beside other servers", notes, "requests per second", chart)


def replace(path: Path, text: str) -> None:
    """Put `text` between the two markers of the file.

    Raises ValueError when the file lacks a marker.
    """
    whole = path.read_text("utf-8")
    head, begin, rest = whole.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: the line {BEGIN if not begin else END} is missing")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def publish(results: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write the table and the picture into README.md and docs/."""
    tables = [case_table(case, entry) for case, entry in results["cases"].items()]
    replace(
        root / README, f"\n{summary(results)}\n\n![requests per second of all servers]({PICTURE})\n"
    )
    replace(root / DETAILS, "\n" + "\n\n".join([conditions(results), *tables]) + "\n")
    draw(root / PICTURE, results)
