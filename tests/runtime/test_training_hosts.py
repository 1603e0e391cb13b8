"""Several hosts: processes on 127.0.0.1, 127.0.0.2, ..., or, with CONTRACT_IMAGE=NAME, containers
of that image on a Docker network: algo-1, algo-2, ... as SageMaker names them.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import xgboost

from conftest import wait_until
from framework_job import libsvm_text, script_job
from runtime.training.peers import PORT, Hub, Message, connect
from training_job import Job, csv_text, labels_for, numbers

ROWS = 1800
IMAGE = os.environ.get("CONTRACT_IMAGE")
NETWORK = f"hosts-{uuid4().hex[:8]}" if IMAGE else ""
NAME = "algo-{}" if IMAGE else "127.0.0.{}"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not IMAGE and sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"
    ),
]
Parts = list[np.ndarray]


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _network() -> Iterator[None]:
    """Make the network of the containers: no way out of it, as with SageMaker's isolation."""
    if not IMAGE:
        yield
        return
    docker("network", "create", "--internal", NETWORK)
    yield
    docker("network", "rm", NETWORK)  # refused while one of its containers runs


@pytest.fixture(autouse=True)
def _free_port() -> None:
    """Wait until the port of the last test's first host is free again."""
    for _ in range(0 if IMAGE else 50):
        try:
            socket.create_server(("127.0.0.1", PORT)).close()
            return
        except OSError:
            time.sleep(0.2)


def hosts(base: Path, train: Parts, validation: Parts, **hyperparameters: str) -> list[Job]:
    """Return a job for each host, whose channels hold the rows numbered by `train[i]`..."""
    names = tuple(NAME.format(number + 1) for number in range(len(train)))
    options = {"num_round": "10", "objective": "binary:logistic", "nthread": "1"}
    rows, score = numbers(ROWS, 0)
    labels = labels_for("binary:logistic", score)
    jobs = []
    for name, mine, other in zip(names, train, validation, strict=True):
        job = Job(
            base / name, {**options, **hyperparameters}, hosts=names, host=name, network=NETWORK
        )
        for channel, index in (("train", mine), ("validation", other)):
            if len(index):
                job.put(channel, "part.csv", csv_text(labels[index], rows[index]))
        jobs.append(job)
    return jobs


@contextmanager
def ending(jobs: list[Job]) -> Iterator[None]:
    """End the hosts that still run: they would keep port and name from the tests that follow."""
    try:
        yield
    finally:
        for job in jobs:
            if job.process and job.process.poll() is None:
                job.kill()
                job.process.communicate(timeout=30)


def run(jobs: list[Job]) -> list[tuple[int, str]]:
    with ending(jobs):
        processes = [job.start() for job in jobs]
        logs = [process.communicate(timeout=120)[0] for process in processes]
    return [(process.returncode, log) for process, log in zip(processes, logs, strict=True)]


def shards(count: int, of: int = ROWS) -> tuple[Parts, Parts]:
    """Return the training and the validation rows of each of `count` hosts."""
    train, valid = np.arange(of * 2 // 3), np.arange(of * 2 // 3, of)
    return [train[n::count] for n in range(count)], [valid[n::count] for n in range(count)]


def last_loss(log: str) -> float:
    return float(re.findall(r"validation-logloss:([\d.]+)", log)[-1])


def alone(base: Path, train: np.ndarray, valid: np.ndarray) -> float:
    """Return the validation loss of one host that has all rows; it runs in this process."""
    (job,) = hosts(base, [train], [valid])
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    return last_loss(outcome.log)


def agreed(outcomes: list[tuple[int, str]], on: int) -> bool:
    """Whether `on` hosts have trained a model, and all the same."""
    digests = [found for _, log in outcomes for found in re.findall(r"sha256 (\w+)", log)]
    return len(digests) == on and len(set(digests)) == 1


def test_sharded_hosts_train_one_model_on_all_rows(tmp_path: Path) -> None:
    count = 3
    train, valid = shards(count)
    jobs = hosts(tmp_path, train, valid)
    for job in jobs:
        job.environ = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # nobody listens there
    outcomes = run(jobs)
    assert [code for code, _ in outcomes] == [0] * count, outcomes
    assert agreed(outcomes, on=count)
    saved = [(job.base / "model" / "xgboost-model").exists() for job in jobs]
    assert saved == [True] + [False] * (count - 1)
    said = ["drift: histograms of the rows of this host alone" in log for _, log in outcomes]
    assert said == saved
    assert ["MLflow" in log for _, log in outcomes] == saved  # who saves the model logs it
    expected = alone(tmp_path / "alone", np.concatenate(train), np.concatenate(valid))
    # The bins come from sketches of the hosts' shares, which differ a little from one of all rows.
    assert last_loss(outcomes[0][1]) == pytest.approx(expected, rel=0.02)


def test_replicated_hosts_train_as_on_repeated_rows(tmp_path: Path) -> None:
    count = 2
    (train,), (valid,) = shards(1)
    outcomes = run(hosts(tmp_path, [train] * count, [valid] * count))
    assert [code for code, _ in outcomes] == [0] * count, outcomes
    assert agreed(outcomes, on=count)
    expected = alone(tmp_path / "alone", np.tile(train, count), np.tile(valid, count))
    assert last_loss(outcomes[0][1]) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("empty", [0, 2])
def test_a_host_without_data_drops_out(tmp_path: Path, empty: int) -> None:
    train, valid = shards(2)
    for parts in (train, valid):
        parts.insert(empty, np.array([], int))
    jobs = hosts(tmp_path, train, valid)
    outcomes = run(jobs)
    assert [code for code, _ in outcomes] == [0, 0, 0], outcomes
    assert "it drops out" in outcomes[empty][1]
    assert agreed(outcomes, on=2)
    first = 1 if empty == 0 else 0
    assert [(job.base / "model" / "xgboost-model").exists() for job in jobs] == [
        number == first for number in range(3)
    ]


def test_only_one_host_with_validation_data_is_enough(tmp_path: Path) -> None:
    train, _ = shards(2)
    valid = np.arange(1200, 1800)
    outcomes = run(hosts(tmp_path, train, [np.array([], int), valid], eval_metric="logloss,f1"))
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert "#011validation-f1:0." in outcomes[0][1]


def test_bad_data_on_one_host_ends_all_with_its_reason(tmp_path: Path) -> None:
    train, valid = shards(3)
    jobs = hosts(tmp_path, train, valid)
    jobs[1].put("train", "bad.csv", "1,2,oops,4,5,6,7\n")
    outcomes = run(jobs)
    assert [code for code, _ in outcomes] == [1, 1, 1], outcomes
    assert "bad.csv" in jobs[1].failure
    for job in (jobs[0], jobs[2]):
        assert job.failure.startswith(f"UserError: host {jobs[1].host}: ")
        assert "bad.csv" in job.failure


@pytest.mark.parametrize("bad", [0, 1])
def test_a_host_that_comes_after_the_failure_is_told_too(tmp_path: Path, bad: int) -> None:
    jobs = hosts(tmp_path, *shards(3))
    jobs[bad].put("train", "bad.csv", "1,2,oops,4,5,6,7\n")
    with ending(jobs):
        first, second = (job.start() for job in jobs[:2])
        wait_until(lambda: bool(jobs[1].failure), 60)
        time.sleep(2)  # by now the first host has had the time to leave, wrongly
        third = jobs[2].start()
        for process in (first, second, third):
            process.communicate(timeout=90)
    assert [process.returncode for process in (first, second, third)] == [1, 1, 1]
    assert "bad.csv" in jobs[2].failure


@pytest.mark.parametrize("dead", [0, 1])
def test_a_host_that_dies_ends_the_job_everywhere(tmp_path: Path, dead: int) -> None:
    jobs = hosts(tmp_path, *shards(3), num_round="100000")
    with ending(jobs):
        processes = [job.start() for job in jobs]
        assert processes[0].stdout is not None
        while not processes[0].stdout.readline().startswith("[2]"):
            assert processes[0].poll() is None
        jobs[dead].kill()
        began = time.monotonic()
        for process in processes:
            process.communicate(timeout=60)
        assert time.monotonic() - began < 60
    for number, job in enumerate(jobs):
        if number != dead:
            assert processes[number].returncode == 3
            assert job.failure == f"PlatformError: host {jobs[dead].host} was lost"


def other_data(job: Job) -> None:
    """Change one number of the training channel."""
    path = job.base / "input" / "data" / "train" / "part.csv"
    label, _, rest = path.read_text().split(",", 2)
    path.write_text(f"{label},0.125,{rest}")


def test_hosts_continue_together_from_the_first_ones_checkpoint(tmp_path: Path) -> None:
    options = {"checkpoint_rounds": "4", "subsample": "0.6", "colsample_bytree": "0.6"}
    whole = hosts(tmp_path / "whole", *shards(2), **options)
    parts = hosts(tmp_path / "parts", *shards(2), **{**options, "num_round": "6"})
    for job in whole + parts:
        job.checkpoints = True
    assert [code for code, _ in run(whole)] == [0, 0]
    assert [code for code, _ in run(parts)] == [0, 0]
    for job in parts:
        job.hyperparameters["num_round"] = "10"
    outcomes = run(parts)
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert "[4]#011" in outcomes[0][1]
    assert "[3]#011" not in outcomes[0][1]
    assert parts[0].model == whole[0].model
    assert not (parts[1].base / "checkpoints").exists()
    # A checkpoint of other data on any host is refused.
    other_data(parts[1])
    assert [code for code, _ in run(parts)] == [1, 1]
    assert "data of train" in parts[0].failure


def test_a_host_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    jobs = hosts(tmp_path, *shards(2))
    with ending(jobs):
        second = jobs[1].start()
        time.sleep(6)
        first = jobs[0].start()
        for process in (first, second):
            process.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0)


def test_the_last_word_of_a_host_that_leaves_at_once_arrives() -> None:
    names = tuple(f"host-{number}" for number in range(40))
    hub = Hub("127.0.0.99", names, lambda facts: facts)
    for name in names:
        link = connect("127.0.0.99")
        link.send({"host": name})
        time.sleep(0.06)  # the hub's first heartbeat is there, unread: closing resets the wire
        link.send({})
        link.send({"done": 1})
        link._wire.close()
    hub.wait(10)
    assert hub._failure == {}


def test_a_first_host_that_cannot_decide_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(facts: Message) -> Message:
        raise RuntimeError("no port is free")

    monkeypatch.setattr("runtime.training.peers.BEAT_SECONDS", 60)
    monkeypatch.setattr("runtime.training.peers.SILENCE_SECONDS", 5)
    Hub("127.0.0.98", ("one", "two"), decide)
    links = [connect("127.0.0.98") for _ in range(2)]
    for name, link in zip(("one", "two"), links, strict=True):
        link.send({"host": name})
        link.send({"facts": None})
    told = {"failed": ["PlatformError", "host one: no port is free"]}
    assert [next(link.messages(), None) for link in links] == [told, told]


def test_a_validation_channel_that_is_empty_on_all_hosts_is_refused(tmp_path: Path) -> None:
    train, _ = shards(2)
    jobs = hosts(tmp_path, train, [np.arange(0), np.arange(0)])
    for job in jobs:
        job.channels["validation"] = {"ContentType": "text/csv"}
    assert [code for code, _ in run(jobs)] == [1, 1]
    assert all("channel validation holds no data on any host" in job.failure for job in jobs)


def test_hosts_agree_on_categories_and_labels(tmp_path: Path) -> None:
    names = tuple(NAME.format(number) for number in (1, 2))
    parts = {  # no host has all ports and classes; one has no deck at all
        names[0]: ("ja,Oslo,,1\n" * 30 + "nei,Rome,,2\n" * 30, "ja,Wien,,1\n"),
        names[1]: ("ja,Wien,B,3\n" * 30 + "kanskje,Bern,A,4\n" * 30, "nei,Oslo,B,1\n"),
    }
    given = {"num_round": "3", "objective": "multi:softprob", "num_class": "3", "nthread": "1",
             "enable_categorical": "true", "max_depth": "3"}  # fmt: skip
    jobs = [Job(tmp_path / name, given, hosts=names, host=name, network=NETWORK) for name in names]
    for job, (train, validation) in zip(jobs, parts.values(), strict=True):
        job.put("train", "part.csv", "vil,by,dekk,tall\n" + train)
        job.put("validation", "part.csv", "vil,by,dekk,tall\n" + validation)
    outcomes = run(jobs)
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert agreed(outcomes, on=2)
    assert "cells are missing" not in outcomes[0][1] + outcomes[1][1]
    manifest = jobs[0].output("manifest.json")
    assert manifest["label_names"] == ["ja", "kanskje", "nei"]
    values = [entry["values"] for entry in manifest["categories"]["columns"]]
    assert values == [["Bern", "Oslo", "Rome", "Wien"], ["A", "B"]]


def test_a_column_of_strings_on_one_host_and_of_numbers_on_another_is_refused(
    tmp_path: Path,
) -> None:
    names = tuple(NAME.format(number) for number in (1, 2))
    given = {"num_round": "2", "objective": "binary:logistic", "enable_categorical": "true"}
    jobs = [Job(tmp_path / name, given, hosts=names, host=name, network=NETWORK) for name in names]
    jobs[0].put("train", "part.csv", "y,cabin,age\n0,7,1\n1,8,2\n")
    jobs[1].put("train", "part.csv", "y,cabin,age\n0,C85,1\n1,8,2\n")
    outcomes = run(jobs)
    assert [code for code, _ in outcomes] == [1, 1], outcomes
    for job in jobs:
        assert f"column cabin holds strings on host {names[1]} and only numbers" in job.failure


def scripts(
    base: Path, count: int, code: str | dict[str, str], **hyperparameters: str
) -> list[Job]:
    """Return the jobs of several hosts that bring the same script; they have the same rows."""
    names = tuple(NAME.format(number + 1) for number in range(count))
    jobs = []
    for name in names:
        job = script_job(base / name, code, write=libsvm_text, **hyperparameters)
        job.hosts, job.host, job.network = names, name, NETWORK
        if NETWORK:
            archive = "/opt/ml/sourcedir.tar.gz"
            job.hyperparameters["sagemaker_submit_directory"] = json.dumps(archive)
        jobs.append(job)
    return jobs


def test_a_script_trains_one_model_on_its_hosts_and_one_without_data_drops_out(
    tmp_path: Path,
) -> None:
    jobs = scripts(tmp_path, 3, "distributed", max_depth="4", eta="0.3", num_round="8")
    rows, score = numbers(600, 0)
    for job, part in zip(jobs, (slice(0, 0), slice(0, 300), slice(300, 600)), strict=True):
        job.put("train", "part.csv", libsvm_text(score[part].round(3), rows[part]))
    ends = run(jobs)
    assert [code for code, _ in ends] == [0, 0, 0], ends
    models = [job.base / "model" / "xgboost-model.ubj" for job in jobs]
    assert [path.exists() for path in models] == [False, True, False]
    assert "takes no part in training" in ends[0][1]
    booster = xgboost.Booster(model_file=models[1])
    wide = np.column_stack([np.full(len(rows), np.nan), rows])  # libsvm's columns from 1
    error = np.abs(booster.predict(xgboost.DMatrix(wide)) - score)
    assert error.mean() < 0.5


def test_a_script_that_fails_on_a_host_ends_the_others_with_its_reason(tmp_path: Path) -> None:
    source = (
        "import json, os, time\n"
        "from sagemaker_xgboost_container.distributed import rabit_run\n"
        "def fit(is_master):\n"
        "    if not is_master: raise ValueError('a bad column')\n"
        "    time.sleep(200)\n"
        "hosts = json.loads(os.environ['SM_HOSTS'])\n"
        "rabit_run(fit, {}, True, hosts, os.environ['SM_CURRENT_HOST'], update_rabit_args=True)\n"
    )
    jobs = scripts(tmp_path, 2, {"train.py": source})
    ends = run(jobs)
    assert ends[1][0] == 1
    assert "ValueError: a bad column" in jobs[1].failure
    assert ends[0][0] != 0
    assert f"host {jobs[1].host}: ValueError: a bad column" in jobs[0].failure
