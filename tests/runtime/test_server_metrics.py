"""The counts of workers that exited: kept, never counted twice, and flat in shared memory."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import Server, sample_rows, save, to_csv
from locations import PROGRAM

BODY = to_csv(sample_rows(3, seed=5))
DEATHS = int(os.environ.get("DEATHS", "40"))  # of workers of the real server
FORKS = int(os.environ.get("FORKS", "300"))  # of processes that count and are killed
ANSWERED = 'requests_total{status="200"}'
# Kills workers where they run, as fast as they are replaced: each once, when it has a heartbeat.
KILLER = """
left={deaths}
while [ $left -gt 0 ]; do
    for pid in $(ls {run}/beats | grep -v draft | head -n $left); do
        kill -KILL $pid && left=$((left - 1))
        while [ -e {run}/beats/$pid ]; do sleep 0.01; done
    done
done
"""

# A master that forks workers; each counts three requests and is killed while it holds its files.
MASTER = """
import os, signal, sys, time
from pathlib import Path
from runtime.inference import monitor
from runtime.inference.invocation import Trace

def worker():
    counter = monitor.Monitor(type("Settings", (), {{"access_log": "off"}}))
    for status in (200, 200, 400):
        counter.record(Trace("", "", status, rows=2, predict=0.25, engine="onedal"), {{}})
    counter.flush()
    monitor.MODELS.set(1)
    os.kill(os.getpid(), signal.SIGKILL)

folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
sizes = []
for count in range({forks}):
    pid = os.fork()
    if not pid:
        worker()
    os.waitpid(pid, 0)
    monitor.forget(pid)
    sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
print(len(set(sizes[1:])), len(list(folder.iterdir())))
sys.stdout.flush()
sys.stdout.buffer.write(monitor.exposition().body)
"""


def totals(text: str) -> dict[str, float]:
    """Return the samples of an exposition that only grow."""
    lines = [
        line for line in text.splitlines() if re.match(r"\w+_(total|bucket|count|sum)\b", line)
    ]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_thousands_of_killed_processes_leave_exact_counts_and_a_flat_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MASTER.format(forks=FORKS))],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(PROGRAM),
             "NUM_CLASSES": "2", "INPUT_FORMAT": "csv"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )  # fmt: skip
    first, _, text = done.stdout.decode().partition("\n")
    sizes, files = map(int, first.split())
    assert sizes == 1
    assert files < 8
    found = totals(text)
    assert found[ANSWERED] == 2 * FORKS
    assert found['requests_total{status="400"}'] == FORKS
    assert found['rows_total{engine="onedal"}'] == 6 * FORKS
    assert found['step_seconds_sum{step="predict"}'] == 0.75 * FORKS
    assert found['step_seconds_bucket{le="+Inf",step="predict"}'] == 3 * FORKS
    assert 'step_seconds_sum{step="decode"}' in found
    assert found['step_seconds_count{step="decode"}'] == 0  # none came that far
    assert found["request_seconds_count"] == 3 * FORKS
    assert found['request_seconds_bucket{le="0.5"}'] == 3 * FORKS
    assert found['request_seconds_bucket{le="0.1"}'] == 0
    assert "\nloaded_models 0.0\n" in text  # gauges go with their worker


def test_counts_that_cannot_be_read_are_dropped_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from runtime.inference import monitor

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("counter_7.db", "histogram_7.db"):  # killed before it wrote the first byte
        (tmp_path / name).touch()
    monitor.forget(7)
    assert not list(tmp_path.glob("*.db"))
    assert caplog.text.count("the counts of worker 7 are lost") == 2


def test_a_worker_that_is_just_making_its_files_does_not_break_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.inference import monitor

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("counter_7.db", "histogram_7.db", "gauge_livemax_7.db"):
        (tmp_path / name).touch()
    assert monitor.exposition().status == 200


def test_shadow_checks_are_counted_on_from_what_was_written() -> None:
    from runtime.acceleration.shadow import Counts
    from runtime.inference import monitor

    def written() -> float:
        labels = {"result": "checked"}
        return monitor.REGISTRY.get_sample_value("shadow_requests_total", labels) or 0

    before, counts = written(), Counts(checked=3)
    shadows = [SimpleNamespace(counts=counts), None]
    model = SimpleNamespace(engine_name="onedal", explainer_name="", shadows=shadows)
    counter = monitor.Monitor(SimpleNamespace(access_log="off"))
    counter.observe(1, model)
    counter.observe(1, model)
    assert written() - before == 3
    counts.checked = 5
    counter.observe(1, model)
    assert written() - before == 5


def test_an_error_has_a_cause_by_its_class_alone() -> None:
    from werkzeug.exceptions import ImATeapot

    from runtime.formats.errors import DecodeError, NotANumberError
    from runtime.inference.errors import CAUSES, BodyTooLargeError, cause_of

    class OwnError(DecodeError):
        cause = "mine"

    found = [cause_of(error("x")) for error in (DecodeError, NotANumberError, OwnError)]
    found += [cause_of(BodyTooLargeError("x")), cause_of(ImATeapot()), cause_of(KeyError("x"))]
    assert found == ["body", "body", "body", "too_large", "http", "defect"]
    assert set(found) <= set(CAUSES)


def test_a_status_that_http_does_not_know_is_answered_and_counted_as_other() -> None:
    from werkzeug.test import Client

    from runtime.inference import monitor
    from runtime.inference.errors import Response
    from runtime.inference.invocation import Trace
    from runtime.server.web import WebApplication

    app = WebApplication("own", lambda environ, name: Response(299, b"x"), many=False, limit=10)
    app.add_view("POST", "/invocations", lambda: Response(299, b"x"))
    client = Client(app)
    assert [client.post("/invocations").status_code for _ in range(2)] == [299, 299]
    counter = monitor.Monitor(SimpleNamespace(access_log="off"))
    counter.record(Trace("", "", 299), {})
    counter.flush()
    assert monitor.REGISTRY.get_sample_value("requests_total", {"status": "other"}) == 1
    assert monitor.REGISTRY.get_sample_value("requests_total", {"status": "299"}) is None


def test_a_reader_never_makes_the_master_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    from runtime.inference import monitor

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_7.db").write_bytes(b"")
    with (tmp_path / "lock").open("a") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monitor.forget(7)
    assert (tmp_path / "counter_7.db").exists()
    monitor.forget(8)
    assert not (tmp_path / "counter_7.db").exists()


def kilobytes(server: Server, folder: str) -> int:
    return int(server.shell(f"du -sk {folder}").split()[0])


def settled(server: Server, requests: int) -> dict[str, float]:
    """Return the totals once two workers are ready and have written what they counted."""
    limit = time.monotonic() + 30
    found: dict[str, float] = {}
    while time.monotonic() < limit:
        found = totals(server.request("GET", "/metrics").body.decode())
        if len(server.ready()) == 2 and found.get(ANSWERED, 0) >= requests:
            break
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_worker_deaths_leave_shared_memory_flat_and_no_counter_goes_back(
    launch, booster, opt_ml: Path
) -> None:
    """DEATHS=5000 takes minutes."""
    save(booster("binary:logistic"), opt_ml / "model")
    server = launch(opt_ml)
    run = server.run_folder()
    for _ in range(20):
        assert server.post(BODY).status == 200
    settled(server, 20)
    server.shell(KILLER.format(deaths=2, run=run))  # the first ones make the files of the dead
    before, memory = settled(server, 20), kilobytes(server, run)
    assert before[ANSWERED] == 20
    stop, backwards, statuses = threading.Event(), [], set()

    def watch() -> None:
        seen = dict(before)
        while not stop.wait(0.05):
            try:
                answer = server.request("GET", "/metrics")
            except (OSError, http.client.HTTPException):
                continue  # its worker was killed
            statuses.add(answer.status)
            found = totals(answer.body.decode()) if answer.status == 200 else {}
            for name, value in found.items():
                if value < seen.get(name, 0):
                    backwards.append((name, seen[name], value))
                seen[name] = max(value, seen.get(name, 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    server.shell(KILLER.format(deaths=DEATHS, run=run))
    seconds = time.monotonic() - began
    stop.set()
    watcher.join()
    after = settled(server, 20)
    grown = kilobytes(server, run) - memory
    print(f"{DEATHS} workers killed in {seconds:.0f} s: {memory} kB of shared memory, {grown:+d}")
    assert backwards == []
    assert statuses <= {200, 503}
    assert after[ANSWERED] == 20
    assert grown <= 64  # a page here or there, and not 192 kB per worker
    assert server.post(BODY).status == 200
