"""gunicorn's worker as it stands behind nginx, and what all workers do with errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import socket
import threading
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.http.wsgi import base_environ
from gunicorn.workers import gthread, sync

from runtime.job import resources
from runtime.server.connections import READ_ONE, Shared

Environ = dict[str, Any]

FIRST_LINE = b"POST /invocations HTTP/1.1\r\n"
IDENTIFIED = FIRST_LINE + b"X-Request-Id: "  # what nginx.conf puts first
ID_BYTES, KNOWN_BYTES = 32, 1 << 10  # of an identifier; of headers that are worth remembering
BLANK_LINE = b"\r\n\r\n"
RECV_BYTES = 1 << 16  # the head of a request, and the whole of a small one
HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")
LINGER_SECONDS = 1e-4  # after an answer: to fall asleep and be woken costs half a request
IDLE_SECONDS = 1.0  # between two looks for requests whose wake-up was lost
NOTIFY_SECONDS = 0.5  # between two signs of life to gunicorn's master
REQUESTS_PER_YIELD = 4  # more in a row keep nginx waiting for a whole time slice of 3 ms and more
HEADERS_LEFT_TO_GUNICORN = ("TRANSFER_ENCODING", "EXPECT", "SCRIPT_NAME")  # nginx sends none
DRAIN_BYTES = 1 << 30  # of a body that was refused; closing before its end could reset the answer
INTERNAL_ERROR = "internal error; the log has it"


class Connection(gthread.TConn):  # type: ignore[misc]
    """A connection of a worker with threads: closing it does not hold up those that wait.

    To close gently is to wait until the client closes too, which gunicorn does in the loop that
    accepts all connections.
    """

    def close(self, graceful: bool = False) -> None:
        """Close, in a thread when the client may still send."""
        if graceful:
            threading.Thread(target=super().close, args=(True,)).start()
        else:
            super().close()


def write_error(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer a request that gunicorn refuses, or that failed, with JSON like any other error."""
    body = json.dumps({"code": status, "message": message or INTERNAL_ERROR}).encode()
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    util.write_nonblock(client, "\r\n".join(lines).encode() + BLANK_LINE + body)


# gunicorn has no settings for these: it answers in HTML, and reads 64 KB of a refused body at most.
gthread.TConn = Connection
util.write_error = write_error
util.close_graceful = partial(util.close_graceful, max_drain=DRAIN_BYTES)


class Replay(socket.socket):
    """A connection whose first bytes have been received already."""

    def __init__(self, client: socket.socket, data: bytes) -> None:
        super().__init__(fileno=client.detach())
        self.data = data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the bytes that were received already, then those that come."""
        if not self.data:
            return super().recv(size, flags)
        data, self.data = self.data[:size], self.data[size:]
        return data


class ProxiedWorker(sync.SyncWorker):  # type: ignore[misc]
    """A worker behind nginx that answers one request at a time.

    Small requests come through connections that stay open and that all workers hold (see
    connections.py), large ones each through a connection of its own.

    gunicorn's own reads requests of any form, from anybody, and waits until the client has closed
    the connection. nginx sends requests of one form, and closes by itself: to rely on that saves
    more time than predicting a row takes. A request of another form, or of another path, goes to
    gunicorn's own code.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shared: Shared | None = None
        self.common: Environ = base_environ(self.cfg) | {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/invocations",
            "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "",
            "wsgi.url_scheme": "http",
        }

    def join(self, run: Path) -> None:
        """Take part in nginx's persistent connections; before the worker counts as ready."""
        self.shared = Shared(run)

    def run(self) -> None:
        """Answer requests until the worker is told to stop."""
        if self.shared is None:
            super().run()
            return
        epoll = self.shared.epoll
        for listener in self.sockets:
            listener.setblocking(False)
            epoll.register(listener, READ_ONE)
        epoll.register(self.PIPE[0], select.EPOLLIN)  # signals
        listeners = {listener.fileno(): listener for listener in self.sockets}
        several = resources.cpu_count() > 1  # a CPU of its own for nginx meanwhile
        notified, answered = 0.0, 0
        while self.alive:
            now = time.monotonic()
            if now - notified > NOTIFY_SECONDS:
                self.notify()
                notified = now
            ready = linger(epoll) if several and self.nr > answered else []
            answered = self.nr
            for descriptor, _ in ready or epoll.poll(IDLE_SECONDS, 1):
                self._turn(self.shared, descriptor, listeners.get(descriptor))
                break
            else:
                self.shared.look_again()
                if not self.is_parent_alive():
                    return

    def _turn(self, shared: Shared, descriptor: int, listener: Any) -> None:
        """Do what a descriptor is ready for."""
        if descriptor in shared.clients:
            self.answer_next(shared, descriptor)
        elif listener:
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                self.accept(listener)  # another worker may have been faster
        elif descriptor == self.PIPE[0]:
            os.read(descriptor, 1)
        else:
            shared.receive()

    def accept(self, listener: socket.socket) -> None:
        """Answer the next client that is waiting. Raises BlockingIOError when there is none."""
        client, address = listener.accept()
        self.handle(listener, client, address)
        self._count()

    def _count(self) -> None:
        """End after so many requests as are set, and let others have the CPU now and then."""
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.nr % REQUESTS_PER_YIELD:
            os.sched_yield()

    def answer_next(self, shared: Shared, descriptor: int) -> None:
        """Answer the next request of a persistent connection, unless another worker has it."""
        client = shared.clients[descriptor][1]
        if data := shared.request(descriptor, RECV_BYTES):
            head, blank, body = data.partition(BLANK_LINE)
            variables = parse_head(head) if blank else None
            if variables is None or len(body) != int(variables.get("CONTENT_LENGTH", 0)):
                client = Replay(shared.forget(descriptor), data)
                super().handle(self.sockets[0], client, "")
            else:
                environ = {**self.common, **variables, "wsgi.input": io.BytesIO(body)}
                try:
                    self._answer(client, environ)
                except ConnectionError as error:
                    self.log.debug("nginx went away: %s", error)
                    shared.forget(descriptor)
                except BaseException as error:  # the worker's exit by signal too
                    self.handle_error(None, client, "", error)
                    with contextlib.suppress(OSError):  # closing is not enough: others hold it
                        client.shutdown(socket.SHUT_RDWR)
            self._count()
        shared.answered()

    def handle(self, listener: socket.socket, client: socket.socket, addr: Any) -> None:
        """Answer the request of one connection, and close it."""
        rest: Body | None = None
        try:
            data = client.recv(RECV_BYTES, socket.MSG_PEEK)
            head, blank, body = data.partition(BLANK_LINE)
            variables = parse_head(head) if blank else None
            if variables is None:
                super().handle(listener, client, addr)
                return
            length = int(variables.get("CONTENT_LENGTH", 0))
            stream: io.BytesIO | io.BufferedReader[Body]
            if len(body) == length:
                client.recv(len(data))  # seen already
                stream = io.BytesIO(body)
            else:
                client.recv(len(data) - len(body))
                rest = Body(client, length)
                stream = io.BufferedReader(rest, RECV_BYTES)
            environ = {**self.common, **variables, "wsgi.input": stream}
            self._answer(client, environ, "Connection: close")
        except ConnectionError as error:
            self.log.debug("nginx went away: %s", error)
        except BaseException as error:  # the worker's exit by signal too, as gunicorn does
            self.handle_error(None, client, addr, error)
        finally:
            if rest and rest.left:  # refused unread: closing at once would reset the answer
                util.close_graceful(client)
            client.close()

    def _answer(self, client: socket.socket, environ: Environ, *own: str) -> None:
        """Call the application, and send its answer, with the server's `own` headers."""
        lines: list[str] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            lines[:] = [f"HTTP/1.1 {status}", *own]
            lines.extend([f"{name}: {value}" for name, value in headers])

        self.nr += 1
        answer = self.wsgi(environ, start_response)
        try:
            body = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        head = "\r\n".join(lines)
        if not head.count("\r") == head.count("\n") == len(lines) - 1:
            raise ValueError("a header of the answer holds a line break")
        start = head.encode("latin-1") + BLANK_LINE
        if len(body) < RECV_BYTES:
            client.sendall(start + body)
        else:  # a copy of all of it would be as large again
            client.sendall(start)
            client.sendall(body)


class Body(io.RawIOBase):
    """A request's body, read from the socket when the application asks for it."""

    def __init__(self, client: socket.socket, length: int) -> None:
        self.client, self.left = client, length

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the start of `buffer`; return the number of bytes, 0 at the end."""
        size = min(len(buffer), self.left)
        count = self.client.recv_into(buffer, size) if size else 0
        self.left -= count
        return count


def linger(epoll: select.epoll) -> list[tuple[int, int]]:
    """Return what becomes ready within LINGER_SECONDS; whoever wants the CPU meanwhile gets it."""
    end = time.monotonic() + LINGER_SECONDS
    while not (ready := epoll.poll(0, 1)) and time.monotonic() < end:
        os.sched_yield()
    return ready


@lru_cache(maxsize=256)  # clients may send any name
def variable(name: str) -> str:
    """Return the WSGI variable of a header; the empty string for one that nginx never sends."""
    key = name.upper().replace("-", "_")
    if key in HEADERS_LEFT_TO_GUNICORN or not HEADER_NAME.fullmatch(name):
        return ""
    return key if key in UNPREFIXED else f"HTTP_{key}"


def parse_head(head: bytes) -> Environ | None:
    """Return the WSGI variables of a request's headers; None where gunicorn should read it.

    What nginx puts first differs in every request; what follows is often that of an earlier one.
    """
    if not head.startswith(FIRST_LINE):
        return None
    end = len(IDENTIFIED) + ID_BYTES
    identifier, rest = head[len(IDENTIFIED) : end], head[end + 2 :]
    if (
        len(rest) > KNOWN_BYTES
        or not head.startswith(IDENTIFIED)
        or not identifier.isalnum()
        or head[end : end + 2] != b"\r\n"
    ):
        return parse_lines(head[len(FIRST_LINE) :])
    known = parse_known(rest)
    if known is None or "HTTP_X_REQUEST_ID" in known:
        return None
    return {**known, "HTTP_X_REQUEST_ID": identifier.decode()}


def parse_lines(lines: bytes) -> Environ | None:
    """Return the WSGI variables of header lines; None where gunicorn should read them."""
    found: Environ = {}
    for line in lines.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        key = variable(name)
        if not key or not colon or key in found:
            return None
        found[key] = value.strip(" \t")
    return found if found.get("CONTENT_LENGTH", "0").isdecimal() else None


parse_known = lru_cache(maxsize=256)(parse_lines)
