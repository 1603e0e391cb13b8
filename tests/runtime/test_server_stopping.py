"""SIGTERM: whoever is connected is answered, and the exit code is 0."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from conftest import sample_rows, save, to_csv
from load import Load
from runtime.server import listening

BODY = to_csv(sample_rows(3, seed=5))
STOPS = int(os.environ.get("STOPS", "1"))  # of a server under load
FRONTS = [
    pytest.param(True, id="behind nginx", marks=pytest.mark.skipif(
        shutil.which("nginx") is None, reason="nginx is not on PATH")),
    pytest.param(False, id="gunicorn alone"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("nginx", FRONTS)
def test_no_connection_is_reset_when_told_to_stop_under_load(
    launch, booster, opt_ml: Path, nginx: bool
) -> None:
    """STOPS=20 takes a few minutes."""
    save(booster("binary:logistic"), opt_ml / "model")
    answered, refused, seconds = 0, 0, []
    for _ in range(STOPS):
        server = launch(opt_ml, nginx=nginx, host_network=True)
        with Load(server, BODY, server.post(BODY).body, clients=8, at_once=True) as load:
            time.sleep(1)
            began = time.monotonic()
            assert server.stop() == 0
            seconds.append(time.monotonic() - began)
        assert (load.wrong, load.failed, load.lost) == ([], [], [])
        assert load.good > 50
        answered, refused = answered + load.good, refused + load.refused
    print(f"{STOPS} stops, {answered} answers, {refused} refused, slowest {max(seconds):.1f} s")
    assert refused  # the clients went on until nobody listened


@pytest.mark.parametrize("nginx", FRONTS)
def test_connections_that_wait_in_the_queue_are_answered(
    launch, booster, opt_ml: Path, nginx: bool
) -> None:
    """The processes that accept are stopped, so the queue is full at SIGTERM."""
    save(booster("binary:logistic"), opt_ml / "model")
    server = launch(opt_ml, nginx=nginx, host_network=True)
    kind = "nginx" if nginx else "gunicorn"
    found = server.children(kind)
    accepting = [pid for pid, above in found.items() if above in found]
    server.shell("kill -STOP " + " ".join(map(str, accepting)))
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request = head + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    waiting = [socket.create_connection((server.host, server.port), 30) for _ in range(20)]
    for connection in waiting:
        connection.sendall(request)
    assert server.process is not None
    server.process.terminate()
    server.wait_for("told to stop")
    server.shell("kill -CONT " + " ".join(map(str, accepting)))
    for connection in waiting:
        with connection:
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.process.wait(30) == 0


def test_sigterm_while_the_program_is_loaded_stops_it_in_order(launch, opt_ml: Path) -> None:
    server = launch(opt_ml, wait=False)
    if server.container:
        pytest.skip("the client of docker passes no signal on before the container runs")
    status = Path(f"/proc/{server.process.pid}/status")
    held = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)  # before exec() all are blocked
    limit = time.monotonic() + 10
    while int(re.findall(r"SigBlk:\s(\w+)", status.read_text())[0], 16) != held:
        assert time.monotonic() < limit, "SIGTERM is not held back"
    assert server.stop() == 0
    server.wait_for("told to stop")


def test_pings_are_answered_until_nginx_has_stopped(launch, booster, opt_ml: Path) -> None:
    """One that nginx passes on after SIGTERM would keep it waiting, and the server with it."""
    save(booster("binary:logistic"), opt_ml / "model")
    server = launch(opt_ml, host_network=True)
    found = server.children("nginx")
    if not found:
        pytest.skip("nginx is not on PATH")
    accepting = " ".join(str(pid) for pid, above in found.items() if above in found)
    server.shell(f"kill -STOP {accepting}")
    with socket.create_connection((server.host, server.port), 30) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server.process.terminate()
        server.wait_for("told to stop")
        server.shell(f"kill -CONT {accepting}")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.process.wait(10) == 0


WAYS = {
    "turn_away": (TimeoutError, ConnectionRefusedError),  # the first of the two that there is
    "drop_syn": TimeoutError,
    "leave_devices": ConnectionRefusedError,
}


def turn_away(listener: socket.socket, way: str) -> None:
    try:
        getattr(listening, way)(listener)
    except PermissionError:
        pytest.skip("for administrators only, by this kernel")


@pytest.mark.parametrize("way", WAYS)
def test_a_socket_that_turns_away_completes_a_handshake_that_has_begun(way: str) -> None:
    listener = listening.listen(0)
    # The kernel completes a handshake only when the client sends: it has begun until then.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    with listener, socket.create_connection(listener.getsockname()) as client:
        assert listening.waiting(listener) == 0
        turn_away(listener, way)
        client.sendall(b"1,2\n")
        select.select([listener], [], [], 5)
        server, _ = listener.accept()
        server.settimeout(5)
        with server:
            assert server.recv(9) == b"1,2\n"
            client.sendall(b"3,4\n")
            assert server.recv(9) == b"3,4\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_socket_that_turns_away_keeps_who_is_connected(way: str) -> None:
    listener = listening.listen(0)
    address = ("127.0.0.1", listener.getsockname()[1])
    with listener, socket.create_connection(address) as early:
        assert listening.waiting(listener) == 1
        turn_away(listener, way)
        with pytest.raises(WAYS[way]):
            socket.create_connection(address, timeout=0.3)
        quiet = listening.Quiet(listener)
        assert not quiet.reached()
        server, _ = listener.accept()
        with server:
            early.sendall(b"1,2\n")
            assert server.recv(9) == b"1,2\n"
            server.sendall(b"0.5\n")
        assert early.recv(9) == b"0.5\n"
        assert listening.waiting(listener) == 0
        late: list[str] = []

        def connect() -> None:
            try:
                socket.create_connection(address, timeout=5).close()
            except ConnectionRefusedError:
                late.append("refused")

        client = threading.Thread(target=connect)
        client.start()
        limit = time.monotonic() + 5
        while not quiet.reached():
            assert time.monotonic() < limit
            time.sleep(listening.STEP)
        listener.close()
        client.join()
    assert late == ["refused"]
