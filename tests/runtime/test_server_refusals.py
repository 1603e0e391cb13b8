"""Requests that are not HTTP as it should be, and bodies that nobody reads: answered, in JSON."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
from pathlib import Path

import pytest

from conftest import Response, Server, save

FRONTS = [
    pytest.param(True, id="behind nginx", marks=pytest.mark.skipif(
        shutil.which("nginx") is None, reason="nginx is not on PATH")),
    pytest.param(False, id="gunicorn alone"),
]  # fmt: skip
POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n"
BODY = b"Content-Length: 10\r\n\r\n1,2,3,4,5\n"
LARGE = b"Content-Length: 5000000\r\n\r\n" + b"1,2,3,4,5\n" * 500_000
# What is wrong with a request, the request, and the statuses that say so.
MALFORMED: dict[str, tuple[bytes, set[int]]] = {
    "two types": (POST + b"Content-Type: text/csv\r\nContent-Type: text/csv\r\n" + BODY, {400}),
    "two types of no body": (PING + b"Content-Type: a\r\nContent-Type: b\r\n\r\n", {200, 400}),
    "two lengths": (POST + b"Content-Length: 10\r\n" + BODY, {400}),
    "two hosts": (POST + b"Host: y\r\n" + BODY, {400}),
    "two encodings": (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", {400}),
    "length and encoding": (POST + b"Transfer-Encoding: chunked\r\n" + BODY, {400}),
    "unknown encoding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", {400}),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n1", {400}),
    "length of letters": (POST + b"Content-Length: 1x\r\n\r\n1", {400}),
    "length over the limit": (POST + b"Content-Length: 99999999999\r\n\r\n1", {413}),
    "length of many digits": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n1", {400, 413}),
    "bad chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n1,2\r\n0\r\n\r\n", {400, 415}),
    "long line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "long header": (POST + b"X-A: " + b"a" * 70_000 + b"\r\n" + BODY, {400, 431}),
    "many headers": (POST + b"".join(b"X-%d: 1\r\n" % i for i in range(9_999)) + BODY, {400, 431}),
    "no method": (b" / HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "method in lower case": (POST.replace(b"POST", b"post") + BODY, {400}),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", {404, 405}),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
    "OPTIONS of all": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "version 9": (PING.replace(b"1.1", b"9.9") + b"\r\n", {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n", {400}),
    "NUL in a header": (POST + b"X-A: a\0b\r\n" + BODY, {400}),
    "no name": (POST + b": a\r\n" + BODY, {400}),
    "folded header": (POST + b"X-A: a\r\n b\r\n" + BODY, {400}),
    "path upwards": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "NUL in the path": (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "unknown expectation": (POST + b"Expect: 200-ok\r\n" + BODY, {200, 417}),
    "wrong method": (POST.replace(b"POST", b"PUT") + BODY, {405}),
}
UNREAD = {
    "wrong method": (POST.replace(b"POST", b"PUT") + LARGE, {405}),
    "wrong path": (POST.replace(b"invocations", b"nothing") + LARGE, {404}),
    "over the limit": (POST + LARGE.replace(b"5000000", b"50000000", 1), {413, 503}),
    "no model": (POST + LARGE, {503}),
    "ping": (PING + LARGE, {503}),
}


def send(server: Server, request: bytes) -> Response:
    """Send bytes as they are, all of them before anything is read, and return the answer."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # the rest is refused: the answer is here
            connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Response(answer.status, answer.headers, answer.read())


@pytest.fixture(scope="module", params=FRONTS)
def front(request: pytest.FixtureRequest, launch, booster, tmp_path_factory) -> Server:
    base = tmp_path_factory.mktemp("opt_ml")
    save(booster("binary:logistic"), base / "model")
    return launch(base, nginx=request.param)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_answered_in_json(front: Server, name: str) -> None:
    request, statuses = MALFORMED[name]
    answer = send(front, request)
    assert answer.status in statuses, answer.body
    if answer.status != 200:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["code"] == answer.status
        assert answer.json()["message"]


@pytest.fixture(scope="module", params=FRONTS)
def without_model(request: pytest.FixtureRequest, launch, tmp_path_factory) -> Server:
    base = tmp_path_factory.mktemp("opt_ml")
    (base / "model").mkdir()
    server: Server = launch(base, wait=False, nginx=request.param)
    return server.wait_until_refused()


@pytest.mark.parametrize("name", UNREAD)
def test_the_answer_to_a_body_that_nobody_reads_arrives(without_model: Server, name: str) -> None:
    request, statuses = UNREAD[name]
    for _ in range(10):
        answer = send(without_model, request)
        assert answer.status in statuses, answer.body
        assert answer.json()["code"] == answer.status
    if name in ("no model", "ping"):
        assert "the model cannot be served" in answer.json()["message"]


def test_the_log_says_who_was_refused_and_holds_no_traceback(front: Server) -> None:
    send(front, MALFORMED["two types"][0])
    assert "Traceback" not in front.output()


def test_a_port_in_use_is_an_error_that_names_it(launch, opt_ml: Path) -> None:
    first = launch(opt_ml, wait=False)
    if first.container:
        pytest.skip("a container has its own port")
    first.wait_for("cannot be served")
    second = launch(opt_ml, wait=False, SAGEMAKER_BIND_TO_PORT=str(first.port))
    assert second.process is not None
    assert second.process.wait(30) == 1
    second.wait_for(f"error: cannot listen on port {first.port}: Address already in use")
