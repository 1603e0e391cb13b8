"""Interruption: a restarted job ends with the model of one that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.formats.table import Table
from runtime.training.checkpoints import digest_of
from runtime.training.external import sparsify
from training_job import Job, simple_job

KILLS = int(os.environ.get("KILLS", "5"))
FAMILIES = {
    "sampling": {"subsample": "0.6", "colsample_bytree": "0.6", "colsample_bynode": "0.7"},
    "approx": {"tree_method": "approx", "subsample": "0.6", "colsample_bylevel": "0.5"},
    "dart": {"booster": "dart", "rate_drop": "0.3", "subsample": "0.6"},
    "forest": {"num_parallel_tree": "3", "subsample": "0.5"},
    "linear": {"booster": "gblinear", "updater": "coord_descent", "feature_selector": "shuffle"},
    "classes": {"objective": "multi:softprob", "num_class": "3", "early_stopping_rounds": "4"},
    "exact": {"tree_method": "exact", "subsample": "0.6", "colsample_bytree": "0.6"},
}


def checkpointed(base: Path, **hyperparameters: str) -> Job:
    job = simple_job(base, **{"num_round": "30", "checkpoint_rounds": "4", **hyperparameters})
    job.checkpoints = True
    return job


def rounds_logged(log: str) -> list[int]:
    return [int(line[1 : line.index("]")]) for line in log.splitlines() if "#011train" in line]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_models_restarts_to_the_same_bytes(tmp_path: Path, family: str) -> None:
    whole = checkpointed(tmp_path / "whole", **FAMILIES[family])
    assert whole.run().code == 0
    half = checkpointed(tmp_path / "half", **{**FAMILIES[family], "num_round": "9"})
    assert half.run().code == 0  # its last checkpoint is that of 8 rounds
    half.hyperparameters["num_round"] = "30"
    outcome = half.run()
    assert rounds_logged(outcome.log)[0] == 8
    assert half.model == whole.model


def test_a_checkpoint_appears_whole_and_old_ones_go(tmp_path: Path) -> None:
    job = checkpointed(tmp_path)
    job.run()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"xgboost-checkpoint.{n}" for n in (20, 24, 28)]


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    job = checkpointed(tmp_path)
    job.run()
    expected, newest = job.model, tmp_path / "checkpoints" / "xgboost-checkpoint.28"
    newest.write_bytes(newest.read_bytes()[:-100])
    (tmp_path / "checkpoints" / "xgboost-checkpoint.99.sagemaker-uploading").write_text("")
    outcome = job.run()
    assert "xgboost-checkpoint.28 is damaged" in outcome.log
    assert rounds_logged(outcome.log)[0] == 24
    assert job.model == expected


def test_a_checkpoint_of_other_parameters_is_refused_with_the_difference(tmp_path: Path) -> None:
    job = checkpointed(tmp_path)
    job.run()
    job.hyperparameters |= {"eta": "0.1", "verbosity": "0"}
    outcome = job.run()
    assert outcome.code == 1
    assert "eta: None -> 0.1" in job.failure
    assert "verbosity" not in job.failure


@pytest.mark.parametrize("external_memory", ["false", "true"])
@pytest.mark.parametrize("kind", ["text/csv", "text/libsvm"])
def test_a_checkpoint_of_other_data_is_refused(
    tmp_path: Path, external_memory: str, kind: str
) -> None:
    """The labels and the shape are the same: one cell is another."""
    job = checkpointed(tmp_path, num_round="9", external_memory=external_memory)
    text = "".join(f"{n % 2},{n},2\n" for n in range(40))
    for other, code in ((text, 0), (text, 0), (text.replace("1,7,2", "1,7,3"), 1)):
        lines = other
        if kind == "text/libsvm":
            lines = "".join("{} 0:{} 1:{}\n".format(*x.split(",")) for x in other.splitlines())
        for channel in ("train", "validation"):
            job.put(channel, "part.csv", lines, ContentType=kind)
        assert job.run().code == code
    assert "data of train" in job.failure


@pytest.mark.parametrize("part", ["features", "labels", "weights", "query_ids", "names"])
def test_the_digest_covers_every_part_of_a_table(part: str) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    column = np.arange(4, dtype=np.float32)
    table = Table(rows, column, column, column.astype(np.int64), ("a", "b", "c"))
    other = ("a", "b", "d") if part == "names" else getattr(table, part).copy()
    if part != "names":
        other[(-1,) * other.ndim] += 1
    assert digest_of(replace(table, **{part: other})) != digest_of(table)
    sparse = replace(table, features=sparsify(rows))
    assert digest_of(sparse) != digest_of(replace(sparse, features=sparsify(rows + 1)))


def started(job: Job, after: int) -> subprocess.Popen[str]:
    """Start the program and return it once it has logged round `after`."""
    process, lines = job.start(), []
    assert process.stdout is not None
    while not (lines and lines[-1].startswith(f"[{after}]")):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    return process


@pytest.mark.slow
def test_kill_nine_at_random_rounds_leaves_the_same_model(tmp_path: Path) -> None:
    options = FAMILIES["sampling"] | {"num_round": "60", "checkpoint_rounds": "3"}
    whole = checkpointed(tmp_path / "whole", **options)
    assert whole.run().code == 0
    draw = random.Random(5)
    for attempt in range(KILLS):
        job = checkpointed(tmp_path / str(attempt), **options)
        process = started(job, draw.randrange(4, 56))
        process.kill()
        process.wait(30)
        time.sleep(0.2)  # the child follows its parent
        outcome = job.run()
        assert outcome.code == 0, outcome.log
        assert rounds_logged(outcome.log)[0] >= 3
        assert job.model == whole.model


@pytest.mark.parametrize("save", ["true", "false"])
def test_sigterm_saves_and_exits_at_once(tmp_path: Path, save: str) -> None:
    options = {"num_round": "100000", "checkpoint_rounds": "0", "save_model_on_termination": save}
    job = checkpointed(tmp_path, **options)
    process = started(job, 5)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    log, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    last = rounds_logged(log)[-1]
    saved = save == "true"
    assert process.returncode == (0 if saved else 143)
    assert (tmp_path / "model" / "xgboost-model").exists() is saved
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [
        f"xgboost-checkpoint.{last + 1}"
    ]
    assert not job.failure
    if saved:
        assert job.booster().num_boosted_rounds() == last + 1
    job.hyperparameters |= {"num_round": str(last + 4), "save_model_on_termination": "false"}
    assert rounds_logged(job.run().log) == [last + 1, last + 2, last + 3]
    whole = checkpointed(tmp_path / "whole", **job.hyperparameters)
    whole.run()
    assert job.model == whole.model
