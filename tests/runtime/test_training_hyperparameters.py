"""Hyperparameters: text to checked values, every fault at once, with the way to fix it."""

from __future__ import annotations

import json
import re
import warnings

import numpy as np
import pytest
import xgboost

from locations import PROJECT
from runtime.job.failures import UserError
from runtime.training import conflicts
from runtime.training.fit import line
from runtime.training.hyperparameters import parse
from runtime.training.parameters import TABLE, Parameter, markdown

BASE = {"num_round": "3", "objective": "reg:squarederror"}
GOOD = {
    "num_round": ["1", "6.0", '"10"'],
    "eta": ["0", "1", "1e-3"],
    "max_depth": ["0", "12"],
    "subsample": ["0.01", "1"],
    "csv_weights": ["0", "1", "true", "False"],
    "booster": ["gbtree", '"dart"'],
    "eval_metric": ["rmse", "rmse,mae", '["rmse", "mae"]', "error@0.3", "mse"],
    "monotone_constraints": ["(1,-1,0)"],
    "interaction_constraints": ["[[0,1],[2,3]]"],
    "seed": ["-5", "0"],
    "device": ["cpu"],
    "quantile_alpha": ["0.5", "[0.1, 0.9]"],
    "expectile_alpha": ["0.5", "[0.1, 0.9]"],
    "tweedie_variance_power": ["1.2"],
    "base_score": ["-3.5"],
    "_tuning_objective_metric": ["validation:rmse"],
}
BAD = {
    "num_round": ["0", "ten", "2.5", ""],
    "eta": ["-0.1", "1.5", "nan"],
    "max_depth": ["-1", "deep"],
    "subsample": ["0", "1.1", "inf"],
    "csv_weights": ["2", "yes please"],
    "booster": ["gbtee", "__import__('os')"],
    "eval_metric": ["rsme", "error@x", "rmse@2"],
    "monotone_constraints": ["1"],
    "interaction_constraints": ["[0,1]"],
    "seed": ["1e12"],
    "device": ["tpu"],
    "quantile_alpha": ["half"],
    "expectile_alpha": ["2"],
    "tweedie_variance_power": ["1", "2"],
    "tree_method": ["hits"],
    "early_stopping_rounds": ["0"],
    "_kfold": ["1"],
    "num_class": ["1"],
    "max_bin": ["1"],
    "lambda": ["-1"],
    "rate_drop": ["2"],
    "sketch_eps": ["0"],
    "predictor": ["fast"],
    "updater": ["prune", "sync"],
}


def faults(**texts: str) -> str:
    with pytest.raises(UserError) as problem:
        parse({**BASE, **texts}, 1)
    return str(problem.value)


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in GOOD.items() for t in texts])
def test_a_value_inside_its_range_is_taken(name: str, text: str) -> None:
    chosen, _ = parse({**BASE, name: text}, 1)
    assert name in chosen.given


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in BAD.items() for t in texts])
def test_a_value_outside_its_range_is_refused_by_name(name: str, text: str) -> None:
    message = faults(**{name: text})
    assert f"{name}={text!r} must be" in message or f"{name}={text} " in message


def test_all_faults_are_reported_at_once() -> None:
    message = faults(eta="7", max_depht="3", subsample="0")
    assert message.startswith("3 hyperparameters are wrong")
    assert "did you mean max_depth?" in message
    assert "eta='7' must be a number from 0 to 1" in message


def test_the_number_of_rounds_is_required() -> None:
    with pytest.raises(UserError, match="num_round is required"):
        parse({"objective": "reg:squarederror"}, 1)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("learning_rate", "eta"),
        ("min_split_loss", "gamma"),
        ("reg_lambda", "lambda"),
        ("reg_alpha", "alpha"),
    ],
)
def test_an_alias_means_its_parameter(alias: str, name: str) -> None:
    chosen, _ = parse({**BASE, alias: "0.5"}, 1)
    assert chosen.given[name] == 0.5
    assert "both given" in faults(**{alias: "0.5", name: "0.5"})


def test_values_of_the_sagemaker_sdk_are_unquoted_and_its_own_keys_noted() -> None:
    texts = {"num_round": '"7"', "objective": '"binary:hinge"', "sagemaker_region": '"x"'}
    chosen, notes = parse(texts, 2)
    assert chosen["num_round"] == 7
    assert chosen.objective == "binary:hinge"
    assert any("sagemaker_region" in note for note in notes)


@pytest.mark.parametrize(
    ("num_classes", "objective", "num_class"),
    [(1, "reg:squarederror", None), (2, "binary:logistic", None), (5, "multi:softprob", 5)],
)
def test_the_class_count_of_the_project_gives_the_objective(
    num_classes: int, objective: str, num_class: int | None
) -> None:
    chosen, notes = parse({"num_round": "1"}, num_classes)
    assert (chosen.objective, chosen["num_class"]) == (objective, num_class)
    assert any("NUM_CLASSES" in note for note in notes)


def test_the_job_wins_over_the_project_with_a_note() -> None:
    chosen, notes = parse({"num_round": "1", "objective": "multi:softmax", "num_class": "4"}, 2)
    assert chosen["num_class"] == 4
    assert "num_class=4 overrides NUM_CLASSES=2" in notes


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"objective": "multi:softprob"}, "needs num_class"),
        ({"num_class": "3"}, "no meaning with objective=reg:squarederror"),
        ({"objective": "reg:quantileerror"}, "needs quantile_alpha"),
        ({"objective": "reg:expectileerror"}, "needs expectile_alpha"),
        ({"booster": "gblinear", "tree_method": "hist"}, "no meaning with booster=gblinear"),
        ({"booster": "gblinear", "early_stopping_rounds": "3"}, "linear model"),
        ({"updater": "shotgun"}, "updater=shotgun cannot be used"),
        ({"updater": "grow_colmaker,grow_histmaker"}, "more than one"),
        ({"process_type": "update"}, "earlier model"),
        ({"tree_method": "exact", "grow_policy": "lossguide"}, "not exact"),
        ({"tree_method": "exact", "max_leaves": "8"}, "not exact"),
        ({"eval_metric": "accuracy"}, "needs an objective of binary: or multi:"),
        ({"eval_metric": "mlogloss"}, "needs an objective of multi:"),
        ({"eval_metric": "r2", "objective": "multi:softmax", "num_class": "3"}, "one number"),
        ({"eval_metric": "aft-nloglik"}, "survival:aft"),
        ({"eval_metric": "auc"}, "needs an objective of"),
        ({"eval_metric": "auc", "objective": "reg:tweedie"}, "needs an objective of"),
        ({"eval_metric": "aucpr", "objective": "count:poisson"}, "needs an objective of"),
        ({"eval_metric": "rmse", "objective": "multi:softmax", "num_class": "3"}, "one number"),
        ({"eval_metric": "quantile"}, "needs an objective of reg:quantileerror"),
        ({"eval_metric": "expectile"}, "needs an objective of reg:expectileerror"),
        ({"eval_metric": "recall", "objective": "multi:softmax", "num_class": "3"}, "recall_macro"),
        ({"eval_metric": "ndgc-"}, "did you mean ndcg?"),
        ({"eval_metric": "rmse-"}, "is not a metric"),
        ({"objective": "binary:logistic", "base_score": "2"}, "between 0 and 1"),
        ({"objective": "binary:logistic", "label_names": "a,b,c"}, "3 names for 2 classes"),
        ({"external_memory": "1", "tree_method": "exact"}, "external_memory needs"),
        ({"device": "cuda"}, "make build XGBOOST=gpu"),
        ({"tree_method": "gpu_hist"}, "make build XGBOOST=gpu"),
    ],
)
def test_a_conflict_is_refused(texts: dict[str, str], message: str) -> None:
    assert message in faults(**texts)


@pytest.mark.parametrize(
    ("version", "objective", "alpha", "message"),
    [
        ((3, 2), "reg:expectileerror", {"expectile_alpha": "0.5"}, "needs XGBoost 3.3"),
        ((3, 4), "reg:expectileerror", {"expectile_alpha": "0.9,0.1"}, "order: [0.1, 0.9]"),
        ((3, 4), "reg:quantileerror", {"quantile_alpha": "0.9,0.1"}, "order: [0.1, 0.9]"),
    ],
)
def test_what_only_another_version_of_xgboost_takes_is_refused(
    version: tuple[int, int],
    objective: str,
    alpha: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conflicts, "xgboost_version", lambda: version)
    assert message in faults(objective=objective, **alpha)
    monkeypatch.setattr(conflicts, "xgboost_version", lambda: (3, 3))
    if version == (3, 2) or "quantile_alpha" in alpha:  # 3.3 has expectiles, and sorts nothing
        assert parse({**BASE, "objective": objective, **alpha}, 1)


@pytest.mark.parametrize("booster", ["gbtree", "gblinear", "dart"])
@pytest.mark.parametrize("method", ["auto", "exact", "approx", "hist"])
def test_values_that_are_the_default_conflict_with_nothing(booster: str, method: str) -> None:
    """Tuning jobs send full sets."""
    if booster == "gblinear":
        method = "auto"
    full = {row.name: str(row.default) for row in TABLE if row.default is not None}
    del full["objective"], full["eval_metric"]
    chosen, _ = parse({**full, **BASE, "booster": booster, "tree_method": method}, 1)
    assert chosen["booster"] == booster


def test_parameters_of_older_versions_are_taken_with_a_note() -> None:
    chosen, notes = parse({**BASE, "objective": "reg:linear", "sketch_eps": "0.1"}, 1)
    assert chosen.objective == "reg:squarederror"
    assert "sketch_eps" not in chosen.for_xgboost()
    assert any("sketch_eps has no effect" in note for note in notes)


def test_the_tuning_metric_is_evaluated_last() -> None:
    texts = {**BASE, "eval_metric": "rmse,mae", "_tuning_objective_metric": "validation:rmse"}
    assert parse(texts, 1)[0].metrics == ["mae", "rmse"]


SAMPLES = {
    "nthread": "1",
    "updater": "grow_quantile_histmaker",
    "monotone_constraints": "(1,0,0,0)",
    "interaction_constraints": "[[0,1]]",
    "max_cached_hist_node": "9",
    "base_score": "0.5",
    "eval_metric": "rmse",
    "objective": "reg:squarederror",
    "quantile_alpha": "0.5",
    "expectile_alpha": "0.5",
    "lambdarank_num_pair_per_sample": "2",
}
SETTINGS: list[dict[str, str]] = [
    {},
    {"booster": "dart"},
    {"booster": "gblinear", "updater": "coord_descent"},
    {"objective": "reg:tweedie"},
    {"objective": "reg:pseudohubererror"},
    {"objective": "reg:quantileerror", "quantile_alpha": "0.5"},
    {"objective": "reg:expectileerror", "expectile_alpha": "0.5"},
    {"objective": "rank:ndcg", "eval_metric": "ndcg"},
    {"objective": "survival:aft", "eval_metric": "aft-nloglik"},
    {"objective": "multi:softprob", "num_class": "2", "eval_metric": "mlogloss"},
]


@pytest.mark.parametrize("row", [row for row in TABLE if row.group not in {"job", "ignored"}])
def test_xgboost_takes_every_parameter_of_the_table(row: Parameter) -> None:
    if row.name == "expectile_alpha" and conflicts.xgboost_version() < (3, 3):
        pytest.skip("XGBoost 3.3 has brought this parameter")
    value = SAMPLES.get(row.name, "2" if row.name == "num_class" else str(row.default))
    assert any(known(row.name, {row.name: value, **setting}) for setting in SETTINGS)


def known(name: str, parameters: dict[str, str]) -> bool:
    """Whether XGBoost itself uses the parameter, by its own check."""
    rows = xgboost.DMatrix(np.eye(4), label=[0, 1, 0, 1])
    if "expectile_alpha" in parameters and conflicts.xgboost_version() < (3, 3):
        return False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xgboost.Booster({"verbosity": 1, "nthread": 1, **parameters}, [rows]).save_config()
    return not any("not used" in str(w.message) and f'"{name}"' in str(w.message) for w in caught)


def test_the_table_is_written_for_readers_with_a_row_for_each_parameter() -> None:
    lines = markdown().splitlines()
    assert len(lines) == len(TABLE) + 2
    assert all(line.count("|") == 5 for line in lines)


def test_the_metric_definitions_of_the_project_match_the_log() -> None:
    path = PROJECT / "metric_definitions.json"
    definitions = json.loads(path.read_text())
    assert len(definitions) <= 40  # SageMaker's limit
    scores = {entry["Name"].replace(":", "-"): float(n) for n, entry in enumerate(definitions)}
    text = line(12, scores)
    suffixed = line(12, {name.replace("-ndcg", "-ndcg@5-"): n for name, n in scores.items()})
    assert re.findall(next(d["Regex"] for d in definitions if "ndcg" in d["Name"]), suffixed)
    for number, entry in enumerate(definitions):
        found = re.findall(entry["Regex"], text)
        assert [float(value) for value in found] == [number], entry["Name"]
