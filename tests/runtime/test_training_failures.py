"""A bad job: an exit code by class, class and message first in output/failure, a log line."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from xgboost.core import XGBoostError

from locations import PROGRAM
from runtime.job.failures import AlgorithmError, PlatformError, UserError
from runtime.training import report, results
from runtime.training.ending import classify
from training_job import Job, simple_job

USER, ALGORITHM, PLATFORM = 1, 2, 3
ROW = "1,2,3,4,5,6,7\n0,2,3,4,5,6,7\n"


def given(**hyperparameters: str) -> Callable[[Job], None]:
    return lambda job: job.hyperparameters.update(hyperparameters)


def file(channel: str, name: str, content: str, **config: str) -> Callable[[Job], None]:
    def put(job: Job) -> None:
        job.put(channel, name, content, **config)

    return put


def without(channel: str) -> Callable[[Job], None]:
    def drop(job: Job) -> None:
        del job.channels[channel]

    return drop


def piped(job: Job) -> None:
    job.channels["train"]["TrainingInputMode"] = "Pipe"


def emptied(job: Job) -> None:
    (job.base / "input" / "data" / "train" / "part.csv").write_text("")


def labels_alone_from_disk(job: Job) -> None:
    job.hyperparameters["external_memory"] = "true"
    job.put("train", "part.csv", "1\n0\n", ContentType="text/libsvm")


BAD_JOBS = {
    "unknown name": (given(max_dept="3"), "did you mean max_depth?"),
    "bad value": (given(eta="2"), "eta='2' must be"),
    "conflict": (given(tree_method="exact", grow_policy="lossguide"), "not exact"),
    "no rounds": (given(num_round=""), "num_round"),
    "no train channel": (
        without("train"),
        "there is no channel train; the job's channels are: val",
    ),
    "empty validation": (file("validation", "part.csv", ""), "channel validation holds no data"),
    "labels alone": (
        file("train", "part.csv", "1\n0\n", ContentType="text/libsvm"),
        "holds labels, but no feature columns",
    ),
    "labels alone, from disk": (labels_alone_from_disk, "holds labels, but no feature columns"),
    "empty files": (emptied, "channel train holds no data"),
    "pipe mode": (piped, "Pipe mode"),
    "content type": (file("train", "x", ROW, ContentType="image/png"), "image/png"),
    "label size": (file("train", "x", ROW, ContentType="text/csv; label_size=2"), "label_size"),
    "words": (file("train", "z.csv", "1,a,3,4,5,6,7\n"), "z.csv"),
    "ragged": (file("train", "z.csv", "1,2,3\n"), "z.csv"),
    "label range": (file("train", "z.csv", ROW + "7,2,3,4,5,6,7\n"), "label 7 must be from 0 to 1"),
    "label missing": (file("train", "z.csv", ",2,3,4,5,6,7\n"), "z.csv"),
    "validation columns": (file("validation", "z.csv", "1,2,3\n"), "channel validation"),
    "classes": (given(objective="multi:softprob", num_class="1"), "num_class"),
    "libsvm": (file("train", "z", "1 a:b\n", ContentType="text/libsvm"), "channel train"),
    "queries": (given(objective="rank:pairwise"), "query ids"),
    "k-fold": (given(_kfold="5000"), "more than the 800 rows"),
    "cuda": (given(device="cuda"), "make build XGBOOST=gpu"),
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_a_bad_job_fails_as_the_users_error(tmp_path: Path, name: str) -> None:
    spoil, message = BAD_JOBS[name]
    job = simple_job(tmp_path)
    spoil(job)
    outcome = job.run()
    assert outcome.code == USER
    assert job.failure.startswith("UserError: ")
    assert message in job.failure
    assert "Traceback" not in job.failure
    assert f"ERROR] {job.failure[:200]}" in outcome.log
    assert not (tmp_path / "model" / "xgboost-model").exists()


@pytest.mark.parametrize(
    ("labels", "hint"),
    [("1 2 3 1", "subtract 1"), ("0 1 5 2", "label 5"), ("0 1 1.5 2", "label 1.5")],
)
def test_labels_outside_the_classes_are_refused_by_row(
    tmp_path: Path, labels: str, hint: str
) -> None:
    job = Job(tmp_path, {"num_round": "1", "objective": "multi:softmax", "num_class": "3"})
    job.put("train", "x.csv", "".join(f"{label},1,2\n" for label in labels.split()))
    assert job.run().code == USER
    assert hint in job.failure
    assert "row " in job.failure


@pytest.mark.parametrize(
    ("objective", "bad"),
    [
        ("binary:hinge", "0.5"),
        ("count:poisson", "-1"),
        ("reg:gamma", "0"),
        ("reg:squaredlogerror", "-1"),
        ("survival:aft", "0"),
        ("reg:logistic", "1.2"),
    ],
)
def test_labels_that_the_objective_cannot_use_are_refused(
    tmp_path: Path, objective: str, bad: str
) -> None:
    job = Job(tmp_path, {"num_round": "1", "objective": objective})
    job.put("train", "x.csv", f"1,1,2\n1,2,3\n{bad},3,4\n")
    assert job.run().code == USER
    assert "row 3" in job.failure
    assert objective in job.failure


def test_the_program_exits_with_the_code_and_help_lists_the_hyperparameters(tmp_path: Path) -> None:
    job = simple_job(tmp_path, eta="wrong")
    outcome = job.run_program()
    assert outcome.code == USER
    assert "UserError: 1 hyperparameter is wrong: eta='wrong'" in outcome.log
    environ = {**os.environ, "PYTHONPATH": str(PROGRAM)}
    told = subprocess.run(
        [sys.executable, str(PROGRAM / "train"), "--help"],
        capture_output=True, text=True, env=environ, check=True,
    )  # fmt: skip
    assert "`learning_rate`" in told.stdout


def test_a_killed_worker_is_told_as_lack_of_memory(tmp_path: Path) -> None:
    job = simple_job(tmp_path, num_round="100000")
    process = job.start()
    assert process.stdout is not None
    while not process.stdout.readline().startswith("[1]"):
        assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), 9)
    process.communicate(timeout=60)
    assert process.returncode == PLATFORM
    assert job.failure.startswith("PlatformError: the training process was killed")
    assert "memory" in job.failure


def test_a_failure_after_the_model_leaves_nothing_in_the_model_folder(tmp_path: Path) -> None:
    job = simple_job(tmp_path)
    job.environ = {"ACCELERATION": "require"}
    job.hyperparameters |= {"booster": "gblinear"}  # oneDAL has no linear models
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("of the user")
    outcome = job.run_program()
    assert outcome.code == USER, outcome.log
    assert "ACCELERATION=require" in job.failure
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["notes.txt"]


def test_nothing_after_the_model_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> str:
        assert (tmp_path / "model" / "xgboost-model").stat().st_size
        assert (tmp_path / "model" / "manifest.json").stat().st_size
        raise ValueError("no chart")

    monkeypatch.setattr(report, "render", broken)
    monkeypatch.setattr(results, "measure_parity", broken)
    job = simple_job(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "data").write_text("a file where the folder should be")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    for what in ("the comparison of the engines", "metrics.json", "report.html"):
        assert f"WARNING] {what} could not be made: " in outcome.log
    assert not job.failure


def test_labels_without_room_for_bins_are_drawn(tmp_path: Path) -> None:
    job = Job(tmp_path, {"num_round": "1", "objective": "reg:squarederror"})
    labels = [1.7e9 + 128 * (n % 2) for n in range(40)]
    job.put("train", "x.csv", "".join(f"{label:.0f},{n}\n" for n, label in enumerate(labels)))
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert "could not be made" not in outcome.log
    assert (tmp_path / "output" / "data" / "report.html").exists()


@pytest.mark.parametrize("module", ["settings.py", "features.py"])
def test_a_stop_before_training_is_a_stop(tmp_path: Path, module: str) -> None:
    """The parent imports settings.py, the child features.py, before its own handler is there."""
    program, gate = tmp_path / "program", tmp_path / "gate"
    shutil.copytree(PROGRAM, program, ignore=shutil.ignore_patterns("__pycache__"))
    text = (program / module).read_text()
    wait = f"\nimport time\nopen({str(gate)!r}, 'w').close()\ntime.sleep(60)\n"
    (program / module).write_text(text + wait)
    os.mkfifo(gate)
    job = simple_job(tmp_path / "job")
    process = job.start(program)
    with gate.open():  # waits for the import
        process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 143, log
    assert not job.failure


@pytest.mark.parametrize("external_memory", ["false", "true"])
def test_a_read_only_root_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external_memory: str
) -> None:
    """As with `docker run --read-only`, where no temporary folder can be used."""
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    monkeypatch.setattr(tempfile, "tempdir", None)
    job = simple_job(tmp_path, external_memory=external_memory)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "model", "output"]


def test_suspicious_channels_are_told(tmp_path: Path) -> None:
    job = simple_job(tmp_path)
    train = (tmp_path / "input" / "data" / "train" / "part.csv").read_text()
    job.put("validation", "part.csv", train)
    job.put("test", "part.csv", train)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert "channel test is not read" in outcome.log
    assert "part.csv of channel validation is part.csv of channel train" in outcome.log


def test_a_full_disk_is_a_platform_error(tmp_path: Path) -> None:
    job = simple_job(tmp_path)
    (tmp_path / "model").symlink_to("/dev/full")
    assert job.run().code == PLATFORM
    assert job.failure.startswith("PlatformError: ")


@pytest.mark.parametrize(
    ("problem", "kind", "message"),
    [
        (MemoryError(), PlatformError, "external_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), PlatformError, "disk is full"),
        (KeyError("x"), AlgorithmError, "KeyError"),
        (UserError("bad"), UserError, "bad"),
        (XGBoostError("[08:31:03] /a/b.cc:49: Unknown metric x\nStack trace:\n 1"), UserError, "x"),
        (XGBoostError("std::bad_alloc"), PlatformError, "bad_alloc"),
        (XGBoostError("[08:31:03] /a/b.cc:49: Check failed: a == b"), AlgorithmError, "a == b"),
        (XGBoostError("[08:31:03] /src/collective/result.cc:78: EOF"), PlatformError, "EOF"),
    ],
)
def test_an_exception_becomes_the_class_that_it_means(
    problem: BaseException, kind: type[Exception], message: str
) -> None:
    error = classify(problem)
    assert type(error) is kind
    assert message in str(error)
    assert "Stack trace" not in str(error)
