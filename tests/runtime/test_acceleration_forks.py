"""After everything that a server's master does, forked workers predict: with both engines, soon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from conftest import Server, sample_rows, save, to_csv, wait_until
from locations import PROGRAM
from runtime import acceleration

TIME_LIMIT = 60  # seconds; the work itself takes two or three

SCRIPT = """
import os, sys
from runtime import acceleration
acceleration.single_thread()
from pathlib import Path
from typing import Any
import numpy as np
folder, mode = Path(sys.argv[1]), sys.argv[2]
rows = np.load(folder / "rows.npy")
choice = acceleration.choose(
    acceleration.load_booster(folder / "m"), mode=mode, probe_rows=rows, measure=True
)
# The parent has predicted with both engines, large batches and contributions too.
for engine in (choice.engine, choice.reference):
    engine.predict(rows)
    engine.contributions(rows[:10])
children = []
for child in range(4):
    process = os.fork()
    if not process:
        acceleration.after_fork(choice.engine)
        np.save(folder / f"{mode}-{child}.npy", choice.engine.predict(rows))
        choice.reference.predict(rows[:2000])  # what a shadow check does
        choice.engine.contributions(rows[:10])
        os._exit(0)
    children.append(process)
codes = [os.waitpid(process, 0)[1] for process in children]
print(choice.engine.name, codes)
"""


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_four_workers_predict_ten_thousand_rows_after_a_full_check(
    tmp_path: Path, mode: str
) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(10_000, 8)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=rows[:, 0] > rows[:, 1])
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 60)
    (tmp_path / "m").write_bytes(booster.save_raw("ubj"))
    np.save(tmp_path / "rows.npy", rows)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), mode]
    done = subprocess.run(command, cwd=PROGRAM, capture_output=True, text=True, timeout=TIME_LIMIT)
    assert done.returncode == 0, done.stderr
    name = "xgboost" if mode == "off" else acceleration.choose(booster.copy()).engine.name
    assert done.stdout.splitlines()[-1] == f"{name} [0, 0, 0, 0]"
    expected = booster.predict(matrix)
    for child in range(4):
        np.testing.assert_allclose(np.load(tmp_path / f"{mode}-{child}.npy"), expected, atol=1e-6)


@pytest.mark.slow
def test_four_workers_and_a_thousand_requests_cost_one_conversion(
    launch: Any, booster: Any, opt_ml: Path
) -> None:
    pytest.importorskip("daal4py", reason="oneDAL is for x86-64 only")
    trained = booster("binary:logistic")
    save(trained, opt_ml / "model")
    server = launch(opt_ml, WEB_CONCURRENCY="4")
    rows = sample_rows(count=25)
    expected = trained.predict(xgboost.DMatrix(rows))
    for number in range(1000):
        answer = server.post(to_csv(rows[number % 25][None]))
        assert answer.status == 200
        assert answer.numbers()[0, 0] == pytest.approx(expected[number % 25], abs=1e-6)
    assert len(server.workers()) == 4
    server.stop()
    lines = [line for line in server.output().splitlines() if "converted the model" in line]
    assert len(lines) == 1
    assert "(conversion 1 in this process tree, " in lines[0]


def test_one_thread_is_set_before_anything_numeric_is_imported() -> None:
    script = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "8"
from runtime import acceleration
early = {"xgboost", "daal4py"} & set(sys.modules)
acceleration.single_thread()
import numpy, xgboost, ctypes
line = next(line for line in open("/proc/self/maps") if "libgomp" in line)
name = line.split(maxsplit=5)[-1].strip()  # a path may hold spaces
print(sorted(early), ctypes.CDLL(name).omp_get_max_threads())
"""
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=PROGRAM, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout == "[] 1\n", shown.stderr


@pytest.mark.nginx  # gunicorn alone has a thread per connection
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_has_a_thread_for_requests_and_one_for_its_heartbeat(server: Server) -> None:
    """numpy's BLAS reads its variable when numpy is imported, long before the application."""
    wait_until(lambda: len(server.ready()) == 2, 20)  # /ping is good from the first one on
    body = b"1,2,3,4,5\n" * 9_000  # enough numbers in a block for BLAS to want threads
    for _ in range(10):
        assert server.post(body).status == 200
    assert [threads_of(pid) for pid in server.workers()] == [2, 2]


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
