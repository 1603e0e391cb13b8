"""What custom.py puts into training: objective, metrics, callbacks. The truth is xgboost.train."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import custom
import training_job
from locations import PROGRAM
from training_job import Job, numbers, simple_job

SOURCE = '''
import numpy as np
import xgboost


def objective(margins, data):
    """Squared error that punishes an answer that is too low three times as much."""
    error = margins - data.get_label()
    weight = np.where(error < 0, 3.0, 1.0)
    return 2 * weight * error, 2 * weight


def late(predictions, data):
    error = predictions - data.get_label()
    return float(np.mean(np.where(error < 0, 3.0, 1.0) * error**2))


def share_below(predictions, data):
    return float((predictions < data.get_label()).sum()), float(data.num_row())


class Halver(xgboost.callback.TrainingCallback):
    """Halve the step size every round, and stop after the sixth."""

    def before_iteration(self, model, epoch, evals_log):
        model.set_param("eta", 0.5 ** (epoch + 1))
        return False

    def after_iteration(self, model, epoch, evals_log):
        assert len(evals_log["train"]["rmse"]) == epoch + 1
        return epoch == 5


def callbacks():
    return [Halver()]
'''


@pytest.fixture(scope="module")
def own() -> dict[str, Any]:
    """The functions of SOURCE."""
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    return names


def regression(base: Path, **hyperparameters: str) -> Job:
    job = simple_job(base, objective="reg:squarederror", **hyperparameters)
    del job.hyperparameters["objective"]
    job.environ = {"NUM_CLASSES": "1"}
    return job


def matrix_of(job: Job, channel: str = "train") -> xgboost.DMatrix:
    table = np.genfromtxt(job.base / "input" / "data" / channel / "part.csv", delimiter=",")
    table = table.astype(np.float32)
    return xgboost.DMatrix(table[:, 1:], table[:, 0], nthread=2)


def history(log: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"#011{name}:([^#\s]+)", log)]


@pytest.mark.parametrize("link", ["reg:squarederror", "binary:logistic"])
def test_the_objective_trains_as_xgboost_trains_with_it(
    link: str, own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "objective", own["objective"])
    monkeypatch.setattr(custom, "LINK", link)
    job = simple_job(tmp_path, objective=link)
    job.hyperparameters["objective"] = "custom"
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert f"the objective is that of custom.py, with the link of {link}" in outcome.log
    data = matrix_of(job)
    truth = xgboost.train(
        {"objective": link, "nthread": 2, "tree_method": "hist"}, data, 12, obj=own["objective"]
    )
    for margin in (True, False):
        np.testing.assert_allclose(
            job.booster().predict(data, output_margin=margin),
            truth.predict(data, output_margin=margin),
            rtol=1e-6,
        )
    assert job.output("manifest.json")["objective"] == link


def test_an_objective_of_custom_keeps_onedal(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import acceleration

    monkeypatch.setattr(custom, "objective", own["objective"])
    job = regression(tmp_path)
    assert job.run().code == 0
    rows = numbers(200, 5)[0]
    choice = acceleration.choose(job.booster(), mode="require")
    expected = job.booster().predict(xgboost.DMatrix(rows), output_margin=True)
    np.testing.assert_array_equal(choice.engine.margins(rows), expected)


def test_an_objective_that_the_job_names_wins(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = regression(tmp_path / "plain")
    assert plain.run().code == 0
    monkeypatch.setattr(custom, "objective", own["objective"])
    named = regression(tmp_path / "named")
    named.hyperparameters["objective"] = "reg:squarederror"
    outcome = named.run()
    assert "objective=reg:squarederror is given: that of custom.py is not used" in outcome.log
    assert named.model == plain.model


def test_objective_custom_without_a_function_is_refused(tmp_path: Path) -> None:
    job = regression(tmp_path)
    job.hyperparameters["objective"] = "custom"
    assert job.run().code == 1
    assert "needs a function `objective` in program/custom.py" in job.failure


@pytest.mark.parametrize("asked", ["", "late", "rmse,share_below"])
def test_metrics_are_printed_and_their_names_may_be_asked_for(
    asked: str, own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = (
        custom.Metric("late", "minimize", own["late"]),
        custom.Metric("share_below", "maximize", own["share_below"]),
    )
    monkeypatch.setattr(custom, "metrics", metrics)
    job = regression(tmp_path, **({"eval_metric": asked} if asked else {}))
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    booster = job.booster()
    for name, function in (("late", own["late"]), ("share_below", own["share_below"])):
        found = history(outcome.log, f"validation-{name}")
        if asked and name not in asked:
            assert not found
            continue
        data = matrix_of(job, "validation")
        value = function(booster.predict(data), data)
        value = value[0] / value[1] if isinstance(value, tuple) else value
        assert len(found) == 12
        assert found[-1] == pytest.approx(value, abs=1e-4)
    assert len(history(outcome.log, "validation-rmse")) == 12  # XGBoost's own default stays


@pytest.mark.parametrize(("direction", "best"), [("maximize", 7), ("minimize", 0)])
def test_early_stopping_follows_the_direction_of_a_metric(
    direction: str, best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []

    def peak(predictions: np.ndarray, data: xgboost.DMatrix) -> float:
        calls.append(0.0)
        return -abs((len(calls) - 1) // 2 - 7.0)  # train and validation; best in round 7

    monkeypatch.setattr(custom, "metrics", (custom.Metric("peak", direction, peak),))
    job = regression(tmp_path, early_stopping_rounds="2", num_round="30")
    assert job.run().code == 0
    assert job.booster().num_boosted_rounds() == best + 1


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (custom.Metric("rmse", "minimize", max), "has the name of one that exists"),
        (custom.Metric("a-b", "minimize", max), "letters, digits and underscores"),
        (custom.Metric("mine", "up", max), "write minimize or maximize"),
    ],
    ids=["name", "letters", "direction"],
)
def test_a_metric_that_is_written_wrongly_is_refused_before_training(
    metric: custom.Metric, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "metrics", (metric,))
    job = regression(tmp_path)
    assert job.run().code == 1
    assert words in job.failure


def test_callbacks_act_as_they_do_in_xgboost_train(
    own: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "callbacks", own["callbacks"])
    job = regression(tmp_path)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    data = matrix_of(job)
    truth = xgboost.train(
        {"nthread": 2, "tree_method": "hist"},
        data,
        12,
        evals=[(data, "train")],
        callbacks=own["callbacks"](),
        verbose_eval=False,
    )
    assert job.booster().num_boosted_rounds() == truth.num_boosted_rounds() == 6
    np.testing.assert_allclose(job.booster().predict(data), truth.predict(data), rtol=1e-6)


@pytest.fixture
def own_program(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the program whose custom.py holds SOURCE's objective and metrics."""
    program = tmp_path_factory.mktemp("own") / "program"
    shutil.copytree(PROGRAM, program, ignore=shutil.ignore_patterns("__pycache__"))
    with (program / "custom.py").open("a", encoding="utf-8") as file:
        file.write(SOURCE.partition("class Halver")[0])
        file.write('metrics = (Metric("late", "minimize", late),)\n')
    monkeypatch.setattr(training_job, "PROGRAM", program)
    monkeypatch.setenv("NUM_CLASSES", "1")
    return program


def test_a_job_with_an_objective_of_its_own_restarts_to_the_same_bytes(
    own_program: Path, tmp_path: Path
) -> None:
    def job(name: str, rounds: str) -> Job:
        job = regression(tmp_path / name, num_round=rounds, checkpoint_rounds="4", subsample="0.7")
        job.checkpoints = True
        return job

    whole, half = job("whole", "20"), job("half", "9")
    for each in (whole, half):
        assert each.run_program().code == 0
    half.hyperparameters["num_round"] = "20"
    outcome = half.run_program()
    assert outcome.code == 0, outcome.log
    assert len(history(outcome.log, "train-late")) == 12  # from the checkpoint of 8 rounds on
    assert half.model == whole.model
    (own_program / "custom.py").open("a").write("\n# edited\n")
    assert half.run_program().code == 1
    assert "custom.py" in half.failure


def test_hosts_agree_on_an_objective_and_the_metrics_of_the_whole_data(
    own_program: Path, tmp_path: Path
) -> None:
    values, score = numbers(600)
    lines = training_job.csv_text(np.abs(score) + 0.5, values).splitlines(keepends=True)
    hosts = ("127.0.0.71", "127.0.0.72")
    jobs = []
    for host, part in zip(hosts, (lines[:150], lines[150:]), strict=True):
        job = Job(tmp_path / host, {"num_round": "8", "nthread": "1"}, hosts=hosts, host=host)
        job.put("train", "part.csv", "".join(part), S3DistributionType="ShardedByS3Key")
        jobs.append(job)
    alone = Job(tmp_path / "alone", {"num_round": "8", "nthread": "1"})
    alone.put("train", "part.csv", "".join(lines))
    assert alone.run_program().code == 0
    processes = [job.start() for job in jobs]
    logs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], logs
    found = history(logs[0] + logs[1], "train-late")
    assert len(found) == 8
    whole = np.genfromtxt(alone.base / "input/data/train/part.csv", delimiter=",").astype(
        np.float32
    )
    data = xgboost.DMatrix(whole[:, 1:], whole[:, 0])
    model = next(
        path for path in (job.base / "model/xgboost-model" for job in jobs) if path.exists()
    )
    predictions = xgboost.Booster(model_file=bytearray(model.read_bytes())).predict(data)
    error = predictions - data.get_label()
    expected = np.mean(np.where(error < 0, 3.0, 1.0) * error**2)
    assert found[-1] == pytest.approx(expected, abs=2e-5)


def test_tuning_knows_the_metrics_of_custom(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.training import metric_table

    monkeypatch.setattr(custom, "metrics", (custom.Metric("profit", "maximize", max),))
    assert metric_table.maximised("profit")
    assert json.dumps(list(metric_table.own_metrics())) == '["profit"]'
