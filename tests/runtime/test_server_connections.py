"""nginx's persistent connections: an idle worker answers each request, whoever else dies."""

from __future__ import annotations

import http.client
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker

from conftest import Server, sample_rows, save, to_csv, wait_until
from runtime.server import connections, workers
from runtime.server.connections import PIECE, Exchange, Shared
from runtime.server.workers import RECV_BYTES, ProxiedWorker
from test_server_workers import REQUESTS, Application, ask, status_and_body

pytestmark = pytest.mark.skipif(not connections.supported(), reason="not on this kernel")
ROW = to_csv(sample_rows(1, seed=5))
PART = to_csv(sample_rows(1_000, seed=5))
WHOLE = [name for name, pieces in REQUESTS.items() if len(pieces) == 1 and name != "large"]


class Loop(threading.Thread):
    """The supervisor's loop, with nothing in it but an exchange."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self.exchange = Exchange(run)
        self.wake, self.end = os.pipe()

    def run(self) -> None:
        while self.wake not in select.select([self.exchange, self.wake], [], [])[0]:
            self.exchange.turn()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    thread = Loop(tmp_path)
    thread.start()
    yield thread
    os.write(thread.end, b".")
    thread.join(10)
    assert not thread.is_alive()


def connect(tmp_path: Path) -> socket.socket:
    """Connect as nginx does."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(tmp_path / "rows.sock"))
    return client


def receive(shared: Shared, connections_: int) -> None:
    """Read a worker's messages until it has so many connections."""
    while len(shared.clients) != connections_:
        ready = dict(shared.epoll.poll(10))
        assert ready, "no message"
        for descriptor in ready:
            if descriptor == shared.channel.fileno():
                shared.receive()
            else:
                shared.request(descriptor, 9)


def next_request(shared: Shared) -> bytes:
    """Return the next request that a worker receives, following its messages until then."""
    while True:
        [(descriptor, _)] = shared.epoll.poll(10, 1)
        if descriptor != shared.channel.fileno():
            return shared.request(descriptor, RECV_BYTES)
        shared.receive()


def test_a_request_belongs_to_the_worker_that_receives_it(loop: Loop, tmp_path: Path) -> None:
    first, second = Shared(tmp_path), Shared(tmp_path)
    with connect(tmp_path) as nginx:
        receive(first, 1)
        receive(second, 1)
        nginx.sendall(b"a" * PIECE)
        [descriptor], [other] = first.clients, second.clients
        assert first.request(descriptor, RECV_BYTES) == b"a" * PIECE
        assert second.request(other, RECV_BYTES) == b""
        assert (len(first.clients), len(second.clients)) == (1, 1)


def test_a_request_wakes_a_worker_that_is_idle(loop: Loop, tmp_path: Path) -> None:
    busy, idle = Shared(tmp_path), Shared(tmp_path)
    with connect(tmp_path) as one, connect(tmp_path) as two:
        receive(busy, 2)
        receive(idle, 2)
        one.sendall(b"long")
        assert next_request(busy) == b"long"
        woken: list[bytes] = []
        waiting = threading.Thread(target=lambda: woken.append(next_request(idle)))
        waiting.start()
        two.sendall(b"short")
        waiting.join(10)
        assert woken in ([b"short"], [b""])  # b"": woken for the one that `busy` has
        if woken == [b""]:
            assert next_request(idle) == b"short"


def test_a_worker_that_dies_closes_the_connection_that_it_was_answering(
    loop: Loop, tmp_path: Path
) -> None:
    dies, lives = Shared(tmp_path), Shared(tmp_path)
    with connect(tmp_path) as one, connect(tmp_path) as two:
        receive(dies, 2)
        receive(lives, 2)
        one.sendall(b"1")
        assert next_request(dies) == b"1"
        two.sendall(b"2")
        dies.channel.close()  # as the kernel does
        assert one.recv(9) == b""
        receive(lives, 1)
        [(_, client)] = lives.clients.values()
        client.sendall(b"answer")
        assert two.recv(9) == b"answer"


def test_a_request_whose_worker_died_before_receiving_it_goes_to_another(
    loop: Loop, tmp_path: Path
) -> None:
    dies = Shared(tmp_path)
    with connect(tmp_path) as nginx:
        receive(dies, 1)
        nginx.sendall(b"1")
        assert dies.epoll.poll(10)
        dies.channel.close()
        successor = Shared(tmp_path)
        assert next_request(successor) == b"1"


def test_lost_wake_ups_are_found_by_looking_again(loop: Loop, tmp_path: Path) -> None:
    lost, other = Shared(tmp_path), Shared(tmp_path)
    with connect(tmp_path) as nginx:
        receive(lost, 1)
        receive(other, 1)
        nginx.sendall(b"1")
        other.look_again()
        assert next_request(other) == b"1"


def test_what_nginx_closes_is_closed_everywhere(loop: Loop, tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        nginx = [connect(tmp_path) for _ in range(20)]
        receive(shared, 20)
        for connection in nginx:
            connection.close()
        receive(shared, 0)
    wait_until(lambda: not loop.exchange.connections)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert not loop.exchange.by_descriptor


def test_a_busy_worker_gets_more_connections_than_its_socket_holds(
    loop: Loop, tmp_path: Path
) -> None:
    shared = Shared(tmp_path)
    [member] = loop.exchange.members.values()
    member.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    nginx = [connect(tmp_path) for _ in range(60)]
    wait_until(lambda: len(loop.exchange.connections) == 60)
    assert member.waiting  # else this tests nothing
    receive(shared, 60)
    for connection in nginx:
        connection.close()


def test_something_else_that_joins_is_turned_away(loop: Loop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.settimeout(10)
        stranger.connect(str(tmp_path / "workers.sock"))
        stranger.send(b"hello")
        assert stranger.recv(9) == b""
    assert not loop.exchange.members
    Shared(tmp_path)


def shared_worker(tmp_path: Path, application: Application, requests: int = 0) -> ProxiedWorker:
    """Return a worker that has joined, and that ends after so many requests."""
    config = Config()
    config.set("max_requests", requests)
    worker = ProxiedWorker(1, os.getppid(), [], None, 30, config, Logger(config))
    worker.wsgi, worker.PIPE = application, os.pipe()
    worker.join(tmp_path)
    return worker


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "gunicorn.sock"))
        found.listen(9)
        yield found


@pytest.mark.parametrize("name", WHOLE)
def test_requests_of_persistent_connections_are_read_as_gunicorn_reads_them(
    loop: Loop, tmp_path: Path, listener: socket.socket, name: str
) -> None:
    application = Application()
    worker = shared_worker(tmp_path, application)
    worker.sockets = [listener]
    thread = threading.Thread(target=worker.run)
    thread.start()
    with connect(tmp_path) as nginx:
        nginx.sendall(REQUESTS[name][0])
        nginx.shutdown(socket.SHUT_WR)
        response = b""
        while data := nginx.recv(RECV_BYTES):
            response += data
    worker.alive = False
    os.write(worker.PIPE[1], b"1")
    thread.join(10)
    expected, other = ask(SyncWorker, REQUESTS[name])
    assert application.environ == expected.environ
    assert (application.body, application.closed) == (expected.body, expected.closed)
    assert status_and_body(response) == status_and_body(other)


def answer_all(worker: ProxiedWorker, run: Path) -> None:
    """Let a worker answer as many requests of one connection as it may; it ends then."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    with connect(run) as nginx:
        for _ in range(worker.max_requests):
            nginx.sendall(REQUESTS["plain"][0])
            response = nginx.recv(RECV_BYTES)
            assert response.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Connection: close" not in response
    thread.join(10)
    assert not thread.is_alive()


def test_a_connection_answers_many_requests_until_max_requests(
    loop: Loop, tmp_path: Path, listener: socket.socket
) -> None:
    worker = shared_worker(tmp_path, Application(), requests=3)
    worker.sockets = [listener]
    answer_all(worker, tmp_path)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_worker_looks_for_more_before_it_sleeps_where_nginx_has_a_cpu_too(
    loop: Loop, tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr(workers.resources, "cpu_count", lambda: cpus)
    looked: list[int] = []
    linger = workers.linger
    monkeypatch.setattr(workers, "linger", lambda epoll: looked.append(worker.nr) or linger(epoll))
    worker = shared_worker(tmp_path, Application(), requests=3)
    worker.sockets = [listener]
    answer_all(worker, tmp_path)
    assert looked == ([1, 2] if cpus > 1 else [])  # once an answer, and not after the last one


def test_lingering_ends_with_what_becomes_ready_or_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, select.epoll() as epoll:
        epoll.register(ours, select.EPOLLIN)
        began = time.monotonic()
        assert workers.linger(epoll) == []
        assert time.monotonic() - began >= workers.LINGER_SECONDS
        monkeypatch.setattr(workers, "LINGER_SECONDS", 60.0)
        threading.Timer(0.05, lambda: theirs.send(b"x")).start()
        assert workers.linger(epoll) == [(ours.fileno(), select.EPOLLIN)]


def test_a_fault_of_the_application_closes_the_connection_for_all_workers(
    loop: Loop, tmp_path: Path, listener: socket.socket
) -> None:
    worker, idle = shared_worker(tmp_path, Application(header="raise")), Shared(tmp_path)
    worker.sockets = [listener]
    with connect(tmp_path) as nginx:
        receive(idle, 1)
        nginx.sendall(REQUESTS["plain"][0])
        assert worker.shared is not None
        receive(worker.shared, 1)
        worker.answer_next(worker.shared, *worker.shared.clients)
        assert nginx.recv(RECV_BYTES).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert nginx.recv(RECV_BYTES) == b""
        receive(idle, 0)


def persistent(server: Server) -> int:
    """Return how many connections of nginx are open."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    name = f"{server.run_folder()}/rows.sock"
    return sum(line.endswith(name) and line.split()[5] == "03" for line in lines)


@pytest.fixture(scope="module")
def explaining(launch, booster, tmp_path_factory) -> Server:
    base = tmp_path_factory.mktemp("opt_ml")
    save(booster("multi:softprob", rounds=2), base / "model")
    server: Server = launch(base, SAGEMAKER_INFERENCE_OUTPUT="contributions")
    if not server.children("nginx"):
        pytest.skip("nginx is not on PATH")
    return server


def test_rows_do_not_wait_behind_long_requests(explaining: Server) -> None:
    """One of two workers computes for long; connections that it answered before are not slower."""
    clients = [http.client.HTTPConnection(explaining.host, explaining.port) for _ in range(8)]
    times: list[float] = []

    def post(client: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        client.request("POST", "/invocations", ROW, {"Content-Type": "text/csv"})
        answer = client.getresponse()
        answer.read()
        assert answer.status == 200
        times.append(time.monotonic() - began)

    for client in clients:
        post(client)
    long = threading.Thread(target=lambda: explaining.post(PART * 40, timeout=60))
    began = time.monotonic()
    long.start()
    while long.is_alive():
        for client in clients:
            post(client)
    seconds = time.monotonic() - began
    long.join()
    assert len(times) > 30
    assert max(times[8:]) < seconds / 2, f"{max(times):.2f} of {seconds:.2f} s"


def test_rows_come_through_few_connections_and_large_bodies_through_none(
    explaining: Server,
) -> None:
    if explaining.container:
        pytest.skip("the sockets of a container are its own")
    statuses = {explaining.post(body).status for body in (ROW, PART) for _ in range(20)}
    assert statuses == {200}
    assert 1 <= persistent(explaining) <= 8


def test_an_idle_worker_that_is_killed_costs_no_request(explaining: Server) -> None:
    killed = set()
    for victim in sorted(explaining.ready()):
        killed.add(victim)
        explaining.kill(victim)
        assert {explaining.post(ROW).status for _ in range(10)} == {200}
        wait_until(lambda: len(explaining.ready() - killed) == 2, 20)
