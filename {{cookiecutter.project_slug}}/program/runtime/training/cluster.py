"""The hosts of a job as one: who takes part, in which order, and the collective between them."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xgboost import collective
from xgboost.core import XGBoostError
from xgboost.tracker import RabitTracker

from runtime.job import failures
from runtime.job.description import Hosts
from runtime.job.failures import AlgorithmError, ContainerError, PlatformError, UserError
from runtime.training import shards
from runtime.training.ending import classify
from runtime.training.peers import SILENCE_SECONDS, Connection, Hub, Message, connect

DAY_SECONDS = 24 * 3600  # for XGBoost's own limit: connections notice a lost host much sooner
LEAVE_SECONDS = 60.0

log = logging.getLogger(__name__)
Abort = Callable[[ContainerError], None]


class Cluster:
    """All hosts of the job, seen from this one. `abort` ends the process with an error."""

    def __init__(self, hosts: Hosts, abort: Abort) -> None:
        self.me, self.hosts = hosts.current, hosts.names
        self._abort = abort
        self._tracker: RabitTracker | None = None
        self._answer: Message = {}
        self._answered = threading.Event()
        self._leaving = False
        self._hub: Hub | None = None
        if self.me == self.hosts[0]:
            self._hub = Hub(socket.gethostbyname(self.me), self.hosts, self._decide)
        self._connection: Connection = connect(self.hosts[0])
        self._connection.send({"host": self.me})
        threading.Thread(target=self._listen, daemon=True).start()

    def agree(self, facts: Message) -> dict[str, Message]:
        """Tell the others what this host has read; return the facts of those that have rows."""
        self._connection.send({"facts": facts})
        self._answered.wait()
        if "refused" in self._answer:
            raise UserError(self._answer["refused"])
        return {host: facts for host, facts in self._answer["facts"].items() if facts["rows"]}

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Train inside: XGBoost's collective spans the hosts that have rows, in their order."""
        members = [host for host, facts in self._answer["facts"].items() if facts["rows"]]
        arguments = {
            **self._answer["tracker"],
            "dmlc_task_id": f"{members.index(self.me):05d}",
            "dmlc_timeout": DAY_SECONDS,
        }
        try:
            with collective.CommunicatorContext(**arguments):
                yield
        except XGBoostError as problem:
            if isinstance(classify(problem), PlatformError):
                time.sleep(
                    SILENCE_SECONDS + 5
                )  # the connection tells which host was lost, and ends
            raise

    def leave(self, error: ContainerError | None = None) -> None:
        """Say that this host is done, or why it failed; the first host waits for the others."""
        self._leaving = True
        failed = [type(error).__name__, str(error)] if error else None
        self._connection.send({"failed": failed} if failed else {"done": 1})
        if self._hub:
            self._hub.wait(LEAVE_SECONDS if error else DAY_SECONDS)

    def _listen(self) -> None:
        for message in self._connection.messages():
            if "answer" in message:
                self._answer = message["answer"]
                self._answered.set()
            elif "failed" in message and not self._leaving:
                kind, reason = message["failed"]
                if self._hub:  # without it, hosts that come late would wait for this one
                    self._hub.wait(LEAVE_SECONDS, but=self.me)
                self._abort(getattr(failures, kind, AlgorithmError)(reason))
        if not self._leaving:
            self._abort(PlatformError(f"host {self.hosts[0]} was lost"))

    def _decide(self, facts: Message) -> Message:
        """On the first host: check that the hosts fit together, and start XGBoost's tracker."""
        ordered = {host: facts[host] for host in self.hosts}
        members = [host for host in ordered if ordered[host]["rows"]]
        refused = _mismatch({host: ordered[host] for host in members})
        if refused:
            return {"refused": refused}
        address = socket.gethostbyname(self.me)
        self._tracker = RabitTracker(len(members), address, sortby="task")
        self._tracker.start()
        log.info("training on %d of %d hosts: %s", len(members), len(ordered), ", ".join(members))
        return {"facts": ordered, "tracker": self._tracker.worker_args()}


def _mismatch(facts: dict[str, Message]) -> str:
    """Return what is wrong with the hosts' data taken together, or nothing."""
    if not facts:
        return "channel train holds no data on any host"
    first, *others = facts
    for host in others:
        for key, what in (("columns", "columns"), ("names", "column names")):
            if facts[host][key] != facts[first][key]:
                mine, theirs = facts[first][key], facts[host][key]
                return f"hosts {first} and {host} differ in {what}: {mine} and {theirs}"
    if fault := shards.mixed(facts):
        return fault
    wanted = any(entry["validation wanted"] for entry in facts.values())
    if wanted and not any(entry["validation"] for entry in facts.values()):
        return "channel validation holds no data on any host: give it a file with rows, or drop it"
    return ""
