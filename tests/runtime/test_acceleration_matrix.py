"""Every kind of model that XGBoost trains gets an engine whose answers are Booster.predict's."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
import xgboost

from acceleration_models import OBJECTIVES, SIZES, VARIANTS, Recipe, train
from runtime import acceleration
from runtime.acceleration.links import is_probability

pytestmark = pytest.mark.usefixtures("quick_choice")

X86 = platform.machine().lower() in {"x86_64", "amd64"}
RECIPES = OBJECTIVES + VARIANTS + SIZES


def assert_close(answer: np.ndarray, expected: np.ndarray, *, absolute: bool) -> None:
    """1e-6 absolute on probabilities and class numbers, 1e-5 relative on everything else."""
    assert answer.dtype == np.float32
    assert answer.shape == expected.shape
    if absolute:
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)
    elif len(expected):
        floor = 1e-5 * float(np.abs(expected).mean())  # sums that cancel keep no more in float32
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=floor)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_served_answer_is_the_one_of_booster_predict(recipe: Recipe) -> None:
    trained, rows = train(recipe)
    booster = xgboost.Booster(model_file=bytearray(trained.save_raw("ubj")))
    through = "onedal" if X86 and recipe.onedal else "xgboost"
    choice = acceleration.choose(booster, missing=recipe.missing)
    engine = choice.engine
    print(f"\n{recipe.name}: {engine.name}: {choice.reason}")

    absolute = is_probability(engine.objective)
    options: dict[str, Any] = {"validate_features": False}
    if recipe.kind == "stopped" and recipe.parameters.get("booster") != "gblinear":
        options["iteration_range"] = (0, trained.best_iteration + 1)
    expected = trained.predict(matrix(trained, rows, recipe), **options)
    assert_close(engine.predict(rows), expected, absolute=absolute)
    for count in (0, 1, 31, 32, 33):
        assert_close(engine.predict(rows[:count]), expected[:count], absolute=absolute)
    margins = trained.predict(matrix(trained, rows, recipe), output_margin=True, **options)
    assert_close(engine.margins(rows), margins, absolute=False)
    if "multi_strategy" not in recipe.parameters:  # XGBoost has no contributions for these either
        for each in {engine, choice.explainer}:
            check_contributions(each, trained, rows[:20], recipe, options)
    assert engine.name == through, choice.reason


def matrix(booster: xgboost.Booster, rows: np.ndarray, recipe: Recipe) -> xgboost.DMatrix:
    """Return the rows as XGBoost's user would pass them."""
    missing = np.nan if recipe.missing is None else recipe.missing
    types = booster.feature_types
    return xgboost.DMatrix(rows, missing=missing, feature_types=types, enable_categorical=True)


def check_contributions(
    engine: acceleration.Engine,
    booster: xgboost.Booster,
    rows: np.ndarray,
    recipe: Recipe,
    options: dict[str, Any],
) -> None:
    """SHAP values are XGBoost's, and add up to the margin."""
    data = matrix(booster, rows, recipe)
    expected = booster.predict(data, pred_contribs=True, **options)
    values = engine.contributions(rows)
    scale = float(np.abs(expected).max())
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-4 * scale)
    total = values.sum(axis=-1)
    np.testing.assert_allclose(total, engine.margins(rows), rtol=1e-5, atol=1e-5 * scale)


def test_every_objective_of_this_xgboost_is_in_the_matrix() -> None:
    with pytest.raises(xgboost.core.XGBoostError, match="Objective candidate") as caught:
        xgboost.train({"objective": "none"}, xgboost.DMatrix(np.zeros((2, 1)), label=[0, 1]), 1)
    words = str(caught.value).split("Objective candidate: ")[1:]
    assert {word.split()[0] for word in words} == {r.parameters["objective"] for r in OBJECTIVES}
