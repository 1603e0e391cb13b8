"""Real models of every kind that XGBoost trains, for the tests of acceleration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from runtime.job.versions import xgboost_version

ROWS, COLUMNS = 600, 6


@dataclass(frozen=True)
class Recipe:
    """How to train one model. `label` names a column of `labels`; `onedal` is what must serve."""

    name: str
    parameters: dict[str, Any]
    label: str = "real"
    rounds: int = 12
    matrix: dict[str, Any] | None = None
    missing: float | None = None
    kind: str = ""
    onedal: bool = True


def features(seed: int = 0, rows: int = ROWS, missing: float = np.nan) -> np.ndarray:
    """Return float32 [rows, 6]; the third column is whole numbers, a tenth of cells is missing."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, COLUMNS)).astype(np.float32)
    values[:, 2] = random.integers(0, 7, rows)
    values[random.random(values.shape) < 0.1] = missing
    values[:, 5] = 0.25  # a column that no split uses
    return values


def labels(values: np.ndarray, kind: str) -> np.ndarray:
    """Return labels of a kind, drawn from the features with noise."""
    random = np.random.default_rng(1)
    clean = np.where(np.abs(values) < 100, np.nan_to_num(values), 0.0)
    score = clean[:, 0] - clean[:, 1] + 0.5 * clean[:, 2] + random.normal(size=len(values))
    ranks = np.argsort(np.argsort(score))
    return {
        "real": score,
        "share": 1 / (1 + np.exp(-score)),
        "binary": score > np.median(score),
        "five": ranks * 5 // len(values),
        "two": ranks * 2 // len(values),
        "count": random.poisson(np.exp(np.clip(score / 3, -3, 3))),
        "positive": np.exp(score / 3),
        "grade": ranks * 4 // len(values),
        "targets": np.column_stack([score, clean[:, 3]]),
        "constant": np.full(len(values), 3.25),
        "survival": np.exp(score / 3) * np.where(random.random(len(values)) < 0.2, -1, 1),
    }[kind].astype(np.float32)


def train(recipe: Recipe) -> tuple[xgboost.Booster, np.ndarray]:
    """Return the trained Booster and fresh rows to predict."""
    values = features(missing=np.nan if recipe.missing is None else recipe.missing)
    options: dict[str, Any] = dict(recipe.matrix or {})
    label = labels(values, recipe.label)
    if recipe.parameters.get("objective", "").startswith("rank:"):
        options["qid"] = np.arange(len(values)) // 20
    if recipe.parameters.get("objective") == "survival:aft":
        options |= {"label_lower_bound": np.abs(label), "label_upper_bound": np.abs(label) * 1.5}
    else:
        options["label"] = label
    if options.get("enable_categorical"):
        values[:, 2] = np.nan_to_num(values[:, 2])
    missing = np.nan if recipe.missing is None else recipe.missing
    matrix = xgboost.DMatrix(values, missing=missing, nthread=1, **options)
    parameters = {"nthread": 1, "max_depth": 4, "seed": 3, **recipe.parameters}
    extra: dict[str, Any] = {}
    if (
        recipe.kind == "stopped"
    ):  # stops early, and keeps every tree: best_iteration is an attribute
        noise = np.random.default_rng(5).permutation(options["label"])
        watched = xgboost.DMatrix(
            values, missing=missing, nthread=1, **(options | {"label": noise})
        )
        extra = {
            "evals": [(watched, "v")],
            "early_stopping_rounds": 6,
            "verbose_eval": False,
        }
    booster = xgboost.train(parameters, matrix, recipe.rounds, **extra)
    rows = features(seed=9, rows=400, missing=missing)
    if options.get("enable_categorical"):
        rows[:, 2] = np.nan_to_num(rows[:, 2])
    return booster, rows


def _objective(name: str, label: str, *, onedal: bool = True, **parameters: Any) -> Recipe:
    tail = "".join(f" {key}={value}" for key, value in parameters.items())
    return Recipe(name + tail, {"objective": name, **parameters}, label, onedal=onedal)


EXPECTILES = (0.3, [0.1, 0.5, 0.9]) if xgboost_version() >= (3, 3) else ()  # an objective of 3.3
OBJECTIVES = [
    _objective("reg:squarederror", "real"),
    _objective("reg:linear", "real"),
    _objective("reg:squaredlogerror", "positive"),
    _objective("reg:pseudohubererror", "real"),
    _objective("reg:absoluteerror", "real"),
    _objective("reg:logistic", "share"),
    _objective("reg:gamma", "positive"),
    _objective("reg:tweedie", "count"),
    _objective("reg:quantileerror", "real", quantile_alpha=0.3),
    _objective("reg:quantileerror", "real", quantile_alpha=[0.1, 0.5, 0.9]),
    *(_objective("reg:expectileerror", "real", expectile_alpha=a) for a in EXPECTILES),
    _objective("count:poisson", "count"),
    _objective("survival:cox", "survival"),
    _objective("survival:aft", "positive"),
    _objective("binary:logistic", "binary"),
    _objective("binary:logitraw", "binary"),
    _objective("binary:hinge", "binary"),
    _objective("multi:softprob", "two", num_class=2),
    _objective("multi:softprob", "five", num_class=5),
    _objective("multi:softmax", "two", num_class=2),
    _objective("multi:softmax", "five", num_class=5),
    _objective("rank:ndcg", "grade"),
    _objective("rank:map", "binary"),
    _objective("rank:pairwise", "grade"),
]

# What ACCELERATION.md measured as exact with daal4py's own converter is the least to be served.
DART = {"booster": "dart", "rate_drop": 0.5, "one_drop": 1}
BINARY, FIVE = {"objective": "binary:logistic"}, {"objective": "multi:softprob", "num_class": 5}
NAMES = ["age", "income", "rooms", "lat", "lon", "spare column"]
CATEGORICAL = {"enable_categorical": True, "feature_types": list("qqcqqq")}
PARTITIONED = Recipe("categorical", {"max_cat_to_onehot": 1}, matrix=CATEGORICAL)

VARIANTS = [
    Recipe("dart binary", {**DART, **BINARY}, "binary"),
    Recipe("dart five classes", {**DART, **FIVE}, "five"),
    Recipe("dart class numbers", {**DART, **FIVE, "objective": "multi:softmax"}, "five"),
    Recipe("dart hinge", {**DART, "objective": "binary:hinge"}, "binary"),
    Recipe("dart regression", DART),
    Recipe("dart without drops", {"booster": "dart"}),
    Recipe("linear regression", {"booster": "gblinear"}, onedal=False),
    Recipe("linear five classes", {"booster": "gblinear", **FIVE}, "five", onedal=False),
    Recipe("four parallel trees", {"num_parallel_tree": 4, "subsample": 0.5}),
    Recipe(
        "four parallel trees binary", {**BINARY, "num_parallel_tree": 4, "subsample": 0.5}, "two"
    ),
    Recipe("four parallel trees five", {**FIVE, "num_parallel_tree": 4, "subsample": 0.5}, "five"),
    Recipe("four parallel trees dart", {**FIVE, **DART, "num_parallel_tree": 4}, "five"),
    Recipe("random forest", {"num_parallel_tree": 30, "subsample": 0.5, "eta": 1.0}, rounds=1),
    Recipe("stopped early", {}, rounds=60, kind="stopped"),
    Recipe("stopped early five", FIVE, "five", rounds=60, kind="stopped"),
    Recipe("stopped, parallel", {"num_parallel_tree": 4}, rounds=60, kind="stopped"),
    Recipe("stopped, dart", {**DART, **BINARY}, "binary", rounds=60, kind="stopped"),
    Recipe(
        "stopped, dart five parallel",
        {**DART, **FIVE, "num_parallel_tree": 2},
        "five",
        rounds=60,
        kind="stopped",
    ),
    Recipe("stopped, linear", {"booster": "gblinear"}, rounds=60, kind="stopped", onedal=False),
    Recipe(
        "stopped, categorical",
        {"max_cat_to_onehot": 1},
        rounds=60,
        kind="stopped",
        matrix=CATEGORICAL,
    ),
    Recipe("stopped, two targets", {}, "targets", rounds=60, kind="stopped"),
    Recipe(
        "stopped, vector leaves",
        {"multi_strategy": "multi_output_tree"},
        "targets",
        rounds=60,
        kind="stopped",
    ),
    Recipe("missing is -999", BINARY, "binary", missing=-999.0),
    Recipe("missing is 0", {}, missing=0.0),
    Recipe("missing is -999 dart", DART, missing=-999.0),
    Recipe("missing is -999 linear", {"booster": "gblinear"}, missing=-999.0, onedal=False),
    Recipe(
        "categorical",
        {**BINARY, "max_cat_to_onehot": 1},
        "binary",
        matrix=CATEGORICAL,
    ),
    Recipe(
        "categorical one-hot",
        {"max_cat_to_onehot": 100},
        matrix=CATEGORICAL,
    ),
    Recipe("names", BINARY, "binary", matrix={"feature_names": NAMES}),
    Recipe("types", {}, matrix={"feature_types": ["float", "q", "int", "float", "q", "int"]}),
    Recipe("monotone", {"monotone_constraints": "(1,-1,0,0,0,0)"}),
    Recipe("interactions", {"interaction_constraints": "[[0,1],[2,3]]"}),
    Recipe("constant", {"base_score": 0.5}, "constant", rounds=3),
    Recipe("no splits", {"gamma": 1e9}, rounds=3),
    Recipe("no splits binary", {**BINARY, "gamma": 1e9}, "binary", rounds=3),
    Recipe("no splits five", {**FIVE, "gamma": 1e9}, "five", rounds=3),
    Recipe("no rounds", {}, rounds=0, onedal=False),
    Recipe("base score 0.9", {**BINARY, "base_score": 0.9}, "binary"),
    Recipe("base score 1e6", {"base_score": 1e6}),
    Recipe("base score poisson", {"objective": "count:poisson", "base_score": 3.0}, "count"),
    Recipe("lossguide", {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0}),
    Recipe("exact with pruning", {"tree_method": "exact", "gamma": 2.0}),
    Recipe("approx", {"tree_method": "approx"}),
    Recipe("two targets", {}, "targets"),
    Recipe("vector leaves", {"multi_strategy": "multi_output_tree"}, "targets"),
]

SIZES = [
    Recipe(f"depth {depth}, {rounds} trees", {**BINARY, "max_depth": depth}, "binary", rounds)
    for depth, rounds in [(1, 1), (1, 300), (2, 100), (6, 1), (8, 30), (12, 30), (3, 1000)]
]
