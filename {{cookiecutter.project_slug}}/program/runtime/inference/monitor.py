"""What the server reports about its requests: Prometheus metrics, and a JSON line each if asked.

Every worker counts in its own files of the folder PROMETHEUS_MULTIPROC_DIR; whoever answers
/metrics adds them up. https://prometheus.github.io/client_python/multiprocess/
Writing those files for every request would cost as much as predicting a row, so a worker adds
counts up in memory first and writes them once a second, with its heartbeat. The counts of workers
that exited are kept together in the files of process 0, which is none.

No label takes its value from a request: LABELS has the values that each may have, so that the
number of time series is bounded whatever clients send.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    mmap_dict,
    multiprocess,
)

from runtime.formats.errors import printable
from runtime.inference.drift import GAUGES, Drift
from runtime.inference.errors import CAUSES, Response
from runtime.inference.invocation import Trace
from runtime.inference.models import Model, OwnModel
from settings import PROJECT, Settings

STEPS = ("decode", "predict", "encode")
BUCKETS = (  # seconds; a step of one row takes some tens of microseconds
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0),
)
STATUSES = frozenset(HTTPStatus)  # a program's output_fn may return any number
OTHER = "other"


class Label(NamedTuple):
    """What a label of the metrics may be: the values in words, and how many there are at most."""

    values: str
    most: int


LABELS = {
    "status": Label(f"statuses that HTTP defines; `{OTHER}`", 64),
    "cause": Label(", ".join(f"`{cause}`" for cause in CAUSES), len(CAUSES)),
    "engine": Label("`onedal`, `xgboost`, both joined by `+`; `program`; empty: no model", 10),
    "step": Label(", ".join(f"`{step}`" for step in STEPS), len(STEPS)),
    "result": Label("`checked`, `different`", 2),
    "feature": Label("names of the model's 50 most important features, or their numbers: `f0`", 50),
    "output": Label("`score`; of several classes the first 10, by name or number", 10),
    "le": Label("bounds of the buckets", len(BUCKETS) + 1),
}


class Latency(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[int], total: float) -> None:
        """Add `counts` observations by bucket, the last one unbounded, that sum up to `total`."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


LATENCY = Latency("request_seconds", "Time of answered requests in a worker", buckets=BUCKETS)
REQUESTS = Counter("requests", "Answered requests by status", ["status"])
ERRORS = Counter("errors", "Requests answered with an error, by cause", ["cause"])
ROWS = Counter("rows", "Predicted rows by engine", ["engine"])
SECONDS = Latency("step_seconds", "Time of each step of a request", ["step"], buckets=BUCKETS)
UNSEEN = Counter("unseen_categories", "Cells whose value is no category of the model")
MODELS = Gauge("loaded_models", "Models that answer", multiprocess_mode="livemax")
SHADOW = Counter("shadow_requests", "Shadow-checked requests by result", ["result"])
ENGINE = Gauge("engine", "1 for the engine that answers", ["engine"], multiprocess_mode="livemax")
EXPLAINER = Gauge(
    "contributions_engine",
    "1 for the engine that contributions come from",
    ["engine"],
    multiprocess_mode="livemax",
)
METRICS = (LATENCY, REQUESTS, ERRORS, ROWS, SECONDS, UNSEEN, MODELS, SHADOW, ENGINE, EXPLAINER)

log = logging.getLogger(__name__)


class Family(NamedTuple):
    """A metric as README describes it; a histogram's series are its buckets, sum and count."""

    name: str
    type: str
    labels: tuple[str, ...]
    most: int
    help: str


def families() -> list[Family]:
    """Return all metrics of /metrics, with the most series that each can have."""
    found = []
    for metric in METRICS:
        (described,) = metric.describe()
        labels = tuple(metric._labelnames)
        most = math.prod(LABELS[label].most for label in labels)
        if described.type == "histogram":
            most *= LABELS["le"].most + 2
        name = described.name + ("_total" if described.type == "counter" else "")
        found.append(Family(name, described.type, labels, most, described.documentation))
    for name, help, label in GAUGES:
        most = LABELS[label].most if label else 1
        found.append(Family(name, "gauge", (label,) if label else (), most, help))
    return found


class Times:
    """Durations since the last flush, by bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(BUCKETS) + 1), 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Pending:
    """What requests of one status, cause and engine came to since the last flush."""

    requests: int = 0
    rows: int = 0
    unseen: int = 0
    decode: Times = field(default_factory=Times)
    predict: Times = field(default_factory=Times)
    encode: Times = field(default_factory=Times)
    whole: Times = field(default_factory=Times)


class Monitor:
    """Counts requests, and prints their lines."""

    def __init__(self, settings: Settings) -> None:
        self.style = settings.access_log
        self.lock = threading.Lock()
        self.pending: dict[tuple[int, str, str], Pending] = {}
        self.shadowed = {"checked": 0, "different": 0}  # as far as they are written

    def record(self, trace: Trace, environ: Mapping[str, Any]) -> None:
        """Count one answered request, and print its line when asked to."""
        key = trace.status, trace.cause, trace.engine
        decode, predict, encode = trace.decode, trace.predict, trace.encode
        with self.lock:
            pending = self.pending.get(key)
            if pending is None:
                pending = self.pending[key] = Pending()
            pending.requests += 1
            pending.rows += trace.rows
            pending.unseen += trace.unseen
            if decode:  # 0: the request failed before the end of this step
                pending.decode.add(decode)
            if predict:
                pending.predict.add(predict)
            if encode:
                pending.encode.add(encode)
            pending.whole.add(decode + predict + encode)
        if self.style == "on":
            self._print(self._line(trace, environ))
        elif self.style == "emf":
            self._print(self._line(trace, environ) | self._embedded(trace))

    def flush(self) -> None:
        """Write the counts of the last second to this worker's files."""
        with self.lock:
            pending, self.pending = self.pending, {}
        for (status, cause, engine), found in pending.items():
            known = str(status) if status in STATUSES else OTHER
            REQUESTS.labels(known).inc(found.requests)
            if cause:
                ERRORS.labels(cause).inc(found.requests)
            if found.rows:
                ROWS.labels(engine).inc(found.rows)
            if found.unseen:
                UNSEEN.inc(found.unseen)
            for step in STEPS:
                times: Times = getattr(found, step)
                SECONDS.labels(step).add(times.counts, times.total)
            LATENCY.add(found.whole.counts, found.whole.total)

    def observe(self, models: int, model: Model | OwnModel | None) -> None:
        """Record how many models this worker answers for, and how its only one does."""
        MODELS.set(models)
        if model is None:
            return
        ENGINE.labels(model.engine_name).set(1)
        if model.explainer_name:
            EXPLAINER.labels(model.explainer_name).set(1)
        counts = [shadow.counts for shadow in model.shadows if shadow]
        for result, before in self.shadowed.items() if counts else ():
            total = sum(getattr(count, result) for count in counts)
            SHADOW.labels(result).inc(total - before)
            self.shadowed[result] = total

    @staticmethod
    def _print(line: dict[str, Any]) -> None:
        os.write(1, orjson.dumps(line) + b"\n")  # one write: lines of workers never mix

    @staticmethod
    def _line(trace: Trace, environ: Mapping[str, Any]) -> dict[str, Any]:
        line = {
            "time": time.time(),
            "request_id": printable(trace.request_id),
            "inference_id": printable(trace.inference_id),
            "path": printable(environ["PATH_INFO"]),
            "status": trace.status,
            "rows": trace.rows,
            "engine": trace.engine,
            "message": trace.message,
        }
        milliseconds = {f"{step}_ms": getattr(trace, step) * 1000 for step in STEPS}
        return {key: value for key, value in line.items() if value != ""} | milliseconds

    @staticmethod
    def _embedded(trace: Trace) -> dict[str, Any]:
        """Return what makes CloudWatch read numbers out of the line.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
        """
        metrics = [{"Name": "rows", "Unit": "Count"}]
        metrics += [{"Name": f"{step}_ms", "Unit": "Milliseconds"} for step in STEPS]
        directive = {"Namespace": PROJECT, "Dimensions": [["status"]], "Metrics": metrics}
        return {
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
            "status": str(trace.status),
        }


class _Workers(multiprocess.MultiProcessCollector):
    """Collects the metrics of all workers, but not of one that is just making its files."""

    def collect(self) -> Any:
        """Return the metrics; a file that is still empty would be an error."""
        files = [str(path) for path in Path(self._path).glob("*.db") if path.stat().st_size]
        return self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]


def exposition(drift: Drift | None = None) -> Response:
    """Return the metrics of all workers in Prometheus' text format, those of drift at the end."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    registry = REGISTRY
    if folder is not None:
        registry = CollectorRegistry()
        _Workers(registry)  # type: ignore[no-untyped-call]
    with _locked(Path(folder), fcntl.LOCK_SH) if folder is not None else nullcontext():
        text = generate_latest(registry)
    return Response(200, text + (generate_latest(drift) if drift else b""), CONTENT_TYPE_LATEST)


def forget(pid: int) -> None:
    """Drop the gauges of a worker that exited, and keep its counts; called in the master only."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return
    _exited.add(pid)
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    try:
        with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            while _exited:
                _fold(folder, _exited.pop())
    except BlockingIOError:  # somebody reads: the next worker that exits takes this one along
        log.debug("the counts of worker %d are kept later", pid)


_exited: set[int] = set()  # workers whose counts are still in files of their own
_MmapedDict: Any = mmap_dict.MmapedDict  # it has no types


@contextmanager
def _locked(folder: Path, mode: int) -> Iterator[None]:
    """Hold the lock of the folder, so that nobody counts a file twice or not at all."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, mode)
        yield


def _fold(folder: Path, pid: int) -> None:
    """Add the counts of a worker that exited to those of process 0, and remove its files."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        path, kept = folder / f"{kind}_{pid}.db", folder / f"{kind}_0.db"
        try:
            counts = list(_MmapedDict.read_all_values_from_file(path))
        except FileNotFoundError:  # it counted nothing
            continue
        except Exception as error:  # it was killed while it made the file
            log.warning("the counts of worker %d are lost: %s", pid, error)
            counts = []
        if counts and not kept.exists():
            path.rename(kept)
            continue
        if counts:
            total = _MmapedDict(str(kept))
            for key, value, *_ in counts:
                total.write_value(key, total.read_value(key)[0] + value, 0.0)
            total.close()
        path.unlink()
