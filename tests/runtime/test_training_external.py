"""How much memory training takes: from disk, and in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import xgboost

from runtime.formats.table import Table
from runtime.training import external
from training_job import Job, csv_text, labels_for

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads Linux's account of memory"
)
COLUMNS, PART = 28, 20_000
MB = 1e6


def job_of(base: Path, parts: int, **hyperparameters: str) -> Job:
    """Return a job of `parts` files of PART rows each; the files have the same rows."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(PART, COLUMNS)).round(4)
    labels = labels_for("binary:logistic", rows[:, 0] + rows[:, 1] ** 2)
    given = {"objective": "binary:logistic", "num_round": "2", "nthread": "2"}
    job = Job(base, given | hyperparameters)
    text = csv_text(labels, rows)
    for number in range(parts):
        job.put("train", f"part-{number:03}.csv", text)
    return job


def peak_of(job: Job) -> int:
    """Run the job; return the largest anonymous memory of the process that trains, in bytes.

    Pages of files do not count: the system takes them back when a container's memory is short.
    """
    process, peak, ended = job.start(), 0, threading.Event()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.005):
            try:
                for child in children.read_text().split():
                    status = Path(f"/proc/{child}/status").read_text()
                    peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
            except (OSError, IndexError):  # it has just ended
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    text, _ = process.communicate(timeout=600)
    ended.set()
    watcher.join()
    assert process.returncode == 0, text
    return peak


def test_the_matrix_from_disk_has_the_labels_and_weights_of_every_block(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    blocks = [
        Table(
            generator.normal(size=(5, 3)).astype(np.float32),
            labels=generator.random(5).astype(np.float32),
            weights=weights,
        )
        for weights in (None, np.full(5, 2, np.float32))
    ]
    table = external.spill(lambda *known: iter(blocks), tmp_path / "train.float32", None)
    np.testing.assert_array_equal(table.features, np.vstack([b.features for b in blocks]))
    np.testing.assert_array_equal(table.labels, np.concatenate([b.labels for b in blocks]))
    np.testing.assert_array_equal(table.weights, [1] * 5 + [2] * 5)


def test_pages_of_any_size_give_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(4000, 5)).astype(np.float32)
    table = Table(rows, labels=labels_for("binary:logistic", rows[:, 0]))
    models = []
    for size in (1 << 12, 1 << 14, 1 << 20):
        monkeypatch.setattr(external, "SMALLEST_BLOCK", size)
        monkeypatch.setattr(external, "LARGEST_BLOCK", size)
        reader = external.Reader(
            table, lambda part: {"data": part.features, "label": part.labels}, tmp_path / str(size)
        )
        matrix = xgboost.ExtMemQuantileDMatrix(reader, max_bin=256)
        parameters = {"objective": "binary:logistic", "nthread": 1}
        models.append(bytes(xgboost.train(parameters, matrix, 5).save_raw("ubj")))
    assert models[0] == models[1] == models[2]


@pytest.mark.slow
def test_training_from_disk_takes_less_than_half_of_each_further_row(tmp_path: Path) -> None:
    """Half of 28 columns in float32 are 56 bytes a row; XGBoost's own books take 46."""
    options = {"external_memory": "true"}
    small = peak_of(job_of(tmp_path / "small", 8, **options))
    large = peak_of(job_of(tmp_path / "large", 32, **options))
    assert large < 160 * MB
    assert (large - small) / (24 * PART) < COLUMNS * 4 / 2


@pytest.mark.slow
def test_training_in_memory_takes_at_most_two_and_a_half_matrices(tmp_path: Path) -> None:
    peak = peak_of(job_of(tmp_path, 50))
    matrix = 50 * PART * COLUMNS * 4
    assert matrix < peak < 2.5 * matrix  # the interpreter and its libraries included
