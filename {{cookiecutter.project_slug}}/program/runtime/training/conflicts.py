"""What hyperparameters cannot be together: booster, objective, tree method, metrics."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from runtime.job.versions import xgboost_version
from runtime.training.metric_table import METRICS, base_name, fault_of, own_metrics
from runtime.training.parameters import Hyperparameters

LEVELS = {"reg:quantileerror": "quantile_alpha", "reg:expectileerror": "expectile_alpha"}
TREE_GROWERS = {"grow_colmaker", "grow_histmaker", "grow_quantile_histmaker"}
UPDATERS = {
    "gblinear": {"shotgun", "coord_descent"},
    "update": {"refresh", "prune"},
    "default": TREE_GROWERS | {"refresh", "prune", "sync"},
}


def hint(name: str, names: tuple[str, ...]) -> str:
    """Return the nearest of `names` as a question, if any is near."""
    near = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _check_objective(chosen: Hyperparameters) -> list[str]:
    objective, faults = chosen.objective, []
    if objective.startswith("multi:") and "num_class" not in chosen.given:
        faults.append(f"objective={objective} needs num_class")
    if not objective.startswith("multi:") and "num_class" in chosen.given:
        faults.append(f"num_class={chosen['num_class']} has no meaning with objective={objective}")
    if objective in LEVELS:
        faults += _level_faults(objective, chosen.given.get(LEVELS[objective]))
    names = chosen.given.get("label_names")
    classes = chosen.given.get("num_class") or (2 if objective.startswith("binary:") else None)
    if names and len(names) != classes:
        faults.append(f"label_names has {len(names)} names for {classes or 'no'} classes")
    score = chosen["base_score"] if objective.endswith(":logistic") else None
    if score is not None and not 0 < score < 1:
        faults.append(f"base_score={score} must lie between 0 and 1")
    return faults


def _level_faults(objective: str, levels: list[float] | None) -> list[str]:
    """Return what is wrong with the quantiles or expectiles that an objective is to predict."""
    name, faults, here = LEVELS[objective], [], xgboost_version()
    if not levels:
        faults.append(f"objective={objective} needs {name}, such as 0.5")
    elif levels != sorted(levels) and here and here >= (3, 4):
        faults.append(f"{name} must be in ascending order: {sorted(levels)}")
    if objective == "reg:expectileerror" and here and here < (3, 3):
        faults.append(
            f"objective={objective} needs XGBoost 3.3, hence a base image with Python 3.12 or newer"
        )
    return faults


def _check_booster(chosen: Hyperparameters) -> list[str]:
    booster, faults = chosen["booster"], []
    if booster == "gblinear":
        trees = ("tree_method", "process_type", "num_parallel_tree")
        used = [name for name in trees if chosen.differs(name)]
        faults += [f"{name} has no meaning with booster=gblinear" for name in used]
    kind = "gblinear" if booster == "gblinear" else chosen["process_type"]
    updaters = chosen.given.get("updater", [])
    wrong = [name for name in updaters if name not in UPDATERS[kind]]
    if wrong:
        allowed = ", ".join(sorted(UPDATERS[kind]))
        faults.append(f"updater={','.join(wrong)} cannot be used here; these can: {allowed}")
    if len(TREE_GROWERS & set(updaters)) > 1 or (kind == "gblinear" and len(updaters) > 1):
        faults.append(f"updater={','.join(updaters)} names more than one that builds the model")
    if kind == "default" and not wrong and updaters and not TREE_GROWERS & set(updaters):
        growers = ", ".join(sorted(TREE_GROWERS))
        faults.append(f"updater={','.join(updaters)} grows no tree: add one of {growers}")
    if booster == "gblinear" and "early_stopping_rounds" in chosen.given:
        faults.append("early_stopping_rounds cannot take a linear model back to its best round")
    if chosen["process_type"] == "update":
        faults.append("process_type=update needs an earlier model, which a training job has not")
    return faults


def _check_trees(chosen: Hyperparameters) -> list[str]:
    method, faults = chosen["tree_method"], []
    if method == "exact" and chosen["grow_policy"] == "lossguide":
        faults.append("grow_policy=lossguide needs tree_method=hist or approx, not exact")
    if method == "exact" and chosen["max_leaves"]:
        faults.append("max_leaves needs tree_method=hist or approx, not exact")
    if chosen["colsample_bynode"] < 1 and method == "exact":
        faults.append("colsample_bynode needs tree_method=hist or approx, not exact")
    if chosen["max_depth"] == 0 and method == "exact":
        faults.append("max_depth=0 (no limit) needs tree_method=hist or approx, not exact")
    if chosen["multi_strategy"] == "multi_output_tree" and method not in {"auto", "hist"}:
        faults.append(f"multi_strategy=multi_output_tree needs tree_method=hist, not {method}")
    if chosen["sampling_method"] == "gradient_based" and method not in {"auto", "hist"}:
        faults.append(f"sampling_method=gradient_based needs tree_method=hist, not {method}")
    if chosen["external_memory"] and not chosen.histogram:
        faults.append("external_memory needs tree_method=hist and booster=gbtree or dart")
    if chosen["external_memory"] and (chosen["_kfold"] or chosen.objective.startswith("rank:")):
        faults.append("external_memory cannot be combined with _kfold or ranking")
    return faults


def _check_categories(chosen: Hyperparameters) -> list[str]:
    faults, types = [], chosen["feature_types"] or []
    if not chosen["enable_categorical"]:
        if chosen["categorical_features"]:
            faults.append("categorical_features needs enable_categorical=true")
        if "c" in types:
            faults.append("feature_types has a c, which needs enable_categorical=true")
    elif chosen["booster"] == "gblinear":
        faults.append("enable_categorical needs trees: booster=gbtree or dart")
    elif chosen["tree_method"] == "exact":
        faults.append("enable_categorical needs tree_method=hist or approx, not exact")
    return faults


def _check_metrics(chosen: Hyperparameters) -> list[str]:
    faults = {metric: _misfit(metric, chosen) for metric in chosen.metrics}
    return [f"eval_metric={metric} {fault}" for metric, fault in faults.items() if fault]


def _misfit(text: str, chosen: Hyperparameters) -> str:
    """Return why a metric cannot be computed with this objective, or nothing."""
    if fault := fault_of(text):
        return fault + hint(base_name(text), (*METRICS, *own_metrics()))
    metric, objective = METRICS.get(base_name(text)), chosen.objective
    if metric is None:
        return ""  # of custom.py: it is handed whatever the objective predicts
    if metric.needs and not objective.startswith(metric.needs):
        return f"needs an objective of {' or '.join(metric.needs)}, not {objective}"
    if metric.two_classes and (chosen["num_class"] or 2) > 2:
        return f"is for two classes: use {metric.name.split('_')[0]}_macro"
    levels = len(chosen.given.get(LEVELS.get(objective, ""), []))
    if not metric.needs and (objective.startswith(("multi:", "survival:aft")) or levels > 1):
        return f"needs one number per row, which objective={objective} does not give here"
    return ""


CHECKS: tuple[Callable[[Hyperparameters], list[str]], ...] = (
    _check_objective,
    _check_booster,
    _check_trees,
    _check_categories,
    _check_metrics,
)
