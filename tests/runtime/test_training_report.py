"""The report: its figures are scikit-learn's, its page is whole and needs nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from runtime.training import charts, curves, evaluation, report
from runtime.training.evaluation import Predictions, evaluate
from training_job import COLUMNS, csv_text, labels_for, numbers, simple_job

ROWS = 500


def drawn(seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, float32 probabilities [n, classes] with many ties, and weights."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, ROWS)
    margins = generator.normal(size=(ROWS, classes)).round(1)
    margins[np.arange(ROWS), labels] += 1
    shares = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    return labels, shares.astype(np.float32), generator.integers(1, 5, ROWS).astype(np.float64)


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_and_areas_are_those_of_scikit_learn(weighted: bool) -> None:
    labels, shares, weights = drawn(0)
    weights = weights if weighted else np.ones(ROWS)
    truth, scores = labels == 1, shares[:, 1]
    rank = curves.ranking(truth, scores, weights)
    false, true, _ = sklearn_metrics.roc_curve(
        truth, scores, sample_weight=weights, drop_intermediate=False
    )
    np.testing.assert_allclose(curves.roc(rank), (false, true), rtol=1e-12)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(
        truth, scores, sample_weight=weights
    )
    expected = (precision[:-1][::-1], recall[:-1][::-1])
    np.testing.assert_allclose(curves.precision_recall(rank), expected, rtol=1e-12)
    area = sklearn_metrics.roc_auc_score(truth, scores, sample_weight=weights)
    assert curves.auc(rank) == pytest.approx(area, rel=1e-12)
    area = sklearn_metrics.average_precision_score(truth, scores, sample_weight=weights)
    assert curves.average_precision(rank) == pytest.approx(area, rel=1e-12)


def test_the_calibration_curve_is_that_of_scikit_learn() -> None:
    labels, shares, _ = drawn(1)
    share, mean = calibration_curve(labels, shares[:, 1], n_bins=curves.BINS)
    found = curves.calibration(labels == 1, shares[:, 1], np.ones(ROWS))
    np.testing.assert_allclose(found, (mean, share), rtol=1e-6)


def test_a_weight_counts_as_so_many_rows_in_the_calibration_curve() -> None:
    labels, shares, weights = drawn(2)
    times = weights.astype(int)
    repeated = (np.repeat(labels == 1, times), np.repeat(shares[:, 1], times))
    found = curves.calibration(labels == 1, shares[:, 1], weights)
    expected = curves.calibration(*repeated, np.ones(times.sum()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw"])
def test_scores_of_two_classes_are_those_of_scikit_learn(objective: str, weighted: bool) -> None:
    labels, shares, weights = drawn(3)
    scores = shares[:, 1]
    probabilities = scores.astype(np.float64)
    if objective == "binary:logitraw":
        scores = np.log(scores / (1 - scores))
        probabilities = 1 / (1 + np.exp(-scores.astype(np.float64)))
    found = Predictions.of(labels, scores, weights if weighted else np.zeros(0))
    options = {"sample_weight": weights if weighted else None}
    page = evaluate(found, objective, ["no", "yes"])
    predicted = probabilities > 0.5
    assert page.scores == pytest.approx(
        {
            "accuracy": sklearn_metrics.accuracy_score(labels, predicted, **options),
            "ROC AUC": sklearn_metrics.roc_auc_score(labels, scores, **options),
            "average precision": sklearn_metrics.average_precision_score(labels, scores, **options),
            "log loss": sklearn_metrics.log_loss(labels, probabilities, **options),
            "Brier score": sklearn_metrics.brier_score_loss(labels, probabilities, **options),
        },
        rel=1e-9,
    )
    assert page.confusion is not None
    expected = sklearn_metrics.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(page.confusion.rows, expected)
    assert [chart.title for chart in page.charts] == [
        "ROC curve",
        "Precision-recall curve",
        "Calibration curve",
        "Distribution of probabilities",
    ]


def test_scores_of_many_classes_are_those_of_scikit_learn() -> None:
    labels, shares, _ = drawn(4, classes=7)
    names = list("abcdefg")
    page = evaluate(Predictions.of(labels, shares, np.zeros(0)), "multi:softprob", names)
    predicted = shares.argmax(axis=1)
    wide = shares.astype(np.float64) / shares.astype(np.float64).sum(axis=1, keepdims=True)
    area = "ROC AUC, one against the rest, mean"
    assert page.scores["accuracy"] == sklearn_metrics.accuracy_score(labels, predicted)
    assert page.scores["log loss"] == pytest.approx(sklearn_metrics.log_loss(labels, wide), 1e-6)
    by_class = [sklearn_metrics.roc_auc_score(labels == n, shares[:, n]) for n in range(7)]
    assert page.scores[area] == pytest.approx(np.mean(by_class))
    precision, recall, f1, rows = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    expected = list(zip(rows, precision, recall, f1, by_class, strict=True))
    np.testing.assert_allclose([row[1:6] for row in page.classes], expected)
    assert [row[0] for row in page.classes] == names
    lines = [shape for shape in page.charts[0].shapes if shape.kind == "line"]
    assert len(lines) == evaluation.LINES


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_of_a_number_are_those_of_scikit_learn(weighted: bool) -> None:
    generator = np.random.default_rng(5)
    labels = (generator.normal(size=ROWS) * 1e4 + 1e6).astype(np.float32)
    values = (labels + generator.normal(size=ROWS) * 1e3).astype(np.float32)
    weights = generator.random(ROWS) if weighted else np.zeros(0)
    page = evaluate(Predictions.of(labels, values, weights), "reg:squarederror", [])
    y, p = labels.astype(np.float64), values.astype(np.float64)
    options = {"sample_weight": weights if weighted else None}
    assert page.scores == pytest.approx(
        {
            "RMSE": sklearn_metrics.root_mean_squared_error(y, p, **options),
            "MAE": sklearn_metrics.mean_absolute_error(y, p, **options),
            "R2": sklearn_metrics.r2_score(y, p, **options),
        },
        rel=1e-9,
    )


@pytest.mark.parametrize(
    ("objective", "values", "names"),
    [
        ("rank:ndcg", [0.1, 0.2, 0.3], []),
        ("survival:aft", [0.1, 0.2, 0.3], []),
        ("binary:hinge", [0, 1, 1], ["0", "1"]),
        ("multi:softmax", [0, 2, 1], ["0", "1", "2"]),
        ("multi:softmax", [0, 1, 1], ["0", "1"]),
    ],
)
def test_no_curve_is_drawn_of_what_is_no_score(
    objective: str, values: list[float], names: list[str]
) -> None:
    found = Predictions.of(np.array([0, 1, 1.0]), np.array(values), np.zeros(0))
    page = evaluate(found, objective, names)
    assert page.charts == []
    assert set(page.scores) == ({"accuracy"} if names else set())


def test_one_class_alone_has_no_area() -> None:
    found = Predictions.of(np.ones(4), np.array([0.2, 0.4, 0.4, 0.9]), np.zeros(0))
    page = evaluate(found, "binary:logistic", ["0", "1"])
    assert set(page.scores) == {"accuracy", "log loss", "Brier score"}


def test_many_rows_are_sampled_and_undefined_predictions_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "ROWS", 100)
    values = np.arange(1000.0)
    values[0] = np.nan
    found = Predictions.of(values + 1, values, np.zeros(0))
    assert (found.rows, found.labels.size) == (1000, 99)
    assert found.labels[-1] == 1000
    assert evaluate(found, "reg:squarederror", []).scores["RMSE"] == 1


WIDE = st.floats(-(2.0**126), 2.0**126, width=32)


@given(st.lists(st.tuples(WIDE, st.one_of(WIDE, st.just(float("nan")))), min_size=1, max_size=9))
def test_any_values_are_drawn_inside_the_axes(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    for kind in ("line", "dots"):
        chart = charts.chart("t", ("x", "y"), [charts.Series("s", x, y, kind)])
        if chart is None:
            assert np.isnan(y).all()
            continue
        assert len(chart.shapes[0].points) == np.isfinite(y).sum()
        for at, high in chart.shapes[0].points:
            assert charts.LEFT <= at <= charts.RIGHT
            assert charts.TOP <= high <= charts.BOTTOM
        for axis, low, high in (
            (chart.x, charts.LEFT, charts.RIGHT),
            (chart.y, charts.TOP, charts.BOTTOM),
        ):
            assert all(low - 0.1 <= at <= high + 0.1 for at, _ in axis.ticks)
            texts = [text for _, text in axis.ticks]
            assert len(set(texts)) == len(texts) <= 9
    assert charts.histogram("t", ("x", "rows"), x, "rows") is not None


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 2, True, ["0", "1", "2"]),
        (-3, 12_345, True, ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        (1.7e9, 1.7e9 + 250, False, ["1.70000000e9", "1.70000005e9", "1.70000010e9",
                                     "1.70000015e9", "1.70000020e9", "1.70000025e9"]),
        (2e-7, 9e-7, False, ["2e-7", "4e-7", "6e-7", "8e-7"]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_tell_their_values_apart(
    low: float, high: float, whole: bool, expected: list[str]
) -> None:
    line = charts.Series("", np.array([low, high]), np.array([0.0, 1.0]))
    chart = charts.chart("t", ("x", "y"), [line], (low, high), whole=(whole, False))
    assert chart is not None
    assert [text for _, text in chart.x.ticks] == expected


class Balance(HTMLParser):
    """Checks that every element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "binary:logistic", "label_names": '<b>no</b>,yes & "no"'},
        {"objective": "multi:softprob", "num_class": "3"},
        {"objective": "reg:squarederror"},
    ],
    ids=lambda options: options["objective"],
)
def test_the_page_is_whole(tmp_path: Path, options: dict[str, str]) -> None:
    job = simple_job(tmp_path, **options)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    page = (tmp_path / "output" / "data" / "report.html").read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<b>" not in page
    assert not re.search(r"https?:|<script|src=|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) >= 4
    for picture in pictures:
        tree = xml.etree.ElementTree.fromstring(picture)
        names = [each.text for each in tree.iter("text") if each.get("class") == "name"]
        assert len(names) == 2
        assert all(names)
        assert len(list(tree.iter("text"))) > 6
        assert "nan" not in picture
        assert "inf" not in picture


def test_the_page_shows_predictions_that_training_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    predict, render = xgboost.Booster.predict, report.render

    def counted(self: xgboost.Booster, data: xgboost.DMatrix, **options: object) -> object:
        calls.append(data)
        return predict(self, data, **options)

    def silent(*arguments: Any) -> str:
        before = len(calls)
        page = render(*arguments)
        assert len(calls) == before
        return page

    monkeypatch.setattr(xgboost.Booster, "predict", counted)
    monkeypatch.setattr(report, "render", silent)
    job = simple_job(tmp_path, early_stopping_rounds="3", eta="0.9", num_round="60")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert calls
    values, score = numbers(200, 1)
    labels = labels_for("binary:logistic", score)
    found = predict(job.booster(), xgboost.DMatrix(values))
    page = (tmp_path / "output" / "data" / "report.html").read_text()
    assert f">{sklearn_metrics.log_loss(labels, found.astype(np.float64)):.4f}<" in page
    assert f"AUC {sklearn_metrics.roc_auc_score(labels, found):.4f}" in page


def test_lists_of_the_engines_choice_are_tables(tmp_path: Path) -> None:
    """None of them is shown as Python prints it, those inside another value included."""
    pytest.importorskip("daal4py", exc_type=ImportError)  # without it nothing is compared
    job = simple_job(tmp_path)
    job.environ = {"ACCELERATION": "auto"}
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    parity = job.output("parity.json")
    page = (tmp_path / "output" / "data" / "report.html").read_text()
    body = page[page.index("Serving: parity and speed") :]
    assert len(parity["parity"]) > 1
    assert parity["contributions"]["times"]
    assert "{" not in body
    for name, title in report.TITLES.items():  # so small a model may be faster in whole batches
        assert f"<h3>{title}</h3>" in body or (name == "calls: times" and not parity["calls"])


def test_weights_of_rows_count_in_the_page(tmp_path: Path) -> None:
    job = simple_job(tmp_path, csv_weights="1")
    for channel, seed in (("train", 0), ("validation", 1)):
        values, score = numbers(300, seed)
        weights = np.random.default_rng(seed).integers(1, 9, 300)
        job.put(channel, "part.csv", csv_text(labels_for("binary:", score), weights, values))
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert job.booster().num_features() == COLUMNS
    page = (tmp_path / "output" / "data" / "report.html").read_text()
    loss = job.output("metrics.json")["metrics"]["validation-logloss"]
    assert f'<td class="number">{loss:.4f}</td></tr>\n<tr><th>Brier score' in page
    assert "Rows count by their weights" in page
