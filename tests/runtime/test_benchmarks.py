"""The benchmarks run, and their arithmetic is right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    client,
    drift,
    explanations,
    framework,
    servers,
    serving,
    shapes,
    steps,
    workload,
)
from benchmarks.paired import alternate, ratio
from runtime import formats
from sample import picture

SECONDS = 1 if shutil.which("wrk") else 0.3  # of a burst; wrk counts whole seconds
SHAPES = ("text", "circle")


def test_every_contestant_runs_once_a_turn_and_the_first_turn_does_not_count() -> None:
    order: list[str] = []
    counters = dict.fromkeys("ab", 0)

    def contestant(name: str):  # type: ignore[no-untyped-def]
        def run() -> dict[str, float]:
            order.append(name)
            counters[name] += 1
            return {"figure": float(counters[name])}

        return run

    results = alternate({name: contestant(name) for name in "ab"}, turns=3)
    assert results == {"a": {"figure": [2.0, 3.0, 4.0]}, "b": {"figure": [2.0, 3.0, 4.0]}}
    assert "".join(order) == "baabbaab"


def test_a_ratio_is_taken_pair_by_pair() -> None:
    # The machine slows down tenfold on the way; the ratio of neighbours does not move.
    found = ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert (found.low, found.median, found.high) == (2.0, 2.0, 2.0)
    assert str(ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])) == "2.00 (1.50 to 2.50)"


def test_bodies_hold_the_rows_of_the_table(tmp_path: Path) -> None:
    body = workload.csv_body(tmp_path / "body.csv", 50)
    values, _ = workload.table(50)
    np.testing.assert_allclose(np.loadtxt(body, delimiter=","), values, atol=1e-6)


def test_the_picture_has_one_scale_and_says_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "chart.svg"
    cases = [("one & only", [("x <", 0.25), ("y", 12.5)]), ("many", [("x <", 800.0)])]
    picture.draw(path, "a < b", ["machine", "medians"], "requests per second", cases)
    tree = xml.etree.ElementTree.parse(path)
    tags = {name: list(tree.iter(f"{{http://www.w3.org/2000/svg}}{name}")) for name in SHAPES}
    texts = [each.text for each in tags["text"]]
    for text in ("a < b", "machine", "medians", "one & only", "x <", "0.250", "12.5", "800"):
        assert text in texts
    assert "requests per second, logarithmic scale" in texts
    places = [float(dot.attrib["cx"]) for dot in tags["circle"]]
    per_decade = (places[1] - places[0]) / np.log10(12.5 / 0.25)
    assert (places[2] - places[1]) / np.log10(800 / 12.5) == pytest.approx(per_decade, rel=0.01)
    assert {"0.1", "1", "10", "100", "1,000"} <= set(texts)


def test_the_picture_names_machine_and_date() -> None:
    text = picture.machine()
    assert re.search(r", \d+ CPUs, \w+ [\w.]+; \d{4}-\d\d-\d\d$", text)
    assert "\n" not in text


def test_a_server_that_does_not_start_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    environ = {"ACCELERATION": "perhaps"}
    with (
        pytest.raises(RuntimeError, match="ACCELERATION='perhaps' is not one of"),
        servers.serve(tmp_path, environ=environ),
    ):
        pass


@pytest.mark.slow
def test_the_cost_of_drift_is_measured_on_a_server_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "TREES", 20)
    monkeypatch.setattr(drift, "CLIENTS", (1,))
    measured = []

    def contestant(server: servers.Server, *given: Any) -> Any:
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read()
        measured.append(b"\ndrift_rows 0.0\n" in metrics)
        return serving.contestant(server, *given)

    monkeypatch.setattr(drift, "contestant", contestant)
    results = drift.run(tmp_path, turns=1, seconds=SECONDS)
    assert set(results["1 clients"]) == {f"{name}, on / off" for name in drift.FIGURES}
    assert measured == [True, False]


@pytest.mark.slow
def test_serving_is_measured_against_xgboost_and_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "TREES", 20)
    monkeypatch.setattr(serving, "ROWS", (1,))
    monkeypatch.setattr(serving, "CLIENTS", (1,))
    results = serving.run(tmp_path, turns=1, seconds=SECONDS)
    assert results["client"] == client.client_name()
    case = results["cases"]["1 rows, 1 clients"]
    floors = {serving.FLOOR, serving.WORKER_FLOOR}
    assert set(case["figures"]) == {serving.PROJECT, serving.XGBOOST, *floors}
    for figures in case["figures"].values():
        assert figures["requests/s"][0] > 0
        assert figures["p99 ms"][0] >= figures["p50 ms"][0] > 0
    assert json.loads((tmp_path / "serving.json").read_text()) == results
    assert (tmp_path / "serving.svg").is_file()


@pytest.mark.slow
def test_explanations_are_measured_against_xgboost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "TREES", 20)
    monkeypatch.setattr(explanations, "ROWS", (2,))
    monkeypatch.setattr(explanations.resources, "cpu_count", lambda: 1)
    results = explanations.run(tmp_path, turns=1, seconds=SECONDS)
    assert results["engine"].partition(": oneDAL gives")[0] in {"onedal", "onedal+xgboost"}
    case = results["cases"]["contributions of 2 rows, 1 clients"]
    assert set(case["figures"]) == {serving.PROJECT, serving.XGBOOST}
    assert case["ratios"]["speed / XGBoost"]["median"] > 0
    assert json.loads((tmp_path / "explanations.json").read_text()) == results


@pytest.mark.slow
def test_a_script_is_measured_behind_two_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framework, "ROWS", (2,))
    monkeypatch.setattr(framework, "CLIENTS", (1,))
    monkeypatch.setattr(framework, "RESULT", tmp_path / "framework.json")
    monkeypatch.setattr(workload, "TREES", 20)
    other = f"env ACCELERATION=off '{sys.executable}' '{servers.PROGRAM}/serve'"
    arguments = ["framework", other, "--turns", "1", "--seconds", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    framework.main()
    (case,) = json.loads((tmp_path / "framework.json").read_text())["cases"].values()
    assert case["engine"] in {"onedal", "xgboost"}
    assert set(case["figures"]) == {framework.PROJECT, framework.OTHER}
    assert case["ratios"]["speed / other"]["median"] > 0


def test_the_two_floors_differ_by_the_worker_alone(tmp_path: Path) -> None:
    classes = {}
    changed = {"wsgi.py", "gunicorn.conf.py", "nginx.conf"}
    for own in (False, True):
        program = servers.floor_program(tmp_path, own_worker=own)
        different = {
            path.name
            for path in program.rglob("*")
            if path.is_file()
            and path.read_bytes() != (servers.PROGRAM / path.relative_to(program)).read_bytes()
        }
        assert different == ({"wsgi.py"} if own else changed)
        environ = {**os.environ, "SERVE_BIND": "unix:x", "PYTHONPATH": str(program)}
        code = "import runpy; print(runpy.run_path('gunicorn.conf.py')['worker_class'])"
        classes[own] = subprocess.run(
            [sys.executable, "-c", code],
            cwd=program,
            env=environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    assert classes == {False: "sync", True: "<class 'runtime.server.workers.ProxiedWorker'>"}


@pytest.mark.slow
def test_python_s_own_client_posts_the_body_and_counts_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.shutil, "which", lambda name: None)
    body = workload.csv_body(tmp_path / "body.csv", 3)
    floor = servers.floor_program(tmp_path)
    with servers.serve(tmp_path, floor, {"PATH": os.environ["PATH"]}) as server:
        load = client.burst(server.port, body, "text/csv", clients=2, seconds=SECONDS)
        assert server.cpu_seconds() > 0
        assert server.memory_bytes() > 1 << 20
    assert load.requests > 10
    assert load.errors == 0
    assert 0 < load.p50 <= load.p99 < 1


def test_steps_are_measured_on_bodies_that_decode_to_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "TREES", 20)
    monkeypatch.setattr(steps, "ROWS", (3,))
    monkeypatch.setattr(steps, "SECONDS", 0.001)
    rows = workload.table(3)[0]
    for content_type, write in steps.BODIES.items():
        found = formats.decode(write(rows), content_type, formats.Schema(workload.FEATURES), "csv")
        np.testing.assert_allclose(found.values, rows, rtol=1e-6)
    results = steps.run(tmp_path, turns=1)
    assert len(results) == len(steps.BODIES)
    assert json.loads((tmp_path / "steps.json").read_text()) == results
    for figures in results.values():
        spent = figures["microseconds"]
        whole = spent["decode"] + spent["predict"] + spent["encode"]
        assert figures["median"] == pytest.approx(whole / spent["compute"])


def test_shapes_are_measured_and_counted_below_their_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = shapes.Shape("few", trees=2, categorical=1, categories=3, trained_on=200)
    monkeypatch.setattr(shapes, "SHAPES", (few,))
    monkeypatch.setattr(shapes, "ROWS", (1, 5))
    monkeypatch.setattr(shapes, "CATEGORICAL", (0.0, 1e9))
    monkeypatch.setattr(shapes, "SECONDS", 0.001)
    assert shapes.run(tmp_path, turns=1) == 1
    (figures,) = json.loads((tmp_path / "shapes.json").read_text()).values()
    assert [row["rows"] for row in figures] == [1, 5]
    spent = figures[0]["microseconds"]
    assert figures[0]["median"] == pytest.approx(spent["xgboost"] / spent["chosen"])
    assert "1 figures below their floor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("engine", "median", "floor", "below"),
    [
        ("onedal", 0.9, 0.95, True),
        ("onedal", 1.0, 0.95, False),
        ("xgboost", 0.9, 0.95, False),
        ("xgboost", 1.0, 1.5, True),
    ],
)
def test_xgboost_is_below_a_floor_only_where_the_floor_is_above_itself(
    engine: str, median: float, floor: float, below: bool
) -> None:
    assert shapes.is_below({"engine": engine, "median": median, "floor": floor}) is below
