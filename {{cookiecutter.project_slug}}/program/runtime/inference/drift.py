"""Drift: how far the rows of requests, and their scores, are from those of training.

    offer   in the path of a request, after its answer is made: keeps the rows, and that is all
    flush   once a second, with the heartbeat: finds their bins, writes them where all workers do
    read    when somebody scrapes /metrics: counts the bins of the last WINDOW rows of all workers

What workers share is a file in memory: a ring of rows, each a byte per column. Nothing of it grows.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily

from runtime.formats import Rows, Unseen
from runtime.histograms import NOT_COUNTED, Baseline, Binning, Bins, Histogram, tally
from runtime.inference.models import Model, OwnModel, Predictions
from settings import Settings

WINDOW = 2_000  # rows that are compared: the last ones
LEAST_ROWS = 500  # fewer say nothing
ALARM, ALL_CLEAR = 0.2, 0.1  # PSI
PER_SECOND = 250  # rows of a worker that are counted under load
BURST = WINDOW  # rows that are counted at once after a quiet time
SMALL = 4096  # bytes of a request's rows up to which all columns are kept
HEADER = 8  # bytes: the rows ever counted

log = logging.getLogger(__name__)


# Of a request: values, float32 [rows, all columns or those of the histograms], what was no
# category in them, and the scores. A NamedTuple takes three times as long to make.
Kept = tuple[NDArray[np.float32], Sequence[Unseen], Any]


class Reading(NamedTuple):
    """Of every histogram the PSI, whether it is an alarm, and the rows that were compared."""

    psi: NDArray[np.float64]
    alarms: NDArray[np.bool_]
    rows: NDArray[np.int64]


def watch(model: Model | OwnModel, settings: Settings, run: Path | None) -> Drift | None:
    """Return what watches the requests to a model; None with DRIFT=off, and for a model whose
    manifest has no histograms. `run` is the folder that workers share; None outside of a server."""
    if settings.drift == "off" or not isinstance(model, Model):
        return None
    document = model.manifest.histograms
    if document is None:
        return None
    try:
        return Drift(document, model.schema.num_features, model.manifest.missing, run)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
        log.warning("drift is not measured: histograms of manifest.json: %s", problem)
        return None


class Drift:
    """Compares a sample of the rows that are served with the histograms of training.

    `columns` is how many a request has; `missing` is a value that means missing. Raises ValueError
    where the document does not fit.
    """

    def __init__(
        self, document: dict[str, Any], columns: int, missing: float | None, run: Path | None
    ) -> None:
        features = [Histogram.from_document(entry) for entry in document["features"]]
        scores = document.get("scores") or {"channel": "train", "groups": 0, "outputs": []}
        outputs = [Histogram.from_document(entry) for entry in scores["outputs"]]
        self.histograms = [*features, *outputs]
        self.features, self.groups = len(features), int(scores["groups"])
        self.positions = np.array([histogram.position for histogram in features], np.intp)
        places = [histogram.position for histogram in outputs]
        names = {(place < self.features, each.name) for place, each in enumerate(self.histograms)}
        if (
            not features
            or len(names) < len(self.histograms)
            or (np.diff(self.positions) <= 0).any()
            or self.positions[-1] >= columns
            or max(places, default=-1) >= self.groups
        ):
            raise ValueError("they are of another model")
        self.every_column = self.positions.tolist() == list(range(columns))
        self.outputs = np.array(places, np.intp)
        self.missing = None if missing is None else np.float32(missing)
        self.of_features, self.of_outputs = Binning(features), Binning(outputs)
        self.baseline = Baseline(self.histograms)
        # A model's scores of the rows that it learned from are not those of new rows.
        self.can_alarm = np.arange(len(self.histograms)) < self.features
        self.can_alarm |= scores["channel"] != "train"
        self.ring = Ring(len(self.histograms), run)
        self.kept: list[Kept] = []
        self.room, self.flushed, self.failed = float(BURST), time.monotonic(), False
        self.lock = threading.Lock()

    def offer(self, data: Any, predictions: Any) -> None:
        """Keep the rows of an answered request while there is room for them. Returns at once;
        the arrays may not change later."""
        if self.room <= 0 or type(data) is not Rows:
            return
        values = data.values
        if type(predictions) is Predictions:
            predictions = predictions.known_scores
        if len(values) > self.room or values.nbytes > SMALL:
            values, predictions = self._cut(values, predictions)
        self.room -= len(values)
        self.kept.append((values, data.unseen, predictions))

    def _cut(self, values: NDArray[np.float32], scores: Any) -> tuple[Any, Any]:
        """Return copies of as many rows as there is room for, spread evenly, with the columns that
        have histograms."""
        chosen = np.linspace(0, len(values) - 1, max(1, min(len(values), int(self.room)))).astype(
            int
        )
        if isinstance(scores, np.ndarray) and scores.ndim and len(scores) == len(values):
            scores = scores[chosen]
        return values[np.ix_(chosen, self.positions)], scores

    def flush(self) -> None:
        """Find the bins of the rows that were kept, and write them to the ring. Says when a column
        begins to drift, and when that is over. Never raises: the heartbeat calls it."""
        with self.lock:
            if self.failed:
                return
            try:
                self._flush()
            except Exception:
                log.exception("drift is no longer measured in this process")
                self.failed, self.room, self.kept = True, 0, []

    def _flush(self) -> None:
        kept, self.kept = self.kept, []
        now = time.monotonic()
        self.room = min(BURST, self.room + PER_SECOND * (now - self.flushed))
        self.flushed = now
        if not kept or not self.ring.add(self._bins(kept)):
            return
        reading = self.read()
        began, ended = self.ring.note(reading.alarms, reading.psi < ALL_CLEAR)
        for place in began:
            log.warning(
                "drift: %s: PSI %.2f over the last %d rows",
                self._name(place), reading.psi[place], reading.rows[place],
            )  # fmt: skip
        for place in ended:
            log.info("drift: %s: over, PSI %.2f", self._name(place), reading.psi[place])

    def _name(self, place: int) -> str:
        kind = "feature" if place < self.features else "output"
        return f"{kind} {self.histograms[place].name}"

    def _bins(self, kept: Sequence[Kept]) -> Bins:
        """Return the bins of rows, uint8 [rows, histograms]."""
        values = np.concatenate([self._columns(values) for values, _, _ in kept])
        if self.missing is not None:
            values = np.where(values == self.missing, np.float32(np.nan), values)
        bins = np.full((len(values), len(self.histograms)), NOT_COUNTED, np.uint8)
        bins[:, : self.features] = self.of_features.bins(values)
        start, scored, scores = 0, list[int](), []
        for part, unseen, found in kept:
            rows = range(start, start + len(part))
            start = rows.stop
            for column in unseen:
                self._mark(bins, values, rows, column)
            if isinstance(found, np.ndarray) and found.size == len(rows) * self.groups:
                scored += rows
                scores.append(found.reshape(-1, self.groups))
        if scores:
            table = np.concatenate(scores)[:, self.outputs].astype(np.float32, copy=False)
            bins[scored, self.features :] = self.of_outputs.bins(table)
        return bins

    def _mark(self, bins: Bins, values: NDArray[np.float32], rows: range, unseen: Unseen) -> None:
        """Give cells of a request that are no category their own bin. Only the first such row is
        known: the first missing cells of the column stand for all."""
        for place in np.flatnonzero(self.positions == unseen.position):
            cells = rows.start + np.flatnonzero(np.isnan(values[rows.start : rows.stop, place]))
            bins[cells[: unseen.count], place] = self.histograms[place].unseen

    def _columns(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the columns that have histograms."""
        if self.every_column or values.shape[1] == len(self.positions):
            return values
        return values[:, self.positions]

    def read(self) -> Reading:
        """Compare the rows of the window with training's."""
        counts = tally(self.ring.rows())
        rows = counts.sum(axis=1)
        psi = self.baseline.psi(counts)
        limit = np.maximum(ALARM, self.baseline.by_chance(rows))
        return Reading(psi, (psi > limit) & (rows >= LEAST_ROWS) & self.can_alarm, rows)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics, as a registry of Prometheus' client asks for them."""
        reading = self.read()
        for name, help, label in GAUGES:
            gauge = GaugeMetricFamily(name, help, labels=[label] if label else None)
            if name == "drift_rows":
                gauge.add_metric([], int(reading.rows.max()))
            elif name == "drift_alarms":
                gauge.add_metric([], int(reading.alarms.sum()))
            for place, histogram in enumerate(self.histograms) if label else ():
                is_meant = (place < self.features) == (label == "feature")
                if is_meant and reading.rows[place] >= LEAST_ROWS:
                    gauge.add_metric([histogram.name], float(reading.psi[place]))
            yield gauge


GAUGES = (
    ("drift_feature_psi", f"PSI of a feature, from {LEAST_ROWS} rows on", "feature"),
    ("drift_score_psi", f"PSI of an output's scores, from {LEAST_ROWS} rows on", "output"),
    ("drift_rows", f"Rows that were compared, the last {WINDOW} at most", ""),
    ("drift_alarms", f"Features and outputs whose PSI is above {ALARM}", ""),
)


class Ring:
    """The bins of the last WINDOW rows of all workers, and which columns have raised an alarm.

    Made before the workers are forked. The lock is the file's, so that the kernel lets it go when
    its holder is killed; nobody waits for it.
    """

    def __init__(self, columns: int, run: Path | None) -> None:
        size = HEADER + columns + WINDOW * columns
        self.file = (run / "drift").open("w+b") if run else None
        if self.file:
            self.file.truncate(size)
        self.memory = mmap.mmap(self.file.fileno() if self.file else -1, size)
        self.total = np.frombuffer(self.memory, np.uint64, 1)
        self.raised = np.frombuffer(self.memory, np.bool_, columns, HEADER)
        table = np.frombuffer(self.memory, np.uint8, WINDOW * columns, HEADER + columns)
        self.table = table.reshape(WINDOW, columns)
        self.waiting = np.empty((0, columns), np.uint8)

    def add(self, bins: Bins) -> bool:
        """Write rows over the oldest ones; when another process is writing, with the next ones.
        Returns whether they were written."""
        self.waiting = np.concatenate([self.waiting, bins])[-WINDOW:]
        with self._alone() as alone:
            if not alone:
                return False
            before, count = int(self.total[0]), len(self.waiting)
            self.table[(before + np.arange(count)) % WINDOW] = self.waiting
            self.total[0] = before + count
            self.waiting = self.waiting[:0]
        return True

    def rows(self) -> Bins:
        """Return a copy of the rows, uint8 [rows, columns]."""
        return self.table[: min(WINDOW, int(self.total[0]))].copy()

    def note(
        self, alarms: NDArray[np.bool_], clear: NDArray[np.bool_]
    ) -> tuple[list[int], list[int]]:
        """Keep which columns have raised an alarm; return those that begin, and those that end."""
        with self._alone() as alone:
            if not alone:
                return [], []
            began, ended = alarms & ~self.raised, self.raised & clear
            self.raised[:] = (self.raised | began) & ~ended
        return np.flatnonzero(began).tolist(), np.flatnonzero(ended).tolist()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock, or say that another process does."""
        if self.file is None:
            yield True
            return
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN)
