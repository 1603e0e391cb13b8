"""Load from a real client: wrk where it is installed, else one of Python's own.

Both keep their connections open and post one body over and over for a given time.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Load:
    """What one burst of load did: requests, seconds, latencies in seconds, failed requests."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int


def client_name() -> str:
    """Return which client `burst` uses: wrk or python."""
    return "wrk" if shutil.which("wrk") else "python"


def burst(
    port: int,
    body: Path,
    content_type: str,
    clients: int,
    seconds: float,
    *,
    finish: bool = False,
    path: str = "/invocations",
) -> Load:
    """Post the file `body` to `path` from `clients` connections for `seconds`.

    With `finish`, by Python's own client, the last answers are waited for: wrk leaves the server at
    work, and long requests would disturb whoever is measured next.
    """
    run = _wrk if client_name() == "wrk" and not finish else _python
    load = run(port, body, content_type, clients, seconds, path)
    if load.errors or not load.requests:
        raise RuntimeError(f"port {port}: {load.errors} of {load.requests} requests failed")
    return load


def _wrk(port: int, body: Path, content_type: str, clients: int, seconds: float, path: str) -> Load:
    url = f"http://127.0.0.1:{port}{path}"
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s"]
    command += ["-s", str(SCRIPT), url]
    environment = {**os.environ, "BENCH_BODY": str(body), "BENCH_TYPE": content_type}
    output = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return Load(**json.loads(line.removeprefix("RESULT ")))


def _python(
    port: int, body: Path, content_type: str, clients: int, seconds: float, path: str
) -> Load:
    content, latencies, errors = body.read_bytes(), [], []
    headers = {"Content-Type": content_type}
    start = time.perf_counter()

    def post_until(end: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (sent := time.perf_counter()) < end:
            connection.request("POST", path, content, headers)
            answer = connection.getresponse()
            answer.read()
            latencies.append(time.perf_counter() - sent)
            if answer.status != 200:
                errors.append(answer.status)

    threads = [threading.Thread(target=post_until, args=(start + seconds,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    p50, p99 = np.percentile(latencies or [0.0], [50, 99])
    return Load(len(latencies), elapsed, float(p50), float(p99), len(errors))
