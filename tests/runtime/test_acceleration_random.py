"""Random models and random numbers: no answer differs from Booster.predict's."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import pytest
import xgboost

from runtime import acceleration
from runtime.acceleration import comparison
from runtime.acceleration.links import is_probability

MODELS = int(os.environ.get("RANDOM_MODELS", "60"))
CLASSES = {"binary:logistic": 2, "binary:hinge": 2, "multi:softprob": 4, "multi:softmax": 3}
POSITIVE = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox")
OBJECTIVES = (*CLASSES, *POSITIVE, "reg:squarederror", "reg:logistic", "reg:quantileerror")
SPECIAL = (0.0, -0.0, 1e-45, -1e-45, 1e-39, -1e-38, 1e30, -1e30, 3.4e38, -3.4e38, 1.7e9, np.nan)


def numbers(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return float32 rows: each column of its own kind, with special values strewn in."""
    kinds = [
        lambda: random.normal(size=rows),
        lambda: random.integers(-2, 3, rows),  # few values: many rows on the thresholds
        lambda: 1.7e9 + random.integers(0, 10_000, rows),  # epoch seconds, beyond 24 bits
        lambda: random.normal(size=rows) * 10.0 ** random.integers(-42, 30, rows),
        lambda: np.where(random.random(rows) < 0.8, 0.0, random.random(rows)),  # mostly zero
    ]
    drawn = [kinds[random.integers(len(kinds))]() for _ in range(columns)]
    values = np.column_stack(drawn).astype(np.float64)  # where all are integers too
    chosen = random.random(values.shape) < 0.05
    values[chosen] = random.choice(SPECIAL, int(chosen.sum()))
    return values.astype(np.float32)


def options(random: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a random small model."""
    objective = str(random.choice(OBJECTIVES))
    parameters: dict[str, Any] = {
        "objective": objective,
        "nthread": 1,
        "seed": int(random.integers(1000)),
        "max_depth": int(random.integers(1, 9)),
        "eta": float(random.choice([0.05, 0.3, 1.0])),
        "num_parallel_tree": int(random.choice([1, 1, 3])),
        "subsample": float(random.choice([0.6, 1.0])),
        "booster": str(random.choice(["gbtree", "gbtree", "gbtree", "dart"])),
        "tree_method": str(random.choice(["hist", "exact", "approx"])),
    }
    if parameters["booster"] == "dart":
        parameters |= {"rate_drop": 0.4, "one_drop": 1}
    if objective == "reg:quantileerror":
        parameters["quantile_alpha"] = [0.2, 0.7]
        parameters["tree_method"] = "hist"
    if objective.startswith("multi:"):
        parameters["num_class"] = CLASSES[objective]
    return parameters


def label(random: np.random.Generator, objective: str, rows: np.ndarray) -> np.ndarray:
    """Return labels that fit the objective."""
    if objective in CLASSES:
        return random.integers(0, CLASSES[objective], len(rows))
    if objective == "reg:logistic":
        return random.random(len(rows))
    noise = random.normal(size=len(rows)) * float(random.choice([1e-3, 1.0, 1e5]))
    return np.exp(np.clip(noise, -3, 3)) if objective in POSITIVE else noise


@pytest.mark.slow
@pytest.mark.usefixtures("quick_choice")
def test_random_models_answer_random_numbers_as_xgboost_does() -> None:
    served: dict[str, int] = {}
    for seed in range(MODELS):
        random = np.random.default_rng(seed)
        rows = numbers(random, 300, int(random.integers(1, 9)))
        parameters = options(random)
        target = label(random, parameters["objective"], rows)
        rounds = int(random.integers(1, 16))
        booster = xgboost.train(parameters, xgboost.DMatrix(rows, label=target), rounds)
        choice = acceleration.choose(booster.copy())
        engine = choice.engine
        served[engine.name] = served.get(engine.name, 0) + 1
        fresh = np.concatenate([rows[:100], numbers(random, 133, rows.shape[1])])
        matrix = xgboost.DMatrix(fresh, nthread=1)
        absolute = is_probability(engine.objective)
        gap = comparison.difference(
            engine.predict(fresh), booster.predict(matrix), absolute=absolute
        )
        margins = booster.predict(matrix, output_margin=True)
        apart = comparison.difference(engine.margins(fresh), margins, absolute=False)
        assert gap <= (1e-6 if absolute else 1e-5), (seed, parameters, choice.reason)
        assert apart <= 1e-5, (seed, parameters, choice.reason)
        matrix = xgboost.DMatrix(fresh[90:110], nthread=1)
        expected = booster.predict(matrix, pred_contribs=True)
        scale = float(np.abs(expected).max())
        for each in (engine, choice.explainer):
            shares = each.contributions(fresh[90:110])
            np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-4 * scale)
    print(f"\nserved by: {served}")
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    assert served == {"onedal" if x86 else "xgboost": MODELS}
