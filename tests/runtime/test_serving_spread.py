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
from runtime.acceleration.engines import MixedEngine
from runtime.formats import Rows
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


class Scheduled:
    """Long work whose rows take a millisecond of a fake clock each; it notes its parts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.seen = 0.0, []
        monkeypatch.setattr(spread, "perf_counter", lambda: self.now)
        monkeypatch.setattr(spread, "_in_parts", self.run)

    def run(self, whole, rows: np.ndarray, parts: int) -> np.ndarray:
        self.now += 0.001 * len(rows) / parts
        self.seen.append((len(rows), parts))
        return whole(rows)


def test_long_work_is_cut_by_time_and_heeds_who_comes_and_goes(load_file, monkeypatch) -> None:
    schedule, work = Scheduled(monkeypatch), spread.LongWork()
    running = iter([1, 4, 1])  # others that run: three CPUs are idle, none, three

    def explain(rows: np.ndarray) -> np.ndarray:
        load_file(f"0 0 0 {next(running, 1)}/99 7\n")
        return rows * 2

    np.testing.assert_array_equal(work.run(explain, ROWS[:402]), ROWS[:402] * 2)
    assert schedule.seen == [(1, 1), (150, 3), (50, 1), (150, 3), (51, 3)]
    schedule.seen.clear()
    work.run(explain, ROWS[:2])  # what a row takes is known from the last request
    work.run(explain, ROWS[:1])
    assert schedule.seen == [(2, 2)]


def test_short_work_stays_whole(load_file, monkeypatch) -> None:
    load_file("0 0 0 1/99 7\n")
    schedule, work = Scheduled(monkeypatch), spread.LongWork()
    work._row = 1e-6
    work.run(lambda rows: rows, ROWS[:900])
    assert schedule.seen == [(900, 1)]


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
@pytest.mark.parametrize("engine", ["onedal", "xgboost"])
def test_the_parts_of_an_explanation_have_the_bits_of_the_whole(
    booster, opt_ml: Path, load_file, objective: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_file("0 0 0 1/99 7\n")
    loaded = explaining_model(save(booster(objective), opt_ml / "model"))
    choice = loaded.explainers[0]
    chosen = choice if engine == "onedal" else choice._reference
    whole, sizes = chosen.contributions(ROWS[:3001]), []
    compute = chosen.contributions
    monkeypatch.setattr(loaded, "explainers", (chosen,))
    monkeypatch.setattr(
        chosen, "contributions", lambda rows: sizes.append(len(rows)) or compute(rows)
    )
    np.testing.assert_array_equal(loaded.contributions(ROWS[:3001]), whole)
    assert sizes[0] == 1
    assert sum(sizes) == 3001
    assert len(sizes) >= 4  # the first row, and three parts at a time
    monkeypatch.setattr(loaded, "explaining", None)
    np.testing.assert_array_equal(loaded.contributions(ROWS[:3001]), whole)
    assert sizes[-1] == 3001


def explaining_model(folder: Path, **environ: str):
    """Return a model whose answers hold contributions, from oneDAL unless `environ` says else."""
    names = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": "require"}
    names["SAGEMAKER_INFERENCE_OUTPUT"] = "contributions"
    return load_model(folder, settings.load(names | environ))


def test_a_mixed_explainer_is_asked_by_the_rows_of_the_whole_request(
    booster, opt_ml: Path, load_file
) -> None:
    load_file("0 0 0 1/99 7\n")
    loaded = explaining_model(save(booster("binary:logistic"), opt_ml / "model"))
    (onedal,) = loaded.explainers
    reference = onedal._reference
    loaded.explainers = (MixedEngine([(0, onedal), (50, reference)]),)
    found = loaded.contributions(ROWS[:60])
    np.testing.assert_array_equal(found, reference.contributions(ROWS[:60]))
    np.testing.assert_array_equal(loaded.contributions(ROWS[:49]), onedal.contributions(ROWS[:49]))


def test_explanations_stay_whole_where_threads_are_not_wanted_or_not_safe(
    booster, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread.LongWork, "run", lambda *_: pytest.fail("was cut into parts"))
    folder = save(booster("binary:logistic"), opt_ml / "model")
    linear = save(booster("reg:squarederror", booster="gblinear"), opt_ml / "linear")
    for path, environ in (
        (folder, {"SPREAD_ROWS": "0"}),
        (folder, {"ACCELERATION": "off"}),
        (linear, {"ACCELERATION": "auto"}),
    ):
        loaded = explaining_model(path, **environ)
        assert loaded.contributions(ROWS[:40]).shape == (40, ROWS.shape[1] + 1)


def test_selected_outputs_of_large_requests_use_idle_cpus_too(
    booster, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}
    config = settings.load(names | {"SAGEMAKER_INFERENCE_OUTPUT": "probability"})
    loaded = load_model(save(booster("binary:logistic"), opt_ml / "model"), config)
    sizes: list[int] = []
    monkeypatch.setattr(
        spread, "predict", lambda whole, rows: sizes.append(len(rows)) or whole(rows)
    )
    served = invocation.steps_of(loaded, config)
    outputs = served.select(served.predict(Rows(ROWS)))
    assert sizes == [len(ROWS)]
    np.testing.assert_array_equal(outputs["probability"], loaded.engines[0].predict(ROWS))
