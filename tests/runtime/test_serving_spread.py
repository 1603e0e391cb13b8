"""Large requests use idle CPUs, give the same bits, and leave busy CPUs alone."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pytest
import xgboost

import settings
from conftest import Server, sample_rows, save, to_csv
from predictor import load_model
from runtime.inference import invocation, spread
from runtime.job import resources

ROWS = sample_rows(12_001, seed=3)


@pytest.fixture
def load_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a writer of what stands in for /proc/loadavg, on a machine of four CPUs."""
    monkeypatch.setattr(spread, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(resources, "cpu_count", lambda: 3)
    return lambda text: (tmp_path / "loadavg").write_text(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0.00 0.01 0.05 1/99 7\n", 3), ("9 9 9 2/99 7\n", 3), ("1 1 1 4/99 7\n", 1), ("odd\n", 1)],
)
def test_idle_cpus_are_those_that_nobody_runs_on(load_file, text: str, cpus: int) -> None:
    load_file(text)
    assert spread.idle_cpus() == cpus


def test_nobody_knows_of_idle_cpus_without_the_kernel_s_file(load_file) -> None:
    assert spread.idle_cpus() == 1


@pytest.mark.parametrize(("running", "parts"), [(1, 3), (3, 2), (4, 1), (9, 1)])
def test_rows_are_cut_into_as_many_parts_as_cpus_are_idle(load_file, running, parts) -> None:
    load_file(f"0 0 0 {running}/99 7\n")
    seen: list[int] = []

    def double(rows: np.ndarray) -> np.ndarray:
        seen.append(len(rows))
        return rows[:, 0] * 2

    np.testing.assert_array_equal(spread.predict(double, ROWS), ROWS[:, 0] * 2, strict=True)
    assert len(seen) == parts
    assert sum(seen) == len(ROWS)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_the_parts_of_a_request_have_the_bits_of_the_whole(
    booster, opt_ml: Path, load_file, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_file("0 0 0 1/99 7\n")
    model = booster(objective)
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"})
    loaded = load_model(save(model, opt_ml / "model"), config)
    calls: list[int] = []
    engine = loaded.engines[0].predict
    monkeypatch.setattr(
        loaded.engines[0], "predict", lambda rows: calls.append(len(rows)) or engine(rows)
    )
    served = invocation.steps_of(loaded, config)
    found = served.predict(served.decode(to_csv(ROWS), "text/csv"))
    assert len(calls) == 3
    np.testing.assert_array_equal(found, engine(ROWS))
    np.testing.assert_allclose(found, model.predict(xgboost.DMatrix(ROWS)), atol=1e-6)


def test_small_requests_and_xgboost_stay_whole(booster, opt_ml: Path, monkeypatch) -> None:
    monkeypatch.setattr(spread, "predict", lambda *_: pytest.fail("was cut into parts"))
    folder = save(booster("binary:logistic"), opt_ml / "model")
    names = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}
    for extra, count in (
        ({}, 9_999),
        ({"ACCELERATION": "off"}, 12_001),
        ({"SPREAD_ROWS": "0"}, 12_001),
    ):
        config = settings.load(names | extra)
        served = invocation.steps_of(load_model(folder, config), config)
        rows = served.decode(to_csv(ROWS[:count]), "text/csv")
        assert len(served.predict(rows)) == count


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's malloc")
def test_a_worker_keeps_the_memory_of_large_requests(server: Server) -> None:
    body = to_csv(ROWS)
    workers = server.workers()
    for _ in range(20):
        assert server.post(body).status == 200
    before = sum(map(page_faults, workers))
    for _ in range(20):
        assert server.post(body).status == 200
    assert sum(map(page_faults, workers)) - before < 20 * 700  # else 2,800 each


def page_faults(pid: int) -> int:
    """Return the pages that a process has got so far; proc(5): field 10 of stat."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])
