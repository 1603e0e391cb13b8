"""Categorical splits and vector leaves through oneDAL: XGBoost's answers, to the last bit.

CATEGORY_MODELS sets how many random models are compared (default 15).
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from typing import Any

import numpy as np
import pandas
import pytest
import xgboost

from runtime import acceleration
from runtime.acceleration import document, widening
from runtime.job.versions import xgboost_version

MODELS = int(os.environ.get("CATEGORY_MODELS", "15"))
HERE = xgboost_version() or ()
NO_CODES = (-1.0, -0.5, -0.0, 0.5, 2.0**24 - 1, 2.0**24, 2.0**31, 2.0**33, 3e38, np.nan)

pytestmark = [
    pytest.mark.usefixtures("quick_choice"),
    pytest.mark.skipif(
        platform.machine().lower() not in {"x86_64", "amd64"}, reason="oneDAL is for x86-64"
    ),
]


def table(random: np.random.Generator, rows: int, counts: list[int], numbers: int) -> np.ndarray:
    """Return float32 rows: a column of codes for each of `counts`, then columns of numbers."""
    codes = [random.integers(0, count, rows) for count in counts]
    values = np.column_stack([*codes, random.normal(size=(rows, numbers))]).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    return values


def target(random: np.random.Generator, rows: np.ndarray, counts: list[int]) -> np.ndarray:
    """Return a score that depends on the categories and on the first number."""
    filled = np.nan_to_num(rows)
    score = random.normal(size=len(rows)) * 0.1 + (filled[:, len(counts)] if rows.shape[1] else 0)
    for column, count in enumerate(counts):
        score += random.normal(size=count)[filled[:, column].astype(int)]
    return np.asarray(score)


def train(
    seed: int,
    counts: list[int],
    rounds: int = 10,
    outputs: int = 1,
    strings: bool = False,
    **parameters: Any,
) -> tuple[xgboost.Booster, np.ndarray]:
    """Return a Booster, and fresh rows with codes that it knows and codes that it does not."""
    random = np.random.default_rng(seed)
    rows = table(random, 600, counts, 3)
    scores = np.column_stack([target(random, rows, counts) for _ in range(outputs)])
    objective = parameters.get("objective", "")
    if objective.startswith("multi:"):
        scores = np.digitize(scores[:, 0], [-1, 1])
    elif objective.startswith("binary:"):
        scores = scores > 0
    types = None if strings else ["c"] * len(counts) + ["q"] * 3
    given = as_frame(rows, counts) if strings else rows
    data = xgboost.DMatrix(given, scores, feature_types=types, enable_categorical=True, nthread=1)
    booster = xgboost.train({"nthread": 1, "max_depth": 5, **parameters}, data, rounds)
    fresh = table(random, 400, [count + 3 for count in counts], 3)
    strange = random.random(fresh[:, : len(counts)].shape) < 0.1
    fresh[:, : len(counts)][strange] = random.choice(NO_CODES, int(strange.sum()))
    return booster, fresh


def margins_of(booster: xgboost.Booster, rows: np.ndarray) -> np.ndarray:
    matrix = xgboost.DMatrix(rows, nthread=1)
    return booster.predict(matrix, output_margin=True, validate_features=False)


@pytest.mark.parametrize("onehot", [1, 100], ids=["partition", "one-hot"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"objective": "binary:logistic"},
        {"objective": "multi:softprob", "num_class": 3},
        {"objective": "multi:softmax", "num_class": 3},
        {"booster": "dart", "rate_drop": 0.4, "one_drop": 1},
        {"num_parallel_tree": 3, "subsample": 0.5},
        {"outputs": 2},
    ],
    ids=str,
)
def test_margins_of_categorical_models_are_xgboosts_to_the_last_bit(
    parameters: dict[str, Any], onehot: int
) -> None:
    booster, rows = train(3, [2, 9, 40], max_cat_to_onehot=onehot, **parameters)
    engine = acceleration.choose(booster, mode="require").engine
    assert engine.name == "onedal"
    expected = margins_of(booster, rows)
    np.testing.assert_array_equal(engine.margins(rows), expected)
    for count in (1, 31, 80, 81, 333):
        np.testing.assert_array_equal(engine.margins(rows[:count]), expected[:count])
    assert engine.margins(rows[:0]).shape == expected[:0].shape


def test_blocks_of_widened_rows_give_the_answers_of_one_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(widening, "BLOCK_BYTES", 1)
    booster, rows = train(4, [12, 5])
    engine = acceleration.choose(booster).engine
    np.testing.assert_array_equal(engine.margins(rows), margins_of(booster, rows))


def test_every_code_goes_where_xgboost_sends_it() -> None:
    booster, _ = train(5, [30], max_cat_to_onehot=1)
    codes = np.array([*range(40), *NO_CODES, *(code + 0.7 for code in range(40))], np.float32)
    rows = np.zeros((len(codes), 4), np.float32)
    rows[:, 0] = codes
    engine = acceleration.choose(booster).engine
    expected = margins_of(booster, rows)
    assert len(np.unique(expected)) > 5
    np.testing.assert_array_equal(engine.margins(rows), expected)


def test_a_model_trained_on_a_frame_with_categories_takes_their_codes() -> None:
    random = np.random.default_rng(1)
    frame = pandas.DataFrame(
        {"city": pandas.Categorical(random.choice(["Oslo", "Rome", "Lima"], 300)), "x": 1.0}
    )
    label = frame.city.map({"Oslo": 1.0, "Rome": 5.0, "Lima": -2.0}).astype(float)
    data = xgboost.DMatrix(frame, label, enable_categorical=True)
    booster = xgboost.train({"nthread": 1}, data, 5)
    rows = np.column_stack([frame.city.cat.codes, frame.x]).astype(np.float32)
    engine = acceleration.choose(booster, mode="require").engine
    assert engine.name == "onedal"
    np.testing.assert_array_equal(engine.margins(rows), booster.predict(data, output_margin=True))


def test_contributions_of_categorical_models_come_from_xgboost() -> None:
    booster, rows = train(6, [4, 6])
    engine = acceleration.choose(booster).engine
    known = np.nan_to_num(rows).clip(0, 3)[:20]
    matrix = xgboost.DMatrix(known, nthread=1, feature_types=booster.feature_types)
    np.testing.assert_array_equal(
        engine.contributions(known), booster.predict(matrix, pred_contribs=True)
    )


def test_categories_that_would_take_too_much_memory_are_left_to_xgboost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(widening, "LARGEST_TABLE", 1000)
    booster, _ = train(7, [50, 50])
    choice = acceleration.choose(booster)
    assert choice.engine.name == "xgboost"
    assert "table of the model's categories" in choice.reason


def test_a_wrong_membership_is_caught_by_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    original = widening._table

    def wrong(*arguments: Any) -> Any:
        row_of, splits, levels = original(*arguments)
        levels[-1] = 1 - levels[-1]  # the highest code only
        return row_of, splits, levels

    monkeypatch.setattr(widening, "_table", wrong)
    booster, _ = train(8, [25], max_cat_to_onehot=1)
    choice = acceleration.choose(booster)
    assert choice.engine.name == "xgboost"
    assert "every category" in choice.reason or "oneDAL differs" in choice.reason


@pytest.mark.parametrize("outputs", [2, 5])
def test_margins_of_vector_leaves_are_xgboosts_to_the_last_bit(outputs: int) -> None:
    booster, rows = train(
        9, [], outputs=outputs, multi_strategy="multi_output_tree", tree_method="hist"
    )
    assert document.read(booster).vector_leaves
    choice = acceleration.choose(booster, mode="require")
    assert choice.engine.name == "onedal", choice.reason
    np.testing.assert_array_equal(choice.engine.margins(rows), margins_of(booster, rows))


KINDS = ("codes", "strings", "vector leaves")


def random_model(random: np.random.Generator, kind: str) -> dict[str, Any]:
    """Return the arguments of `train` for a random model."""
    objective = str(random.choice(["reg:squarederror", "binary:logistic", "multi:softprob"]))
    arguments: dict[str, Any] = {
        "counts": [int(2 ** random.uniform(1, 12.3)) for _ in range(random.integers(1, 11))],
        "objective": objective,
        "rounds": int(random.integers(1, 12)),
        "max_depth": int(random.integers(1, 8)),
        "max_cat_to_onehot": int(random.choice([1, 5, 10_000])),
        "max_cat_threshold": int(random.choice([4, 64, 10_000])),
        "tree_method": str(random.choice(["hist", "approx"])),
        "booster": str(random.choice(["gbtree", "gbtree", "dart"])),
        "rate_drop": 0.4,
        "num_parallel_tree": int(random.choice([1, 1, 3])),
        "outputs": int(random.integers(1, 4)) if objective == "reg:squarederror" else 1,
    }
    if objective.startswith("multi:"):
        arguments["num_class"] = 3
    if kind == "vector leaves":
        arguments |= {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
        arguments["outputs"] = int(random.integers(2, 6))
        arguments["objective"] = "reg:squarederror"
        arguments.pop("num_class", None)
        if HERE < (3, 4):  # which has these of categories, and of DART
            arguments |= {"counts": [], "booster": "gbtree"}
    return arguments


def as_frame(rows: np.ndarray, counts: list[int]) -> pandas.DataFrame:
    """Return rows with strings in place of the codes; a code beyond them is missing."""
    frame = pandas.DataFrame(rows.astype(float), columns=[f"c{n}" for n in range(rows.shape[1])])
    for column, count in enumerate(counts):
        names = [f'"{code}", =1+{code}' if code % 2 else str(code) for code in range(count)]
        codes = np.nan_to_num(rows[:, column], nan=-1)
        codes = np.where((codes < 0) | (codes >= count), -1, codes).astype(int)
        frame[f"c{column}"] = pandas.Categorical.from_codes(codes, names)
    return frame


def encoded(frame: pandas.DataFrame, booster: xgboost.Booster) -> np.ndarray:
    """Return the rows with the codes of the strings that the model stores."""
    stored = acceleration.stored_categories(booster)
    assert stored is not None
    columns = [
        stored.encode(at, list(column.astype(object).where(column.notna(), None)))[0]
        if at in stored.values
        else column.to_numpy(np.float32)
        for at, (_, column) in enumerate(frame.items())
    ]
    return np.column_stack(columns)


@pytest.mark.slow
def test_random_categorical_and_vector_models_answer_as_xgboost_does() -> None:
    compared: Counter[str] = Counter()
    for seed in range(MODELS):
        kind = KINDS[seed % 5 % 3]  # of five: two of codes, two of strings, one of vectors
        arguments = random_model(np.random.default_rng(seed), kind)
        booster, rows = train(seed, strings=kind == "strings", **arguments)
        choice = acceleration.choose(booster.copy(), mode="require")
        about = str((seed, arguments, choice.reason))
        assert choice.engine.name == "onedal", about
        if kind == "strings":
            frame = as_frame(rows, arguments["counts"])
            data = xgboost.DMatrix(frame, enable_categorical=True, nthread=1)
            expected = booster.predict(data, output_margin=True)
            rows = encoded(frame, booster)
        else:
            expected = margins_of(booster, rows)
        np.testing.assert_array_equal(choice.engine.margins(rows), expected, about)
        compared[kind] += 1
    print(f"\nXGBoost {xgboost.__version__}: compared to the last bit: {dict(compared)}")
