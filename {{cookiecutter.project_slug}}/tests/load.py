"""Load for the tests: clients in threads, each with its own connection, every answer checked."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field

from conftest import Server


@dataclass
class Load:
    """Posts `body` from `clients` threads and expects `answer`; counts what came back."""

    server: Server
    body: bytes
    answer: bytes
    clients: int = 8
    path: str = "/invocations"
    good: int = 0
    wrong: list[bytes] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)  # answers with another status
    lost: list[tuple[float, str]] = field(default_factory=list)  # sent in full, never answered
    refused: int = 0  # not accepted: nothing was lost

    def __enter__(self) -> Load:
        self.running, self.lock = True, threading.Lock()
        self.threads = [threading.Thread(target=self._client) for _ in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False
        for thread in self.threads:
            thread.join()

    def _client(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while self.running:
            fresh = connection is None
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        self.server.host, self.server.port, timeout=60
                    )
                    connection.connect()
            except OSError:
                with self.lock:
                    self.refused += 1
                connection = None
                time.sleep(0.01)
                continue
            try:
                connection.request("POST", self.path, self.body, {"Content-Type": "text/csv"})
                reply = connection.getresponse()
                text = reply.read()
                self._count(reply.status, text)
                if reply.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = None
                # A server may close a connection that is idle at the moment a request leaves the
                # client (RFC 9112, 9.3.1): clients repeat those, and so nothing is lost.
                if fresh or isinstance(error, TimeoutError):
                    with self.lock:
                        self.lost.append((time.monotonic(), repr(error)))

    def _count(self, status: int, text: bytes) -> None:
        with self.lock:
            if status != 200:
                self.failed.append((time.monotonic(), f"{status} {text[:200]!r}"))
            elif text != self.answer:
                self.wrong.append(text)
            else:
                self.good += 1
