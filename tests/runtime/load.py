"""Load for the tests: clients in threads, a connection a request, every answer checked."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from conftest import Server
from sample.load import ask


def ask_at_once(address: tuple[str, int], head: bytes, body: bytes) -> tuple[str, bytes]:
    """Send head and body; a client that was connected and is not answered counts as lost."""
    try:
        connection = socket.create_connection(address, timeout=20)
    except OSError:
        return "refused", b""
    with connection:
        try:
            connection.sendall(head + body)
            answer = connection.makefile("rb").read()
        except OSError as error:
            return "lost", repr(error).encode()
    top, blank, content = answer.partition(b"\r\n\r\n")
    return (top.split()[1].decode(), content) if blank else ("lost", answer)


@dataclass
class Load:
    """Posts `body` from `clients` threads and expects `answer`; counts what came back.

    Clients ask for `100 Continue` first and count as taken when they get it; with `at_once` they
    are taken as soon as they are connected.
    """

    server: Server
    body: bytes
    answer: bytes
    clients: int = 8
    path: str = "/invocations"
    at_once: bool = False
    good: int = 0
    wrong: list[bytes] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)  # answers with another status
    lost: list[tuple[float, str]] = field(default_factory=list)  # taken, never answered
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
        address = (self.server.host, self.server.port)
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.server.host}\r\nContent-Type: text/csv\r\n"
            f"Content-Length: {len(self.body)}\r\nConnection: close\r\n"
            f"{'' if self.at_once else 'Expect: 100-continue'}"
        ).rstrip().encode() + b"\r\n\r\n"
        send = ask_at_once if self.at_once else ask
        while self.running:
            fate, text = send(address, head, self.body)
            if fate == "refused":  # never taken, so nothing is lost
                with self.lock:
                    self.refused += 1
                time.sleep(0.01)
            elif fate == "lost":
                with self.lock:
                    self.lost.append((time.monotonic(), text.decode()))
            else:
                self._count(int(fate), text)

    def _count(self, status: int, text: bytes) -> None:
        with self.lock:
            if status != 200:
                self.failed.append((time.monotonic(), f"{status} {text[:200]!r}"))
            elif text != self.answer:
                self.wrong.append(text)
            else:
                self.good += 1
