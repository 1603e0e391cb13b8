"""The wire between the hosts of a job: who has data, who is alive, and why somebody is not.

XGBoost's collective says nothing of a peer that fails before training, and ends with a bare socket
error when one fails later. So every host keeps a connection to the first one, which tells all of
them what each has read and, when one fails or falls silent, which and why: those too that connect
only then.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PORT = 9099
BEAT_SECONDS = 5.0
SILENCE_SECONDS = 30.0  # a host that sends nothing for so long is lost
JOIN_SECONDS = 600.0  # instances of a job start minutes apart, and their names resolve late

Message = dict[str, Any]
log = logging.getLogger(__name__)


class Connection:
    """A connection that carries JSON lines. An empty object is a heartbeat."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        wire.settimeout(SILENCE_SECONDS)
        # Out at once: what still waits here is lost when the process ends with unread messages.
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, message: Message) -> bool:
        """Send a message; False when the peer is gone."""
        try:
            with self._lock:
                self._wire.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def messages(self) -> Iterator[Message]:
        """Yield what comes until the peer is gone or silent."""
        try:
            with self._wire.makefile("rb") as lines:
                for line in lines:
                    if message := json.loads(line):
                        yield message
        except (OSError, ValueError) as problem:
            log.debug("connection: %s", problem)

    def _beat(self) -> None:
        while self.send({}):
            time.sleep(BEAT_SECONDS)


def connect(host: str) -> Connection:
    """Connect to the first host, whose name and port may come minutes late.

    Raises OSError when that takes longer than JOIN_SECONDS.
    """
    deadline = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            return Connection(socket.create_connection((host, PORT), SILENCE_SECONDS))
        except OSError as problem:
            if time.monotonic() > deadline:
                raise OSError(f"host {host} does not answer: {problem}") from problem
            time.sleep(1)


class Hub:
    """The first host's side: gathers what each host says, and tells all what all must know.

    `decide` gets the facts of every host once all have come, and returns the answer to all.
    """

    def __init__(
        self, address: str, hosts: tuple[str, ...], decide: Callable[[Message], Message]
    ) -> None:
        self._hosts, self._decide = hosts, decide
        self._connections: dict[str, Connection] = {}
        self._facts: Message = {}
        self._finished: set[str] = set()
        self._failure: Message = {}
        self._change = threading.Condition()
        self._server = socket.create_server((address, PORT))
        threading.Thread(target=self._accept, daemon=True).start()
        late = threading.Timer(JOIN_SECONDS, self._report_absent)
        late.daemon = True
        late.start()

    def wait(self, seconds: float, but: str = "") -> None:
        """Wait until every host (`but` one) has finished or is lost, at most `seconds`."""
        others = set(self._hosts) - {but}
        with self._change:
            self._change.wait_for(lambda: self._finished >= others, seconds)

    def _accept(self) -> None:
        while True:
            wire, _ = self._server.accept()
            threading.Thread(target=self._attend, args=(Connection(wire),), daemon=True).start()

    def _attend(self, connection: Connection) -> None:
        """Serve one host until it is done or lost."""
        host = ""
        for message in connection.messages():
            with self._change:
                if "host" in message:
                    host = message["host"]
                    self._connections[host] = connection
                    if self._failure:
                        connection.send(self._failure)
                elif "facts" in message:
                    self._facts[host] = message["facts"]
                    if len(self._facts) == len(self._hosts):
                        self._answer()
                elif "failed" in message:
                    kind, reason = message["failed"]
                    self._finished.add(host)
                    self._fail(kind, f"host {host}: {reason}")
                elif "done" in message:
                    self._finished.add(host)
                self._change.notify_all()
        with self._change:
            if host and host not in self._finished:
                self._finished.add(host)
                self._fail("PlatformError", f"host {host} was lost")
                self._change.notify_all()

    def _answer(self) -> None:
        """Tell all hosts what was decided, or that nothing was: they wait without a time limit."""
        try:
            answer = self._decide(self._facts)
        except Exception as problem:
            log.exception("no decision")
            self._fail("PlatformError", f"host {self._hosts[0]}: {problem}")
        else:
            self._tell({"answer": answer})

    def _fail(self, kind: str, reason: str) -> None:
        """Tell all hosts of the first failure: later ones follow from it."""
        if not self._failure:
            self._failure = {"failed": [kind, reason]}
            self._tell(self._failure)

    def _tell(self, message: Message) -> None:
        for connection in self._connections.values():
            connection.send(message)

    def _report_absent(self) -> None:
        with self._change:
            absent = [host for host in self._hosts if host not in self._connections]
            if absent:
                text = f"{', '.join(absent)} did not join within {JOIN_SECONDS:g} s"
                self._fail("PlatformError", text)
