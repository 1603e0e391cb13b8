"""The life of the server: load, killed processes, SIGTERM, broken models, strict containers."""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import time
from pathlib import Path

import pytest
import xgboost

import settings
from conftest import Server, sample_rows, save, to_csv, wait_until
from load import Load
from predictor import create_app
from runtime.job import artifact
from runtime.job.paths import Paths
from runtime.job.resources import alive

BODY = to_csv(sample_rows(3, seed=5))
BIG = to_csv(sample_rows(10_000, seed=5))
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "4"))
FRONTS = [
    pytest.param(True, id="behind nginx", marks=pytest.mark.nginx),
    pytest.param(False, id="gunicorn alone"),
]


@pytest.fixture
def started(launch, booster, opt_ml: Path):
    """Return a starter of servers with a binary model."""
    save(booster("binary:logistic"), opt_ml / "model")
    return lambda **options: launch(opt_ml, **options)


@pytest.mark.parametrize("nginx", FRONTS)
def test_sigterm_under_load_answers_everything_and_exits_0(started, nginx: bool) -> None:
    server = started(nginx=nginx)
    with Load(server, BODY, server.post(BODY).body) as load:
        time.sleep(1)
        began = time.monotonic()
        assert server.stop() == 0
    assert time.monotonic() - began < 25
    assert load.good > 50
    assert (load.wrong, load.failed, load.lost) == ([], [], [])


def test_sigterm_lets_a_long_request_finish(started) -> None:
    server = started(WEB_CONCURRENCY="1")
    expected = server.post(BIG).body
    with Load(server, BIG, expected, clients=2) as load:
        time.sleep(0.3)
        assert server.stop() == 0
    assert (load.wrong, load.failed, load.lost) == ([], [], [])


def seconds_to_recover(server: Server, killed: int, since: float) -> float:
    """Wait for two workers besides the killed one, and for a good answer."""
    while len(server.ready() - {killed}) < 2:
        assert time.monotonic() - since < 20, "the killed worker was not replaced"
        time.sleep(0.05)
    assert server.post(BODY).status == 200
    return time.monotonic() - since


@pytest.mark.slow
def test_killed_workers_are_replaced_while_the_others_answer(started) -> None:
    server = started()
    random_ = random.Random(1)
    kills: list[float] = []
    recoveries: list[float] = []
    with Load(server, BODY, server.post(BODY).body, clients=32) as load:
        end = time.monotonic() + KILL_SECONDS
        while time.monotonic() < end:
            time.sleep(random_.uniform(0.2, 1.2))
            victim = random_.choice(sorted(server.ready()))
            kills.append(time.monotonic())
            server.kill(victim)
            recoveries.append(seconds_to_recover(server, victim, kills[-1]))
    hurt = load.failed + load.lost
    print(f"{load.good} answers, {len(kills)} kills, {len(hurt)} failures, recoveries {recoveries}")
    assert load.wrong == []
    assert load.good > 100
    for when, what in hurt:
        assert any(0 <= when - kill < 1 for kill in kills), what
    if server.children("nginx"):  # then a worker has one request
        assert len(hurt) <= len(kills)
    assert max(recoveries) < 2


@pytest.mark.parametrize(
    ("child", "code"), [pytest.param("nginx", 137, marks=pytest.mark.nginx), ("gunicorn", 137)]
)
def test_the_death_of_a_child_ends_the_server_with_a_reason(started, child: str, code: int) -> None:
    server = started()
    found, every = server.children(child), server.children("")
    server.kill(next(pid for pid, above in found.items() if above not in found))
    assert server.process.wait(30) == code  # a worker that is starting up takes until the limit
    server.wait_for(f"error: {child} exited unexpectedly with signal SIGKILL")
    wait_until(lambda: bool(server.container) or not any(map(alive, every)))


def test_nothing_is_left_behind(started) -> None:
    server = started()
    if server.container:
        pytest.skip("a container takes its processes and files with it")
    pids = server.children("")
    run = Path(server.run_folder())
    assert (run / "beats").is_dir()
    server.stop()
    assert not any(alive(pid) for pid in pids)
    assert not run.exists()


@pytest.mark.nginx  # gunicorn alone answers /ping in threads of its own
@pytest.mark.slow
def test_ping_does_not_wait_behind_busy_workers(server) -> None:
    """Were a ping to wait for a worker, it would take half as long as a request on average."""
    body, clients = BIG * 5, 4
    answer = server.post(body).body
    began = time.monotonic()
    with Load(server, body, answer, clients=clients) as load:
        times = []
        for _ in range(400):
            start = time.monotonic()
            assert server.request("GET", "/ping").status == 200
            times.append(time.monotonic() - start)
            time.sleep(0.01)
    each = (time.monotonic() - began) * clients / load.good
    print(
        f"{load.good} answers of 50,000 rows, {each:.2f} s each; "
        f"slowest pings {sorted(times)[-12:]}"
    )
    assert (load.wrong, load.failed, load.lost) == ([], [], [])
    limit = max(0.1, each / 4)  # what else the machine computes slows both
    assert statistics.quantiles(times, n=100)[98] < limit


def test_slow_clients_do_not_hold_workers(server) -> None:
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    slow = [socket.create_connection((server.host, server.port)) for _ in range(6)]
    for connection in slow:
        connection.sendall(head + BODY[:5])
    start = time.monotonic()
    assert server.post(BODY).status == 200
    assert time.monotonic() - start < 1
    for connection in slow:
        connection.sendall(BODY[5:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.close()


def test_clients_that_go_away_are_no_errors(started) -> None:
    server = started()
    wait_until(lambda: len(server.ready()) == 2, 20)
    workers = server.workers()
    for cut in (5, len(BIG) // 2, len(BIG)):
        with socket.create_connection((server.host, server.port)) as connection:
            head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BIG)}\r\n\r\n"
            connection.sendall(head.encode() + BIG[:cut])
    assert server.post(BODY).status == 200
    time.sleep(0.3)
    assert set(workers) <= set(server.workers())
    assert server.stop() == 0
    assert "Traceback" not in server.output()


def test_the_model_is_loaded_once_whatever_the_number_of_workers(started) -> None:
    server = started(WEB_CONCURRENCY="4")
    wait_until(lambda: len(server.workers()) == 4, 20)  # /ping is good from the first one on
    for _ in range(200):
        assert server.post(BODY).status == 200
    assert server.stop() == 0
    assert server.output().count("model loaded in") == 1


BROKEN = {
    "empty file": b"",
    "text": b"tree\nversion=v4\nnum_class=1\n",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
    "no file": None,
    "half": "half",
}
KINDS = list(BROKEN) if "CONTRACT_IMAGE" in os.environ else ["half"]


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, booster, opt_ml: Path) -> Path:
    """A folder /opt/ml with a model that cannot be read."""
    content = BROKEN[request.param]
    if content == "half":
        content = bytes(booster("binary:logistic").save_raw("ubj"))[:2000]
    if content is not None:
        (opt_ml / "model" / "xgboost-model").write_bytes(content)
    return opt_ml


@pytest.mark.skipif("CONTRACT_IMAGE" in os.environ, reason="looks into the application")
def test_a_broken_model_is_a_reason_in_place_of_a_model(broken: Path) -> None:
    client = create_app(settings.load(), Paths(broken)).test_client()
    for answer in (client.get("/ping"), client.post("/invocations", data=BODY)):
        assert answer.status_code == 503
        assert "the model cannot be served: " in answer.json["message"]


@pytest.mark.parametrize("broken", KINDS, indirect=True)
def test_a_broken_model_is_a_503_with_the_reason(launch, broken: Path) -> None:
    server: Server = launch(broken, wait=False).wait_until_refused()
    for answer in (server.request("GET", "/ping"), server.post(BODY)):
        assert answer.status == 503
        assert "the model cannot be served: " in answer.json()["message"]
    assert server.process.poll() is None
    server.stop()
    assert server.output().count("the model cannot be served") == 1
    assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHORT_ROWS", "perhaps"),
        ("SAGEMAKER_BIND_TO_PORT", "http"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/html"),
    ],
)
def test_a_bad_setting_ends_the_start_with_its_name(started, variable: str, value: str) -> None:
    server = started(wait=False, **{variable: value})
    assert server.process.wait(30) == 1
    server.wait_for(f"error: {variable}")
    assert "Traceback" not in server.output()


def test_a_model_of_other_features_is_refused_at_start(launch, booster, opt_ml: Path) -> None:
    folder = save(booster("binary:logistic"), opt_ml / "model")
    artifact.Manifest(features_version="ratios-2").save(folder)
    server = launch(opt_ml, wait=False)
    assert server.process.wait(30) == 1
    server.wait_for("error: the model was trained with features 'ratios-2'")


def test_a_model_without_manifest_takes_its_names_and_index_base_from_elsewhere(
    launch, opt_ml: Path, booster
) -> None:
    model = booster("reg:squarederror", rounds=3)
    save(model, opt_ml / "model")
    server = launch(opt_ml, LIBSVM_INDEX_BASE="1")
    rows = sample_rows(4)
    rows[:] = [[1, 2, 3, 4, 5]] * 4
    body = b"0 1:1 2:2 3:3 4:4 5:5\n" * 4
    truth = model.predict(xgboost.DMatrix(rows))
    found = server.post(body, "text/libsvm").numbers()[:, 0]
    assert abs(found - truth).max() < 1e-5


def test_the_access_log_is_a_line_of_json_a_request(started) -> None:
    server = started(ACCESS_LOG="on")
    server.post(BODY, X_Amzn_SageMaker_Inference_Id="mine")
    server.post(b"1,2", X_Amzn_SageMaker_Inference_Id="yours")
    server.stop()
    lines = [json.loads(line) for line in server.output().splitlines() if line[:1] == "{"]
    good, bad = (next(x for x in lines if x.get("inference_id") == i) for i in ("mine", "yours"))
    assert (good["status"], good["rows"], bad["status"]) == (200, 3, 400)
    assert {"decode_ms", "predict_ms", "encode_ms", "request_id"} <= good.keys()
    assert "columns" in bad["message"]


def test_metrics_for_cloudwatch_name_their_units(started) -> None:
    server = started(ACCESS_LOG="emf")
    server.post(BODY)
    server.stop()
    line = next(json.loads(x) for x in server.output().splitlines() if x[:1] == "{")
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert all(metric["Name"] in line for metric in directive["Metrics"])
