"""What XGBoost 3.3 and 3.4 changed: training, served answers and contributions of each version.

The matrix of acceleration and the corpus of foreign models have every kind of model; here is what
the release notes name, so that each behaves as the README's table of versions says.
"""

from __future__ import annotations

import itertools
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from runtime import acceleration
from runtime.job.versions import xgboost_version
from test_serving_strings import client_of, scores
from training_job import Job, csv_text, numbers, simple_job

pytestmark = pytest.mark.usefixtures("quick_choice")

HERE = xgboost_version() or ()
TREES = {"nthread": 1, "max_depth": 4, "seed": 1}
DROPS = {"rate_drop": 0.5, "one_drop": 1}
EXPECTILES = {"objective": "reg:expectileerror", "expectile_alpha": [0.1, 0.5, 0.9]}
QUANTILES = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]}
ROWS, SCORE = numbers(400)
FRESH, _ = numbers(100, seed=1)

since_3_3 = pytest.mark.skipif(HERE < (3, 3), reason="XGBoost 3.3 has brought it")
since_3_4 = pytest.mark.skipif(HERE < (3, 4), reason="XGBoost 3.4 has brought it")


def train(parameters: dict[str, Any], rounds: int = 8, outputs: int = 1) -> xgboost.Booster:
    """Return a model of `parameters`, as it comes out of a file."""
    score = np.column_stack([SCORE, -SCORE])[:, :outputs]
    booster = xgboost.train(TREES | parameters, xgboost.DMatrix(ROWS, score, nthread=1), rounds)
    return xgboost.Booster(model_file=bytearray(booster.save_raw("ubj")))


def logged(outcome: Any, word: str) -> list[str]:
    return [line for line in outcome.log.splitlines() if word in line]


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_a_deprecated_booster_trains_and_the_log_says_so_in_one_line(
    tmp_path: Path, booster: str
) -> None:
    job = simple_job(tmp_path, num_round="3", booster=booster, objective="reg:squarederror")
    outcome = job.run_program()  # XGBoost says it once per process
    assert outcome.code == 0, outcome.log
    assert job.booster().num_boosted_rounds() == 3
    lines = logged(outcome, "deprecated")
    assert len(lines) == (HERE >= (3, 4) or (booster == "gblinear" and HERE >= (3, 3)))
    assert all(f":WARNING] `booster={booster}` is deprecated" in line for line in lines)


def test_warnings_of_python_are_single_lines_and_each_is_logged_once() -> None:
    code = (
        "import warnings; from runtime.job import logs; logs.configure()\n"
        "for time in ('01', '02'):\n"
        "    warnings.warn(f'[00:00:{time}] WARNING: /src/a.cc:12: \\nnot\\n  used.\\n')\n"
        "    warnings.warn_explicit('two\\nlines', RuntimeWarning, 'f.py', int(time))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    lines = [line.partition(":WARNING] ")[2] for line in done.stdout.splitlines()]
    assert lines == ["not used.", *(f"RuntimeWarning: two lines (f.py:{n})" for n in (1, 2))]
    assert not done.stderr


@since_3_3
def test_the_categories_of_a_frame_need_no_option_and_are_served_as_strings(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"city": pd.Categorical(random.choice(["Oslo", "Rome"], 300)), "x": 1.0})
    estimator = xgboost.XGBClassifier(n_estimators=3, n_jobs=1)
    estimator.fit(frame, (frame.city == "Oslo") ^ (random.random(300) < 0.1))
    (tmp_path / "model").mkdir()
    estimator.save_model(tmp_path / "model" / "model.json")
    found = scores(client_of(tmp_path), frame.to_csv(index=False, header=False), "text/csv")
    np.testing.assert_allclose(found, estimator.predict_proba(frame)[:, 1], atol=1e-6)


def test_a_job_has_categories_only_where_it_asks_for_them(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 5, 300).astype(float)
    job = Job(tmp_path, {"num_round": "2", "objective": "reg:squarederror", "nthread": "1"})
    job.put("train", "a.csv", csv_text(codes % 2, codes))
    assert job.run().code == 0
    assert "c" not in (job.booster().feature_types or ())
    job.put("train", "a.csv", "0,Rome\n1,Oslo\n")
    assert job.run().code == 1
    assert "set enable_categorical=true" in job.failure


LEAVES = [
    pytest.param(EXPECTILES, marks=since_3_3, id="expectiles"),
    pytest.param(QUANTILES, id="quantiles"),
    pytest.param({"objective": "reg:absoluteerror"}, id="absolute error"),
]


@pytest.mark.parametrize("parameters", LEAVES)
def test_a_job_trains_the_leaves_of_the_same_xgboost(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    given = {key: value if isinstance(value, str) else json.dumps(value)
             for key, value in (TREES | parameters).items()}  # fmt: skip
    job = Job(tmp_path, {"num_round": "8", **given})
    job.put("train", "a.csv", csv_text(SCORE.astype(np.float32), ROWS))
    assert job.run().code == 0
    data = xgboost.QuantileDMatrix(ROWS, SCORE.astype(np.float32), nthread=1)
    assert job.model == xgboost.train(TREES | parameters, data, 8).save_raw("ubj")


@pytest.mark.parametrize("parameters", LEAVES)
def test_answers_of_such_leaves_are_xgboosts(parameters: dict[str, Any]) -> None:
    booster = train(parameters)
    choice = acceleration.choose(booster.copy(), mode="require")
    data = xgboost.DMatrix(FRESH, nthread=1)
    answer = choice.engine.predict(FRESH)
    np.testing.assert_array_equal(answer, booster.predict(data))
    np.testing.assert_array_equal(
        choice.engine.margins(FRESH), booster.predict(data, output_margin=True)
    )
    if HERE >= (3, 4) and answer.ndim == 2:
        assert (np.diff(answer, axis=1) >= 0).all()


@pytest.mark.parametrize(
    "kind", ["dart", pytest.param("gbtree", marks=since_3_4)]
)  # whose configuration says gbtree in 3.4
def test_the_weights_of_dropped_trees_count(kind: str) -> None:
    booster = train({"booster": kind, **DROPS}, rounds=20)
    learner = json.loads(booster.save_config())["learner"]
    assert (learner["gradient_booster"]["name"] == "gbtree") == (HERE >= (3, 4))
    model = json.loads(booster.save_raw("json"))
    gradient = model["learner"]["gradient_booster"]
    holder = gradient if "weight_drop" in gradient else gradient["model"]
    assert len(set(holder["weight_drop"])) > 2
    choice = acceleration.choose(booster.copy(), mode="require")
    data = xgboost.DMatrix(FRESH, nthread=1)
    expected = booster.predict(data)
    np.testing.assert_array_equal(choice.engine.predict(FRESH), expected)
    holder["weight_drop"] = [1.0] * len(holder["weight_drop"])
    equal = xgboost.Booster(model_file=bytearray(json.dumps(model), "utf-8"))
    assert np.abs(equal.predict(data) - expected).max() > 0.01
    engine = acceleration.choose(equal.copy(), mode="require").engine
    np.testing.assert_array_equal(engine.predict(FRESH), equal.predict(data))


EXPLAINED = [
    pytest.param({}, id="trees"),
    pytest.param({"max_depth": 10}, id="deep trees"),
    pytest.param({"booster": "dart", **DROPS}, id="dart"),
    pytest.param(QUANTILES, id="quantiles"),
    pytest.param(EXPECTILES, marks=since_3_3, id="expectiles"),
    pytest.param({"outputs": 2}, id="two targets"),
    pytest.param(
        {"outputs": 2, "multi_strategy": "multi_output_tree"}, marks=since_3_4, id="vector leaves"
    ),
]


@pytest.mark.parametrize("parameters", EXPLAINED)
def test_contributions_are_those_of_the_same_xgboost_and_add_up(parameters: Any) -> None:
    options = dict(parameters)
    booster = train(options, outputs=options.pop("outputs", 1))
    engine = acceleration.choose(booster.copy()).engine
    data = xgboost.DMatrix(FRESH, nthread=1)
    shares = engine.contributions(FRESH)
    expected = booster.predict(data, pred_contribs=True)
    assert shares.shape == expected.shape
    np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    margins = booster.predict(data, output_margin=True)
    np.testing.assert_allclose(shares.sum(axis=-1), margins, rtol=0, atol=2e-5)


def shapley(tree: dict[str, Any], row: np.ndarray) -> np.ndarray:
    """Return the Shapley values of a tree by their definition: every coalition of features."""
    players, left, right = range(len(row)), tree["left_children"], tree["right_children"]

    def value(node: int, known: set[int]) -> float:
        if left[node] < 0:
            return float(tree["split_conditions"][node])
        feature = tree["split_indices"][node]
        if feature in known:
            missing = np.isnan(row[feature])
            goes_left = tree["default_left"][node] if missing else (
                row[feature] < np.float32(tree["split_conditions"][node])
            )  # fmt: skip
            return value(left[node] if goes_left else right[node], known)
        sides = [
            (tree["sum_hessian"][side], value(side, known)) for side in (left[node], right[node])
        ]
        return sum(weight * part for weight, part in sides) / sum(weight for weight, _ in sides)

    found = np.zeros(len(row))
    for size in players:
        weight = 1 / (len(row) * math.comb(len(row) - 1, size))
        for player in players:
            for known in itertools.combinations(set(players) - {player}, size):
                gain = value(0, {*known, player}) - value(0, {*known})
                found[player] += weight * gain
    return found


def test_contributions_are_shapley_values() -> None:
    """XGBoost 3.4 computes them by quadrature, earlier ones by the paths of the trees."""
    data = xgboost.DMatrix(ROWS[:, :4], SCORE, nthread=1)
    booster = xgboost.train(TREES | {"max_depth": 5}, data, 3)
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    rows = FRESH[:5, :4]
    expected = [sum(shapley(tree, row) for tree in trees) for row in rows]
    shares = acceleration.choose(booster).engine.contributions(rows)
    np.testing.assert_allclose(shares[:, :-1], expected, rtol=0, atol=1e-5)


PICKLED = [
    pytest.param({}, id="trees"),
    pytest.param({"booster": "dart", **DROPS}, id="dart"),
    pytest.param({"multi_strategy": "multi_output_tree"}, id="vector leaves"),
    pytest.param(EXPECTILES, marks=since_3_3, id="expectiles"),
]


@pytest.mark.parametrize("parameters", PICKLED)
def test_a_pickle_of_this_version_answers_as_its_estimator(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    estimator = xgboost.XGBRegressor(n_estimators=6, n_jobs=1, **parameters)
    labels = SCORE if "objective" in parameters else np.column_stack([SCORE, -SCORE])
    estimator.fit(ROWS, labels)
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps(estimator))
    engine = acceleration.choose(acceleration.load_booster(file, allow_pickle=True)).engine
    np.testing.assert_allclose(engine.predict(FRESH), estimator.predict(FRESH), rtol=1e-6)
