"""What /ping says: a worker that computes is healthy, one that is stuck is not."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import settings
from conftest import sample_rows, save, to_csv
from load import Load
from predictor import load_model
from runtime.server import health

HEALTH_SECONDS = float(os.environ.get("HEALTH_SECONDS", "4"))
REQUEST_SECONDS = min(HEALTH_SECONDS, health.STALE + 3)


def test_health_needs_one_worker_that_is_alive_beats_and_passes(tmp_path: Path) -> None:
    assert health.problem(tmp_path) == "no worker is ready"
    beat = health.Heartbeat(tmp_path, lambda: "")
    assert health.problem(tmp_path) is None
    long_ago = time.time() - health.STALE - 1
    os.utime(beat.path, (long_ago, long_ago))
    assert "has sent no heartbeat for 11 s" in (health.problem(tmp_path) or "")
    beat.beat()
    assert health.problem(tmp_path) is None
    health.Heartbeat(tmp_path, lambda: "the engine is gone")
    assert health.problem(tmp_path) == "the engine is gone"
    beat.path.rename(tmp_path / "999999999")
    assert health.problem(tmp_path) == "no worker is ready"


def test_a_heartbeat_without_content_is_not_a_healthy_one(tmp_path: Path) -> None:
    (tmp_path / str(os.getpid())).touch()
    assert health.problem(tmp_path) is not None


def test_no_reader_meets_a_finding_that_is_half_written(tmp_path: Path) -> None:
    beat = health.Heartbeat(tmp_path, lambda: "the engine is gone")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            beat.written = ""  # so that the finding is written anew
            beat.beat()

    writer = threading.Thread(target=write)
    writer.start()
    seen = {health.problem(tmp_path) for _ in range(3_000)}
    stop.set()
    writer.join()
    assert seen == {"the engine is gone"}


def test_a_heartbeat_survives_a_full_disk(tmp_path: Path) -> None:
    beat = health.Heartbeat(tmp_path, lambda: "")
    beat.path.unlink()
    tmp_path.chmod(0o500)
    beat.path = tmp_path / "missing" / "1"
    beat.beat()  # no exception: the thread goes on
    beat.path = tmp_path / str(os.getpid())
    tmp_path.chmod(0o700)
    beat.beat()
    assert health.problem(tmp_path) is None


def test_the_files_of_a_worker_that_exited_are_removed(tmp_path: Path) -> None:
    for name in ("17", "17.draft", "18"):
        (tmp_path / name).touch()
    health.forget(tmp_path, 17)
    health.forget(tmp_path, 17)
    assert [path.name for path in tmp_path.iterdir()] == ["18"]


@pytest.mark.parametrize("method", ["predict", "contributions"])
def test_the_self_test_does_not_wait_for_a_request(
    booster, opt_ml: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": "off"})
    model = load_model(save(booster("binary:logistic"), opt_ml / "model"), config)
    [engine], entered, leave = model.engines, threading.Event(), threading.Event()
    compute = getattr(engine, method)

    def slow(rows: np.ndarray) -> np.ndarray:
        entered.set()
        leave.wait(30)
        return compute(rows)

    monkeypatch.setattr(engine, method, slow)
    ask = model.contributions if method == "contributions" else partial(model.ask, method)
    request = threading.Thread(target=ask, args=(sample_rows(3),))
    request.start()
    assert entered.wait(10)
    began = time.monotonic()
    assert model.self_test() == ""
    now = time.monotonic()
    assert now - began < 1
    monkeypatch.setattr(time, "monotonic", lambda: now + config.request_timeout)
    assert "a request has been computing for 60 s" in model.self_test()
    leave.set()
    request.join()
    assert model.self_test() == ""


@pytest.mark.slow
def test_ping_stays_good_while_explanations_fill_all_workers(launch, booster, opt_ml: Path) -> None:
    """Each request takes several heartbeats: were one computed, not sent beside the computation,
    the newest would be as old as the request. With HEALTH_SECONDS=60 a request takes longer than a
    heartbeat may be absent. XGBoost explains whatever predicts, so one engine is enough.
    """
    deep = booster("binary:logistic", rounds=60, max_depth=8)
    save(deep, opt_ml / "model")
    server = launch(opt_ml, SAGEMAKER_INFERENCE_OUTPUT="contributions")
    newest = f"stat -c %Y {server.run_folder()}/beats/* 2>/dev/null | sort -n | tail -n 1"
    part = to_csv(sample_rows(1_000, seed=5))
    began = time.monotonic()
    answer = server.post(part).body
    each = time.monotonic() - began
    parts = max(1, round(REQUEST_SECONDS / each))
    body, expected = part * parts, answer * parts
    with Load(server, body, expected, clients=2) as load:
        statuses, slowest, oldest, end = [], 0.0, 0.0, time.monotonic() + HEALTH_SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            statuses.append(server.request("GET", "/ping").status)
            slowest = max(slowest, time.monotonic() - began)
            oldest = max(oldest, time.time() - int(server.shell(newest) or 0))
            time.sleep(0.1)
    assert (load.wrong, load.failed, load.lost) == ([], [], [])
    print(
        f"{len(statuses)} pings, slowest {slowest:.3f} s; newest heartbeat {oldest:.1f} s old; "
        f"{load.good} answers of {each * parts:.0f} s each"
    )
    assert set(statuses) == {200}
    assert slowest < 2
    assert oldest < 3  # one each second, read to the second
