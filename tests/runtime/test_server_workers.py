"""The worker behind nginx against gunicorn's own: the same requests, the same answers."""

from __future__ import annotations

import io
import os
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker

from runtime.formats.errors import DecodeError
from runtime.inference.body import read_body
from runtime.server import workers
from runtime.server.workers import FIRST_LINE, RECV_BYTES, ProxiedWorker, parse_head

HEAD = FIRST_LINE + b"Host: model:8080\r\n"
# What WSGI leaves to the server, and gunicorn's own additions.
OWN = ("SERVER_NAME", "SERVER_PORT", "RAW_URI", "wsgi.input", "wsgi.errors", "wsgi.early_hints")


class Application:
    """Keeps what it is called with; reads the body unless it is to refuse it."""

    def __init__(self, reads: bool = True, header: str = "a") -> None:
        self.reads, self.header = reads, header
        self.closed = 0
        self.environ: dict[str, Any] = {}
        self.body = b""

    def __call__(self, environ: dict[str, Any], start: Any) -> Application:
        self.environ = {key: value for key, value in environ.items() if key not in OWN}
        self.environ.pop("gunicorn.socket", None)
        if self.reads:
            self.body = environ["wsgi.input"].read()
        if self.header == "raise":
            raise OSError("a fault of the application")
        headers = [("X-Header", self.header), ("Content-Type", "text/csv"), ("Content-Length", "4")]
        start("200 OK", headers)
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"0.5", b"\n"])

    def close(self) -> None:
        self.closed += 1


def ask(kind: type, pieces: list[bytes], **options: Any) -> tuple[Application, bytes]:
    """Let a worker of `kind` answer one request; return its application and the response."""
    config, application = Config(), Application(**options)
    worker = kind(1, os.getppid(), [], None, 30, config, Logger(config))
    worker.wsgi = application
    nginx, end = socket.socketpair()
    nginx.settimeout(10)
    with nginx, socket.socket(socket.AF_UNIX) as listener:
        thread = threading.Thread(target=worker.handle, args=(listener, end, ""))
        thread.start()
        response = b""
        for piece in pieces:
            nginx.sendall(piece)
        while data := nginx.recv(RECV_BYTES):
            response += data
    thread.join(10)
    assert not thread.is_alive()
    return application, response


def status_and_body(response: bytes) -> tuple[bytes, bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


REQUESTS = {
    "plain": [HEAD + b"Content-Length: 3\r\nContent-Type: text/csv\r\nX-Request-Id: a\r\n\r\n1,2"],
    "no body": [HEAD + b"Accept: */*\r\n\r\n"],
    "empty value": [HEAD + b"Accept:\r\nContent-Length: 3\r\n\r\n1,2"],
    "spaces": [HEAD + b"X-A: \t b c \t\r\nContent-Length: 3\r\n\r\n1,2"],
    "not ASCII": [HEAD + b"X-A: gr\xfc\xdfe\r\nContent-Length: 3\r\n\r\n1,2"],
    "a space of another alphabet": [HEAD + b"X-A: \xa0b\xa0\r\nContent-Length: 3\r\n\r\n1,2"],
    "body later": [HEAD + b"Content-Length: 6\r\n\r\n1,2", b"\n3,4"[:3]],
    "head in two": [HEAD + b"Content-", b"Length: 3\r\n\r\n1,2"],
    "large": [HEAD + b"Content-Length: 300000\r\n\r\n" + b"1,2\n" * 75000],
    "repeated": [HEAD + b"X-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n1,2"],
    "repeated length": [HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n1,2,"],
    "bad length": [HEAD + b"Content-Length: +3\r\n\r\n1,2"],
    "length of other digits": [HEAD + b"Content-Length: \xb2\r\n\r\n1,2"],
    "chunked": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n1,2\r\n0\r\n\r\n"],
    "underscore": [HEAD + b"X_A: 1\r\nContent-Length: 3\r\n\r\n1,2"],
    "folded": [HEAD + b"X-A: 1\r\n 2\r\nContent-Length: 3\r\n\r\n1,2"],
    "no colon": [HEAD + b"X-A\r\nContent-Length: 3\r\n\r\n1,2"],
    "space before the colon": [HEAD + b"X-A : 1\r\nContent-Length: 3\r\n\r\n1,2"],
    "another path": [HEAD.replace(b"/inv", b"/%41?b=1&/inv") + b"Content-Length: 3\r\n\r\n1,2"],
    "another method": [HEAD.replace(b"POST", b"GET") + b"\r\n"],
    "no HTTP": [b"hello\r\n\r\n"],
}


def assert_both_read_the_same(request: list[bytes]) -> None:
    application, response = ask(ProxiedWorker, request)
    expected, other = ask(SyncWorker, request)
    assert application.environ == expected.environ, request
    assert (application.body, application.closed) == (expected.body, expected.closed), request
    assert status_and_body(response) == status_and_body(other), request


@pytest.mark.parametrize("name", REQUESTS)
def test_both_workers_read_the_same(name: str) -> None:
    assert_both_read_the_same(REQUESTS[name])


@pytest.mark.parametrize("header", ["a\r\nX-B: c", "a\nb", "a\rb", "raise"])
def test_faults_of_the_application_are_answered_with_500(header: str) -> None:
    application, response = ask(ProxiedWorker, REQUESTS["plain"], header=header)
    expected, other = ask(SyncWorker, REQUESTS["plain"], header=header)
    assert status_and_body(response)[0] == b"HTTP/1.1 500 Internal Server Error"
    assert application.environ == expected.environ
    if header != "raise":  # there gunicorn takes the application's fault for the socket's
        assert response == other


def test_a_worker_ends_after_max_requests() -> None:
    config = Config()
    config.set("max_requests", 2)
    worker = ProxiedWorker(1, os.getppid(), [], None, 30, config, Logger(config))
    worker.wsgi = Application()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name that the system chooses
        listener.listen(4)
        alive = []
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(listener.getsockname())
                client.sendall(REQUESTS["plain"][0])
                worker.accept(listener)
                assert client.recv(RECV_BYTES).startswith(b"HTTP/1.1 200 OK\r\n")
            alive.append(worker.alive)
    assert alive == [True, False]


def test_random_headers_are_read_as_gunicorn_reads_them() -> None:
    random_ = random.Random(7)
    alphabet = [*map(chr, range(0x21, 0x7F)), " ", "\t", "\xe9", ",", "-", "_", ":"]
    short = 0
    for _ in range(300):
        lines = [
            "".join(random_.choices("abXY-_:19 ", weights=[9, 9, 9, 9, 9, 1, 1, 5, 5, 1], k=4))
            + ": "
            + "".join(random_.choices(alphabet, k=random_.randrange(9)))
            for _ in range(random_.randrange(4))
        ]
        text = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        request = [HEAD + text + b"Content-Length: 3\r\n\r\n1,2"]
        assert_both_read_the_same(request)
        short += parse_head(request[0].partition(b"\r\n\r\n")[0]) is not None
    assert 100 < short < 300  # both ways were taken


def test_what_nginx_sends_needs_no_help_of_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(SyncWorker, "handle", lambda *arguments: calls.append(arguments))
    for name in ("plain", "no body", "body later", "large"):
        assert ask(ProxiedWorker, REQUESTS[name])[1].startswith(b"HTTP/1.1 200 OK\r\n"), name
    assert not calls


def test_the_answer_to_a_body_that_was_not_read_arrives() -> None:
    request = [HEAD + b"Content-Length: 100000\r\n\r\n" + b"1,2\n" * 25000]
    application, response = ask(ProxiedWorker, request, reads=False)
    assert application.body == b""
    assert status_and_body(response) == (b"HTTP/1.1 200 OK", b"0.5\n")
    _, response = ask(ProxiedWorker, request, reads=False, header="raise")
    assert status_and_body(response)[0] == b"HTTP/1.1 500 Internal Server Error"


def test_a_body_that_ends_early_is_no_body() -> None:
    environ = {"CONTENT_LENGTH": "9", "wsgi.input": io.BytesIO(b"1,2\n3,")}
    with pytest.raises(DecodeError, match="ended after 6 of 9 bytes"):
        read_body(environ, 100)


def test_names_of_headers_fill_no_memory() -> None:
    for index in range(2000):
        assert workers.variable(f"X-{index}") == f"HTTP_X_{index}"
    assert workers.variable.cache_info().currsize <= 256
