"""The report of a training job: one HTML page that needs no network and no other file."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.training import metrics
from runtime.training.fit import Fit
from runtime.training.svg import bars, histogram, lines, scatter

Array = NDArray[Any]
SHOWN = 20  # features, and classes of the confusion matrix
POINTS = 600
TITLES = {"parity": "Largest difference from XGBoost", "speed": "Speed, microseconds a call"}

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { border-bottom: 1px solid #dde3ea; padding: .25rem .8rem .25rem 0; text-align: left;
  vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; padding-left: .6rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { max-width: 100%; height: auto; }
p.note { color: #5a6877; }
</style></head><body>
<h1>$title</h1>
<p>$summary</p>
$sections
</body></html>
""")


def render(
    trained: Fit,
    channel: str,
    labels: Array,
    predictions: Array,
    facts: dict[str, Any],
    parity: dict[str, Any],
) -> str:
    """Return the page. `labels` [n] and `predictions` [n] or [n, k] are of data set `channel`.

    `facts` has project, objective, num_classes, label_names, names (of the model's columns) and
    hyperparameters; `parity` is what parity.json holds.
    """
    sections = {
        "Metrics": _scores(trained),
        "Learning curves": _curves(trained),
        f"Predictions on {channel}": _fit_of(labels, predictions, facts),
        "Feature importance": _importance(trained, facts["names"]),
        "Serving: parity and speed": _parity(parity),
        "Hyperparameters": _table(list(facts["hyperparameters"].items())),
    }
    body = "".join(f"<h2>{escape(name)}</h2>\n{html}\n" for name, html in sections.items() if html)
    summary = (
        f"{facts['objective']}, {len(trained.history)} rounds, model of round {trained.best}; "
        f"served by {parity.get('engine', 'xgboost')}."
    )
    title = escape(f"Training report: {facts['project']}")
    return PAGE.substitute(title=title, summary=escape(summary), sections=body)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.6g}</td>'
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f'<td class="n">{value}</td>'
    return f"<td>{escape(str(value))}</td>"


def _table(rows: list[tuple[Any, ...]], head: tuple[str, ...] = ()) -> str:
    top = "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>" if rows else ""


def _parity(parity: dict[str, Any]) -> str:
    """Show the report of the engine's choice: single facts, then a table for each list."""
    facts: list[tuple[Any, ...]] = []
    tables = ""
    for name, value in parity.items():
        if isinstance(value, dict):
            facts += [(f"{name}: {key}", entry) for key, entry in value.items()]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            rows = [tuple(entry.values()) for entry in value]
            tables += f"<h3>{escape(TITLES.get(name, name))}</h3>" + _table(rows, tuple(value[0]))
        elif value not in (None, []):
            facts.append((name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return _table(facts) + tables


def _by_metric(trained: Fit) -> dict[str, list[str]]:
    """Return the names of the data sets that each metric was computed on."""
    names: dict[str, list[str]] = {}
    for key in trained.scores:
        channel, metric = key.split("-", 1)
        names.setdefault(metric, []).append(channel)
    return names


def _scores(trained: Fit) -> str:
    found = _by_metric(trained)
    channels = list(dict.fromkeys(name for names in found.values() for name in names))
    rows = [
        (metric, *(trained.scores.get(f"{name}-{metric}", "") for name in channels))
        for metric in found
    ]
    return _table(rows, ("metric", *channels))


def _curves(trained: Fit) -> str:
    charts = []
    for metric, channels in _by_metric(trained).items():
        series = {
            name: np.array([scores[f"{name}-{metric}"] for scores in trained.history])
            for name in channels
        }
        charts.append(lines(metric, series, trained.best))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _fit_of(labels: Array, predictions: Array, facts: dict[str, Any]) -> str:
    """Show a confusion matrix for classes, residuals for a number, nothing for ranks."""
    objective, count = facts["objective"], facts["num_classes"]
    if not labels.size or objective.startswith(("rank:", "survival:")):
        return ""
    if count > 1:
        table = metrics.confusion(labels, predictions, objective, count, SHOWN)
        names = facts["label_names"] or [str(number) for number in range(count)]
        return _confusion(table, list(names)[:SHOWN], count)
    if predictions.ndim == 2:  # several quantiles: the middle one
        predictions = predictions[:, predictions.shape[1] // 2]
    picked = np.linspace(0, labels.size - 1, min(POINTS, labels.size)).astype(int)
    return (
        '<div class="charts">'
        + scatter("predicted against true", labels[picked], predictions[picked])
        + histogram("residual: true minus predicted", labels - predictions)
        + "</div>"
    )


def _confusion(table: Array, names: list[str], count: int) -> str:
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = ""
    for name, numbers, parts in zip(names, table, share, strict=True):
        cells = "".join(
            f'<td class="n" style="background:rgba(47,111,183,{part * 0.6:.2f})">{number}</td>'
            for number, part in zip(numbers, parts, strict=True)
        )
        rows += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    more = f" The first {SHOWN} of {count} classes are shown." if count > SHOWN else ""
    note = f'<p class="note">True classes down, predicted classes across.{more}</p>'
    return f"{note}<table><tr><th></th>{head}</tr>{rows}</table>"


def _importance(trained: Fit, names: list[str] | None) -> str:
    """Show the total gain of each feature (of a linear model: its weight)."""
    linear = "gblinear" in trained.booster.save_config()
    kind = "weight" if linear else "total_gain"
    scores = trained.booster.get_score(importance_type=kind)
    flat = {key: float(np.abs(np.asarray(value)).max()) for key, value in scores.items()}
    top = sorted(flat.items(), key=lambda entry: -entry[1])[:SHOWN]
    if names:  # the booster itself has no names when XGBoost refuses one of them
        positions = {f"f{number}": name for number, name in enumerate(names)}
        top = [(positions.get(key, key), value) for key, value in top]
    return bars("absolute weight" if linear else "total gain", top)
