"""What the report shows of a model's predictions, by kind of objective: scores, charts, tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.training import curves, metrics
from runtime.training.charts import Chart, Series, chart, histogram

Array = NDArray[Any]
ROWS = 100_000  # a sample of more rows: it says the same, and all of them need memory to sort
CLASSES = 20  # of the confusion matrix and of the table
LINES = 5  # classes with a curve of their own
DOTS = 600
UNIT = (0.0, 1.0)
SQUARE = (-0.02, 1.02)
DIAGONAL = np.array([0.0, 1.0])


@dataclass(frozen=True)
class Predictions:
    """The predictions of a data set that has labels.

    `labels` [n], `values` [n] or [n, k] as Booster.predict returns them, `weights` float64 [n].
    """

    labels: Array
    values: Array
    weights: Array
    weighted: bool  # otherwise every weight is 1
    rows: int  # of the whole data set

    @classmethod
    def of(cls, labels: Array, values: Array, weights: Array) -> Predictions:
        """Take at most ROWS rows, evenly, without NaN predictions; empty `weights` are 1."""
        picked = np.linspace(0, labels.size - 1, min(ROWS, labels.size)).astype(np.int64)
        defined = ~np.isnan(values[picked].reshape(picked.size, -1)).any(axis=1)
        picked = picked[defined]
        ones = np.ones(picked.size)
        chosen = weights[picked].astype(np.float64) if weights.size else ones
        return cls(labels[picked], values[picked], chosen, bool(weights.size), labels.size)


@dataclass(frozen=True)
class Confusion:
    """Rows by true class (down) and predicted class (across): int [k, k] of the first classes."""

    names: list[str]
    rows: list[list[int]]
    shares: list[list[float]]  # of the true class
    hidden: int  # classes that are not shown


@dataclass
class Evaluation:
    """What the page shows of predictions."""

    scores: dict[str, float] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)
    confusion: Confusion | None = None
    head: tuple[str, ...] = ()  # of the table by class
    classes: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, drawn: Chart | None) -> None:
        """Add a chart, if there was something to draw."""
        if drawn:
            self.charts.append(drawn)


def evaluate(found: Predictions, objective: str, names: list[str]) -> Evaluation:
    """Return what there is to show; `names` are those of the classes, empty for a number.

    Ranks have no right value for a row, and times until an event may be censored: nothing then.
    """
    page = Evaluation()
    if not found.labels.size or objective.startswith(("rank:", "survival:")):
        return page
    if not names:
        _numbers(page, found, objective)
        return page
    _classes(page, found, objective, names)
    if objective in ("binary:hinge", "multi:softmax"):  # they predict classes, without a score
        return page
    if len(names) == 2:
        _binary(page, found, objective, names)
    elif found.values.ndim == 2:
        _many(page, found, names)
    return page


def _numbers(page: Evaluation, found: Predictions, objective: str) -> None:
    values = found.values
    if values.ndim == 2:  # several quantiles or expectiles: the middle one
        values = values[:, values.shape[1] // 2]
    labels, values = found.labels.astype(np.float64), values.astype(np.float64)
    page.scores |= curves.regression(labels, values, found.weights)
    some = np.linspace(0, labels.size - 1, min(DOTS, labels.size)).astype(int)
    ends = np.array([min(labels.min(), values.min()), max(labels.max(), values.max())])
    dots = [Series("", labels[some], values[some], "dots"), Series("equal", ends, ends, "guide")]
    page.add(chart("Predicted against true values", ("true value", "predicted value"), dots))
    residuals = labels - values
    across = np.array([values[some].min(), values[some].max()])
    dots = [Series("", values[some], residuals[some], "dots")]
    dots.append(Series("no error", across, np.zeros(2), "guide"))
    page.add(chart("Residuals by prediction", ("predicted value", "true minus predicted"), dots))
    axes = ("true minus predicted", "rows")
    page.add(histogram("Distribution of residuals", axes, residuals, "rows"))


def _classes(page: Evaluation, found: Predictions, objective: str, names: list[str]) -> None:
    """Add what needs the predicted classes alone."""
    count, labels, values = len(names), found.labels, found.values
    truth, predicted = _truth(found, count), metrics.classes(values, objective)
    page.scores["accuracy"] = curves.accuracy(truth, predicted, found.weights)
    table = metrics.confusion(labels, values, objective, count, CLASSES)
    sums = metrics.counts(labels, values, objective, count)
    shares = table / np.maximum(sums[0, :CLASSES, None], 1)
    hidden = max(0, count - CLASSES)
    page.confusion = Confusion(names[:CLASSES], table.tolist(), shares.tolist(), hidden)
    columns = (sums[0].tolist(), *(part.tolist() for part in metrics.by_class(sums)))
    page.head = ("class", "rows", "precision", "recall", "F1")
    page.classes = list(zip(names[:CLASSES], *(c[:CLASSES] for c in columns), strict=True))


def _truth(found: Predictions, count: int) -> Array:
    """Return the true classes, int64 [n]; two classes are told apart at 0.5, as XGBoost does."""
    labels = found.labels > 0.5 if count == 2 else found.labels
    return np.asarray(labels.astype(np.int64))


def _binary(page: Evaluation, found: Predictions, objective: str, names: list[str]) -> None:
    """Add curves and scores of the positive class, of probabilities or margins [n] or [n, 2]."""
    scores = found.values[:, 1] if found.values.ndim == 2 else found.values
    truth = _truth(found, 2) == 1
    rank = curves.ranking(truth, scores, found.weights)
    if rank.complete:
        page.scores["ROC AUC"] = curves.auc(rank)
        page.scores["average precision"] = curves.average_precision(rank)
    values = scores.astype(np.float64)
    if objective == "binary:logitraw":
        values = 1 / (1 + np.exp(-np.clip(values, -700, 700)))
    both = np.column_stack([1 - values, values])
    page.scores["log loss"] = curves.log_loss(truth.astype(int), both, found.weights)
    page.scores["Brier score"] = float(np.average((truth - values) ** 2, weights=found.weights))
    _curves(page, {names[1]: rank} if rank.complete else {})
    what = f"probability of {names[1]}"
    _calibration(page, truth, values, found.weights, (what, f"share of {names[1]}"))


def _many(page: Evaluation, found: Predictions, names: list[str]) -> None:
    """Add curves of each class against the others, and scores, of probabilities [n, k]."""
    truth = _truth(found, len(names))
    values = found.values.astype(np.float64)
    page.scores["log loss"] = curves.log_loss(truth, values, found.weights)
    ranks = {
        number: curves.ranking(truth == number, values[:, number], found.weights)
        for number in range(min(len(names), CLASSES))
    }
    areas = {number: curves.auc(rank) for number, rank in ranks.items() if rank.complete}
    if len(areas) == len(names):
        page.scores["ROC AUC, one against the rest, mean"] = float(np.mean(list(areas.values())))
    page.head += ("ROC AUC", "average precision")
    page.classes = [
        (*row, areas[number], curves.average_precision(ranks[number]))
        if number in areas
        else (*row, "", "")
        for number, row in enumerate(page.classes)
    ]
    frequent = np.argsort(-np.bincount(truth, minlength=len(names))[:CLASSES], kind="stable")
    drawn = sorted(number for number in frequent[:LINES].tolist() if number in areas)
    _curves(page, {names[number]: ranks[number] for number in drawn})
    winner = values.argmax(axis=1)
    confidence = values.max(axis=1)
    axes = ("probability of the predicted class", "share of rows predicted right")
    _calibration(page, winner == truth, confidence, found.weights, axes)


def _curves(page: Evaluation, ranks: dict[str, curves.Ranking]) -> None:
    """Draw ROC and precision-recall curves, one line per class."""
    if not ranks:
        return
    lines, steps = [], []
    for name, rank in ranks.items():
        lines.append(Series(f"{name} (AUC {curves.auc(rank):.4f})", *curves.roc(rank)))
        precision, recall = curves.precision_recall(rank)
        x = np.append(0.0, np.repeat(recall, 2)[:-1])  # constant between two recalls
        label = f"{name} (AP {curves.average_precision(rank):.4f})"
        steps.append(Series(label, x, np.repeat(precision, 2)))
    lines.append(Series("chance", DIAGONAL, DIAGONAL, "guide"))
    axes = ("false positive rate", "true positive rate")
    page.add(chart("ROC curve", axes, lines, SQUARE, SQUARE))
    page.add(chart("Precision-recall curve", ("recall", "precision"), steps, SQUARE, SQUARE))


def _calibration(
    page: Evaluation, truth: Array, values: Array, weights: Array, axes: tuple[str, str]
) -> None:
    """Draw the calibration curve and how many rows have which probability."""
    mean, share = curves.calibration(truth, values, weights)
    series = [Series("model", mean, share, "line"), Series("", mean, share, "dots")]
    series.append(Series("calibrated perfectly", DIAGONAL, DIAGONAL, "guide"))
    page.add(chart("Calibration curve", axes, series, SQUARE, SQUARE))
    page.add(histogram("Distribution of probabilities", (axes[0], "rows"), values, "rows"))
