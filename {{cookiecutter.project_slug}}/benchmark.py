"""Measure this project's own model on its own data: oneDAL beside XGBoost.

    make bench                           the model of ml/, or one of sample data while there is none
    make bench ARGS="FOLDER --turns 20"

The same program runs with ACCELERATION=auto and with ACCELERATION=off, in turns, because a shared
machine changes its speed from minute to minute: the ratio of two neighbours in time counts, not a
figure alone. "in process" is a request from its bytes to the bytes of its answer; "over HTTP" adds
the server, a client of Python and their share of the CPUs. Run it on a machine that does nothing
else. It prints a table and draws build/benchmark.svg, with the machine and the date.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import io
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `serve` starts its workers

from runtime import acceleration

acceleration.single_thread()  # as wsgi.py does: a worker computes with one thread

from werkzeug.test import EnvironBuilder  # noqa: E402

import settings  # noqa: E402
from predictor import create_app  # noqa: E402
from runtime.job.paths import Paths  # noqa: E402
from sample import own, picture  # noqa: E402

ROOT = Path(__file__).resolve().parent
PICTURE = ROOT / "build" / "benchmark.svg"
UNIT = "milliseconds per request"
ENGINES = {"auto": "oneDAL", "off": "XGBoost"}
ROWS = (1, 100, 10_000)
START_LIMIT = 60.0  # seconds
Send = Callable[[bytes], None]
Times = dict[str, list[float]]  # milliseconds per request, one value per turn, by ACCELERATION


def in_process(folder: Path, mode: str) -> tuple[Send, str]:
    """Return a function that answers one CSV request in this process, and the engine's name."""
    app = create_app(dataclasses.replace(settings.load(), acceleration=mode), Paths(folder))
    answered: dict[str, str] = {}

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
        answered.update(headers, status=status)
        return lambda data: None

    builder = EnvironBuilder("/invocations", method="POST", content_type="text/csv")
    common = builder.get_environ()

    def send(body: bytes) -> None:
        own_part = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        b"".join(app(common | own_part, start))
        if not answered["status"].startswith("200"):
            raise RuntimeError(f"status {answered['status']}")

    send(own.request(folder, *own.read_rows(folder, 1), "csv"))
    return send, answered.get("X-Model-Engine", "unknown")


@contextmanager
def over_http(folder: Path, mode: str) -> Iterator[Send]:
    """Serve the model as a container does; yield a function that posts one CSV request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ,
        "ACCELERATION": mode,
        "PYTHONPATH": str(ROOT / "program"),
        "SAGEMAKER_BASE_DIR": str(folder),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, str(ROOT / "program" / "serve")]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for_ping(port, server)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

            def send(body: bytes) -> None:
                connection.request("POST", "/invocations", body, {"Content-Type": "text/csv"})
                answer = connection.getresponse()
                if (answer.read(), answer.status)[1] != 200:
                    raise RuntimeError(f"status {answer.status}")

            yield send
        finally:
            server.terminate()
            server.wait(60)


def wait_for_ping(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until /ping says 200. Raises RuntimeError if the server exits, or after a minute."""
    limit = time.monotonic() + START_LIMIT
    while server.poll() is None and time.monotonic() < limit:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start: make smoke says why")


def measure(sends: dict[str, Send], body: bytes, turns: int, seconds: float) -> Times:
    """Return the milliseconds per request of each contestant, turn by turn; the first turn, which
    warms up, is left out, and every other turn runs backwards."""
    times: Times = {mode: [] for mode in sends}
    for turn in range(turns + 1):
        for mode in sorted(sends, reverse=turn % 2 == 1):
            start, count = time.perf_counter(), 0
            while (spent := time.perf_counter() - start) < seconds or not count:
                sends[mode](body)
                count += 1
            if turn:
                times[mode].append(spent / count * 1e3)
    return times


def report(case: str, times: Times) -> tuple[str, list[tuple[str, float]]]:
    """Print a case as a line; return its figures for the picture."""
    ratios = [off / auto for off, auto in zip(times["off"], times["auto"], strict=True)]
    medians = {mode: statistics.median(found) for mode, found in times.items()}
    figures = "  ".join(f"{ENGINES[mode]} {value:9.3f} ms" for mode, value in medians.items())
    low, high = min(ratios), max(ratios)
    print(f"{case:28}  {figures}  {statistics.median(ratios):5.2f} times ({low:.2f} to {high:.2f})")
    return case, [(ENGINES[mode], value) for mode, value in medians.items()]


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="oneDAL beside XGBoost, on this project's model")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "ml")
    parser.add_argument("--turns", type=int, default=10, help="of each engine, for each line")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = own.model_folder(options.folder.resolve(), Path(scratch))
        rows, names = own.read_rows(folder, max(ROWS))
        if folder == Path(scratch):
            print(f"note: no model in {options.folder}: measuring one of the sample data")
        inside = {mode: in_process(folder, mode) for mode in ENGINES}
        print(f"{rows.shape[1]} columns; served by {inside['auto'][1]}; milliseconds per request")
        cases = []
        with over_http(folder, "auto") as auto, over_http(folder, "off") as off:
            sends = {"in process": {mode: send for mode, (send, _) in inside.items()}}
            sends["over HTTP"] = {"auto": auto, "off": off}
            for place, contestants in sends.items():
                for count in ROWS:
                    picked = rows[[number % len(rows) for number in range(count)]]
                    body = own.request(folder, picked, names, "csv")
                    times = measure(contestants, body, options.turns, options.seconds)
                    cases.append(report(f"{count:,} rows {place}", times))
    notes = (picture.machine(), f"medians of {options.turns} paired turns, lower is better")
    picture.draw(PICTURE, f"{settings.PROJECT}: its own data", notes, UNIT, cases)
    print(f"picture: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
