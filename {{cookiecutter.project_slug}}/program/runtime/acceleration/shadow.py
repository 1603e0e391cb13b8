"""The shadow check: a share of requests goes through XGBoost as well, off the response path."""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass

from runtime.acceleration.comparison import difference
from runtime.acceleration.engines import Engine, Floats
from runtime.acceleration.links import is_probability

QUEUE = 64  # requests that may wait; more are dropped and counted, never waited for

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What the checker has seen of this process's requests."""

    checked: int = 0
    rows: int = 0
    different: int = 0
    dropped: int = 0
    failed: int = 0
    largest: float = 0.0


class ShadowChecker:
    """Compare a `rate` (0 to 1) of what is offered with `reference`, in a thread of its own.

    The thread starts with the first offer that is drawn: after the fork, when workers do not
    predict before it. `tolerance` is absolute for probabilities and relative otherwise.
    """

    def __init__(self, reference: Engine, rate: float, tolerance: float) -> None:
        self.counts = Counts()
        self._reference = reference
        self._rate = rate
        self._tolerance = tolerance
        self._queue: queue.Queue[tuple[Floats, Floats]] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def offer(self, rows: Floats, predictions: Floats) -> None:
        """Maybe queue one answered request. Returns at once; neither array may change later."""
        if random.random() >= self._rate:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((rows, predictions))
        except queue.Full:
            self.counts.dropped += 1

    def drain(self) -> None:
        """Wait until everything that was queued has been compared."""
        self._queue.join()

    def _work(self) -> None:
        while True:
            rows, predictions = self._queue.get()
            try:
                self._compare(rows, predictions)
            except Exception:  # a fault here must not end the thread
                self.counts.failed += 1
                log.exception("the shadow check itself failed")
            finally:
                self._queue.task_done()

    def _compare(self, rows: Floats, predictions: Floats) -> None:
        absolute = is_probability(self._reference.objective)
        gap = difference(predictions, self._reference.predict(rows), absolute=absolute)
        self.counts.checked += 1
        self.counts.rows += len(rows)
        self.counts.largest = max(self.counts.largest, gap)
        if gap > self._tolerance:
            self.counts.different += 1
            log.warning(
                "shadow check: a request of %d rows differs from XGBoost by %.3g (tolerance %.3g)",
                len(rows),
                gap,
                self._tolerance,
            )
