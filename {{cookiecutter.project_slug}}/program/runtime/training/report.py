"""The report of a training job: one HTML page that needs no network and no other file."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.training import charts, evaluation
from runtime.training.charts import Chart, Series
from runtime.training.fit import Fit, Matrices

if TYPE_CHECKING:
    from jinja2 import Environment, Template

Array = NDArray[Any]
FEATURES = 20
TITLES = {
    "parity": "Largest difference from XGBoost",
    "speed": "Speed, microseconds per call",
    "contributions: times": "Contributions, microseconds per call",
    "calls: times": "Calls of oneDAL that batches are cut into, microseconds",
    "times": "Times that chose the engine, microseconds per call",
}


@dataclass(frozen=True)
class Facts:
    """What the page says of the job besides its fit."""

    project: str
    objective: str
    class_names: list[str]  # empty where the model predicts a number
    names: Sequence[str] | None  # of the model's columns
    hyperparameters: dict[str, Any]
    parity: dict[str, Any]  # what parity.json holds


@dataclass(frozen=True)
class Table:
    """Rows of values under a head, which may be empty."""

    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    title: str = ""

    @property
    def cells(self) -> list[tuple[tuple[str, bool], ...]]:
        """The rows as (text, whether it is a number), with the decimals of a column aligned."""
        columns = [_column(values) for values in zip(*self.rows, strict=True)]
        return list(zip(*columns, strict=True))


def _column(values: tuple[Any, ...]) -> list[tuple[str, bool]]:
    numbers = [abs(value) for value in values if _is_float(value) and np.isfinite(value)]
    digits = len(str(int(max(numbers, default=0.0)))) - 1
    return [(_text(value, max(0, 4 - digits)), _is_number(value)) for value in values]


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _is_number(value: Any) -> bool:
    return _is_float(value) or (isinstance(value, int | np.integer) and not isinstance(value, bool))


def _text(value: Any, decimals: int = 4) -> str:
    """Return the text of a cell; a number that the decimals would hide has an exponent."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if _is_float(value):
        if 0 < abs(value) < 10.0**-decimals or abs(value) >= 1e9:
            return f"{value:.3g}"
        return f"{value:,.{decimals}f}" if value else "0"
    return f"{value:,}" if _is_number(value) else str(value)


@functools.cache
def template() -> Template:
    """Return the page's template. Jinja is imported late: most that imports this draws no page."""
    return templates(Path(__file__).parent).get_template("report.html.jinja")


def templates(folder: Path) -> Environment:
    """Return the templates in `folder`, of HTML and SVG. Their tags have square brackets, because
    curly ones are those of the template that made this project."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
    )


def render(trained: Fit, matrices: Matrices, facts: Facts) -> str:
    """Return the page about a model and its predictions on the last of `matrices`."""
    channel, matrix = list(matrices.items())[-1]
    labels, weights = matrix.get_label(), matrix.get_weight()
    found = None
    page = evaluation.Evaluation()
    if labels.size:
        found = evaluation.Predictions.of(labels, trained.predictions, weights)
        page = evaluation.evaluate(found, facts.objective, facts.class_names)
    return template().render(
        facts=facts,
        trained=trained,
        channel=channel,
        found=found,
        page=page,
        scores=Table((), list(page.scores.items())),
        classes=Table(page.head, page.classes, "By class"),
        data=_data(matrices, facts.class_names),
        metrics=_metrics(trained),
        learning=_learning(trained),
        importance=_importance(trained, facts.names),
        parity=_parity(facts.parity),
        hyperparameters=Table((), [(key, _text(it)) for key, it in facts.hyperparameters.items()]),
        area=charts,
    )


def _data(matrices: Matrices, class_names: list[str]) -> list[Table]:
    """Return the sizes of the data sets, and the distributions of their labels."""
    labels = {name: matrix.get_label() for name, matrix in matrices.items()}
    size = [(name, matrix.num_row(), matrix.num_col()) for name, matrix in matrices.items()]
    if not class_names:
        head = ("data set", "rows", "columns", "mean label", "std", "minimum", "maximum")
        spread = [
            (float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64)), y.min(), y.max())
            if y.size
            else ("",) * 4
            for y in labels.values()
        ]
        return [Table(head, [(*a, *b) for a, b in zip(size, spread, strict=True)])]
    shown = class_names[: evaluation.CLASSES]
    columns: list[list[Any]] = [shown]
    for y in labels.values():
        known = y > 0.5 if len(class_names) == 2 else y
        counts = np.bincount(known.astype(np.int64), minlength=len(class_names))[: len(shown)]
        columns += [counts.tolist(), [f"{share:.1%}" for share in counts / max(y.size, 1)]]
    heads = [part for name in labels for part in (f"{name}: rows", "share")]
    table = Table(("class", *heads), list(zip(*columns, strict=True)))
    return [Table(("data set", "rows", "columns"), size), table]


def _by_metric(trained: Fit) -> dict[str, list[str]]:
    """Return the names of the data sets that each metric was computed on."""
    names: dict[str, list[str]] = {}
    for key in trained.scores:
        channel, metric = key.split("-", 1)
        names.setdefault(metric, []).append(channel)
    return names


def _metrics(trained: Fit) -> Table:
    found = _by_metric(trained)
    channels = list(dict.fromkeys(name for names in found.values() for name in names))
    rows = [
        (metric, *(trained.scores.get(f"{name}-{metric}", "") for name in channels))
        for metric in found
    ]
    return Table(("metric", *channels), rows)


def _learning(trained: Fit) -> list[Chart]:
    """Return a chart of each metric by round, with the model's round marked."""
    drawn = []
    rounds = np.arange(len(trained.history))
    mark = (float(trained.best), f"model: round {trained.best}")
    for metric, channels in _by_metric(trained).items():
        series = [
            Series(name, rounds, np.array([each[f"{name}-{metric}"] for each in trained.history]))
            for name in channels
        ]
        ends = (0.0, float(max(len(rounds) - 1, 1)))
        drawn.append(
            charts.chart(metric, ("round", metric), series, ends, None, mark, (True, False))
        )
    return [each for each in drawn if each]


def _importance(trained: Fit, names: Sequence[str] | None) -> Table:
    """Return the features with the largest total gain (of a linear model: weight)."""
    linear = "gblinear" in trained.booster.save_config()
    kind = "weight" if linear else "total_gain"
    scores = trained.booster.get_score(importance_type=kind)
    flat = {key: float(np.abs(np.asarray(value)).max()) for key, value in scores.items()}
    splits = {} if linear else trained.booster.get_score(importance_type="weight")
    total = sum(flat.values()) or 1.0
    # The booster itself has no names when XGBoost refuses one of them.
    positions = {f"f{number}": name for number, name in enumerate(names or ())}
    rows = [
        (
            positions.get(key, key),
            value,
            *((int(np.max(splits[key])),) if splits else ()),
            value / total,
        )
        for key, value in sorted(flat.items(), key=lambda entry: -entry[1])[:FEATURES]
    ]
    columns = ("absolute weight",) if linear else ("total gain", "splits")
    return Table(("feature", *columns, "share"), rows, f"{len(flat):,} features are used.")


def _parity(parity: dict[str, Any]) -> list[Table]:
    """Return the report of the engine's choice: single facts, then a table for each list."""
    facts: list[tuple[Any, ...]] = []
    tables = []
    for name, value in _flat(parity):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = [tuple(entry.values()) for entry in value]
            tables.append(Table(tuple(value[0]), rows, TITLES.get(name, name)))
        elif value not in (None, []):
            facts.append((name, _text(value)))
    return [Table((), facts), *tables] if facts else tables


def _flat(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a document; those of an inner one as "outer: inner"."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from ((f"{name}: {key}", entry) for key, entry in value.items())
        else:
            yield name, value
