"""A model that stopped early elsewhere answers with its best rounds, everywhere and by name."""

from __future__ import annotations

import dataclasses
import json
import logging
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import settings
from acceleration_models import Recipe, train
from conftest import save, to_csv
from deploy.pipeline import evaluate
from predictor import create_app
from runtime import acceleration
from runtime.acceleration import __main__ as command
from runtime.acceleration.rounds import Rounds, cut
from runtime.job.paths import Paths

pytestmark = pytest.mark.usefixtures("quick_choice")

STOPPED = Recipe("", {"objective": "binary:logistic"}, "binary", rounds=60, kind="stopped")


@pytest.fixture(scope="module")
def stopped() -> tuple[xgboost.Booster, np.ndarray]:
    return train(STOPPED)


def copy(booster: xgboost.Booster, **attributes: str | None) -> xgboost.Booster:
    """Return a copy with other attributes."""
    other = xgboost.Booster(model_file=bytearray(booster.save_raw("ubj")))
    other.set_attr(**attributes)
    return other


def best(booster: xgboost.Booster, rows: np.ndarray, **options: Any) -> np.ndarray:
    """Return XGBoost's own answer of the best rounds."""
    limits = (0, booster.best_iteration + 1)
    matrix = xgboost.DMatrix(rows, nthread=1)
    return booster.predict(matrix, iteration_range=limits, **options)


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_both_engines_answer_with_the_best_rounds(
    stopped: tuple[xgboost.Booster, np.ndarray], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    booster, rows = stopped
    with caplog.at_level(logging.INFO):
        choice = acceleration.choose(copy(booster), mode=mode)
    used, total = booster.best_iteration + 1, booster.num_boosted_rounds()
    assert used < total
    assert choice.rounds == Rounds(used, total)
    assert choice.report["rounds"] == {"used": used, "total": total}
    assert f"answering with rounds 0 to {used - 1} of {total}: " in caplog.text
    for engine in (choice.engine, choice.reference):
        np.testing.assert_allclose(engine.predict(rows), best(booster, rows), atol=1e-6)
        margins = best(booster, rows, output_margin=True)
        np.testing.assert_allclose(engine.margins(rows), margins, 1e-5, 1e-5)
        shares = best(booster, rows, pred_contribs=True)
        np.testing.assert_allclose(engine.contributions(rows), shares, 1e-4, 1e-5)


def test_all_rounds_answer_when_that_is_set(stopped: tuple[xgboost.Booster, np.ndarray]) -> None:
    booster, rows = stopped
    choice = acceleration.choose(copy(booster), best_iteration=False)
    assert choice.rounds.used == choice.rounds.total == booster.num_boosted_rounds()
    expected = booster.predict(xgboost.DMatrix(rows, nthread=1))
    np.testing.assert_allclose(choice.engine.predict(rows), expected, atol=1e-6)


def test_a_model_of_our_own_is_left_as_it_is(stopped: tuple[xgboost.Booster, np.ndarray]) -> None:
    booster, _ = stopped
    ours = booster[: booster.best_iteration + 1]
    ours.set_attr(best_iteration=str(booster.best_iteration))  # as training writes it
    rounds = booster.best_iteration + 1
    assert cut(ours) == (ours, Rounds(rounds, rounds))


@pytest.mark.parametrize("value", ["-1", "2.5", "None", "five", "1e1", " "])
def test_a_best_round_that_is_not_a_number_is_refused_with_the_way_out(
    stopped: tuple[xgboost.Booster, np.ndarray], value: str
) -> None:
    booster = copy(stopped[0], best_iteration=value)
    with pytest.raises(acceleration.ModelFileError) as caught:
        acceleration.choose(booster)
    assert repr(value) in str(caught.value)
    assert "BEST_ITERATION=false" in str(caught.value)
    total = booster.num_boosted_rounds()
    assert acceleration.choose(booster, best_iteration=False).rounds == Rounds(total, total)


@pytest.mark.parametrize("value", ["60", "1" + "0" * 30])
def test_a_best_round_beyond_the_model_takes_all_with_a_warning(
    stopped: tuple[xgboost.Booster, np.ndarray], value: str, caplog: pytest.LogCaptureFixture
) -> None:
    booster, found = cut(copy(stopped[0], best_iteration=value))
    assert found == Rounds(booster.num_boosted_rounds(), booster.num_boosted_rounds())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"best_iteration is {value}, but the model has" in caplog.text


@pytest.mark.parametrize(
    ("best_iteration", "limit", "used"),
    [
        ("1", "6", 6),  # XGBoost 1.4 and 1.5: two rounds of three trees, which are six here
        ("1", "2", 2),
        ("2", "5", 3),  # of an earlier training: no multiple of the best round
        ("2", "no number", 3),
        ("2", "0", 3),
        ("0", "5", 1),  # no share of the twelve that the model has
    ],
)
def test_the_limit_in_trees_of_old_versions_tells_how_many_trees_make_a_round(
    best_iteration: str, limit: str, used: int
) -> None:
    attributes = {"best_iteration": best_iteration, "best_ntree_limit": limit}
    booster, _ = cut(copy(train(Recipe("", {}, rounds=12))[0], **attributes))
    assert booster.num_boosted_rounds() == used


def test_parallel_trees_are_counted_by_round(tmp_path: Path) -> None:
    booster, _ = train(dataclasses.replace(STOPPED, parameters={"num_parallel_tree": 4}))
    stale = copy(booster, best_ntree_limit=str(12 * (booster.best_iteration + 1)))
    for model in (booster, stale):
        shorter, found = cut(model)
        assert found == Rounds(booster.best_iteration + 1, booster.num_boosted_rounds())
        assert len(shorter.get_dump()) == 4 * found.used


def serve(folder: Path, **options: Any) -> Any:
    """Return a client of the application that serves `folder`/model."""
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"})
    return create_app(dataclasses.replace(config, **options), Paths(folder)).test_client()


def ask(client: Any, rows: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Return the scores of rows, and what the answer says of its rounds."""
    answer = client.post("/invocations", data=to_csv(rows), content_type="text/csv")
    assert answer.status_code == 200, answer.data
    scores = [float(line) for line in answer.data.decode().splitlines()]
    return np.array(scores), answer.headers.get("X-Model-Iterations")


def test_answers_name_their_rounds_when_there_are_more(
    stopped: tuple[xgboost.Booster, np.ndarray], opt_ml: Path
) -> None:
    booster, rows = stopped
    save(booster, opt_ml / "model")
    scores, header = ask(serve(opt_ml), rows)
    np.testing.assert_allclose(scores, best(booster, rows), rtol=0, atol=2e-6)
    total = booster.num_boosted_rounds()
    assert header == f"rounds 0 to {booster.best_iteration} of {total}"
    scores, header = ask(serve(opt_ml, best_iteration=False), rows)
    expected = booster.predict(xgboost.DMatrix(rows, nthread=1))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6)
    assert header is None


def test_each_model_of_an_ensemble_answers_with_its_own_best_rounds(
    stopped: tuple[xgboost.Booster, np.ndarray], opt_ml: Path
) -> None:
    first, rows = stopped
    second, _ = train(dataclasses.replace(STOPPED, parameters=STOPPED.parameters | {"eta": 0.05}))
    save(first, opt_ml / "model", "xgboost-model-0")
    save(second, opt_ml / "model", "xgboost-model-1")
    scores, header = ask(serve(opt_ml), rows)
    mean = (best(first, rows) + best(second, rows)) / 2
    np.testing.assert_allclose(scores, mean, rtol=0, atol=2e-6)
    expected = [
        f"rounds 0 to {model.best_iteration} of {model.num_boosted_rounds()}"
        for model in (first, second)
    ]
    assert header == ", ".join(dict.fromkeys(expected))


def test_models_of_a_multi_model_endpoint_answer_with_their_best_rounds(
    stopped: tuple[xgboost.Booster, np.ndarray], opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    booster, rows = stopped
    folder = save(booster, opt_ml / "one")
    (opt_ml / "run" / "models").mkdir(parents=True)
    monkeypatch.setenv("SERVE_RUN", str(opt_ml / "run"))
    client = serve(opt_ml, multi_model=True)
    loaded = client.post("/models", json={"model_name": "one", "url": str(folder)})
    assert loaded.status_code == 200, loaded.data
    answer = client.post("/models/one/invoke", data=to_csv(rows), content_type="text/csv")
    scores = [float(line) for line in answer.data.decode().splitlines()]
    np.testing.assert_allclose(scores, best(booster, rows), rtol=0, atol=2e-6)
    assert answer.headers["X-Model-Iterations"].startswith("rounds 0 to ")


def test_the_pipeline_evaluates_the_rounds_that_will_answer(
    stopped: tuple[xgboost.Booster, np.ndarray], tmp_path: Path
) -> None:
    booster, rows = stopped
    model = save(booster, tmp_path / "model") / "xgboost-model"
    for folder in ("model", "test"):
        (tmp_path / "input" / folder).mkdir(parents=True)
    with tarfile.open(tmp_path / "input" / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(model, model.name)
    labelled = np.column_stack([np.arange(len(rows)) % 2, rows])
    (tmp_path / "input" / "test" / "part.csv").write_bytes(to_csv(labelled))
    evaluate.run(tmp_path)
    written = np.loadtxt(tmp_path / "output" / "evaluation" / "predictions.csv")
    np.testing.assert_allclose(written, best(booster, rows), rtol=0, atol=2e-6)


@pytest.mark.parametrize("setting", ["true", "false"])
def test_the_command_says_which_rounds_answer(
    stopped: tuple[xgboost.Booster, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    booster, _ = stopped
    monkeypatch.setenv("BEST_ITERATION", setting)
    command.main([str(save(booster, tmp_path))])
    total = booster.num_boosted_rounds()
    last = booster.best_iteration if setting == "true" else total - 1
    assert f"answering: rounds 0 to {last} of {total}" in capsys.readouterr().out
    command.main([str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["rounds"] == {"used": last + 1, "total": total}
