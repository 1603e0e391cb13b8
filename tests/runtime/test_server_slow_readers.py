"""Clients that read slowly hold no worker: an answer leaves it as soon as it is computed."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import threading
import time
from pathlib import Path

import pytest

from conftest import Server, sample_rows, save, to_csv, wait_until

READERS = int(os.environ.get("SLOW_READERS", "4"))
SECONDS = float(os.environ.get("SLOW_READER_SECONDS", "2"))
P99 = float(os.environ.get("SLOW_READER_P99", "0.5"))  # seconds; 0.05 on a quiet machine
ROW = to_csv(sample_rows(1, seed=5))
PART = to_csv(sample_rows(1_000, seed=5))
PARTS = 60  # 12 MB of answer: more than the sockets on the way hold
FRONTS = [
    pytest.param(True, id="behind nginx", marks=pytest.mark.skipif(
        shutil.which("nginx") is None, reason="nginx is not on PATH")),
    pytest.param(False, id="gunicorn alone"),
]  # fmt: skip


class SlowReader(threading.Thread):
    """Asks for a large answer, reads a little of it now and then, and the rest when told to."""

    def __init__(self, server: Server, body: bytes) -> None:
        super().__init__(daemon=True)
        self.server, self.body = server, body
        self.begun, self.hurry = threading.Event(), threading.Event()
        self.answer = b""

    def run(self) -> None:
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(self.body)}\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(120)
            connection.connect((self.server.host, self.server.port))
            connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + self.body)
            pieces = [connection.recv(100)]
            self.begun.set()
            while not self.hurry.wait(0.1):
                pieces.append(connection.recv(1_000))
            while pieces[-1]:
                pieces.append(connection.recv(1 << 20))
        self.answer = b"".join(pieces)


@pytest.mark.slow
@pytest.mark.parametrize("nginx", FRONTS)
def test_slow_readers_of_large_answers_do_not_hold_workers(
    launch, booster, opt_ml: Path, nginx: bool
) -> None:
    """More readers than workers; SLOW_READERS=8 SLOW_READER_P99=0.05 on a quiet machine."""
    save(booster("multi:softprob", rounds=2), opt_ml / "model")
    server = launch(opt_ml, nginx=nginx, SAGEMAKER_INFERENCE_OUTPUT="contributions")
    part, row = server.post(PART).body, server.post(ROW).body
    readers = [SlowReader(server, PART * PARTS) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        assert reader.begun.wait(60)
    times, statuses, end = [], set(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        began = time.monotonic()
        answer = server.post(ROW)
        times.append(time.monotonic() - began)
        statuses.add(server.request("GET", "/ping").status)
        assert (answer.status, answer.body) == (200, row)
        time.sleep(0.005)  # the slow readers are the load
    for reader in readers:
        reader.hurry.set()
    for reader in readers:
        reader.join(60)
    p99 = statistics.quantiles(times, n=100)[98]
    print(
        f"{READERS} slow readers of {len(part) * PARTS >> 20} MB each; one row: {len(times)} "
        f"answers, p50 {statistics.median(times) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
        f"slowest {max(times) * 1000:.1f} ms"
    )
    assert statuses == {200}
    for reader in readers:
        head, _, body = reader.answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert body == part * PARTS
    assert p99 < P99


def test_what_slow_readers_left_is_removed(launch, booster, opt_ml: Path) -> None:
    save(booster("multi:softprob", rounds=2), opt_ml / "model")
    server = launch(opt_ml, SAGEMAKER_INFERENCE_OUTPUT="contributions")
    if not server.children("nginx"):
        pytest.skip("nginx is not on PATH")
    if server.container:
        pytest.skip("there nobody may see what nginx's workers have opened")
    setting = f"sed -n 's|.*proxy_temp_path \\(.*\\)/proxy;|\\1|p' {server.run_folder()}/nginx.conf"
    folder = server.shell(setting).strip()
    reader = SlowReader(server, PART * PARTS)
    reader.start()
    assert reader.begun.wait(60)
    opened = f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep {folder} || true"  # it has no name any more
    wait_until(lambda: bool(server.shell(opened)))  # the first 4 MB of the answer are in memory
    reader.hurry.set()
    reader.join(60)
    wait_until(lambda: not server.shell(opened))
    assert server.stop() == 0
    assert not Path(folder).exists()
