"""A job's hyperparameters: from the platform's strings to checked, typed values."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from container.failures import UserError
from training.parameters import (
    BY_NAME,
    CLASS_METRICS,
    CUT_METRICS,
    NUMBER_METRICS,
    TABLE,
    XGBOOST_METRICS,
)

DEFAULTS = {row.name: row.default for row in TABLE}
TREE_GROWERS = {"grow_colmaker", "grow_histmaker", "grow_quantile_histmaker"}
UPDATERS = {
    "gblinear": {"shotgun", "coord_descent"},
    "update": {"refresh", "prune"},
    "default": TREE_GROWERS | {"refresh", "prune", "sync"},
}


@dataclass(frozen=True)
class Hyperparameters:
    """What the job asks for: `given` holds typed values by canonical name."""

    given: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return the given value, or the table's default."""
        return self.given.get(name, DEFAULTS[name])

    @property
    def objective(self) -> str:
        return str(self["objective"])

    @property
    def metrics(self) -> list[str]:
        """The metrics asked for; the one that a tuning job reads comes last."""
        asked = list(dict.fromkeys(self.given.get("eval_metric", [])))
        tuned = (self.given.get("_tuning_objective_metric") or "").split(":")[-1]
        return [name for name in asked if name != tuned] + ([tuned] if tuned else [])

    @property
    def histogram(self) -> bool:
        """Whether trees are grown from histograms, which a quantile matrix serves."""
        plain = self["booster"] != "gblinear" and "updater" not in self.given
        return plain and self["tree_method"] in {"auto", "hist"}

    def for_xgboost(self) -> dict[str, Any]:
        """Return the parameters that XGBoost itself takes, as they were given."""
        groups = {row.name: row.group for row in TABLE}
        names = [name for name in self.given if groups[name] not in {"job", "ignored"}]
        values = {name: self.given[name] for name in names if name != "eval_metric"}
        own = [name for name in self.metrics if name not in CLASS_METRICS + NUMBER_METRICS]
        if own:
            values["eval_metric"] = own
        elif self.metrics:
            values["disable_default_eval_metric"] = 1
        if "updater" in values:
            values["updater"] = ",".join(values["updater"])
        return values


def parse(
    texts: Mapping[str, str], num_classes: int, *, cuda: bool = False
) -> tuple[Hyperparameters, list[str]]:
    """Check a job's hyperparameters and return them with notes for the log.

    `num_classes` is the project's setting, which gives the default objective; `cuda` says whether
    this XGBoost can use a GPU. Raises UserError that lists every fault.
    """
    faults: list[str] = []
    notes: list[str] = []
    given: dict[str, Any] = {}
    for key, value in texts.items():
        if key.startswith("sagemaker_"):
            notes.append(f"{key} belongs to the SageMaker SDK and is not used")
        elif key not in BY_NAME:
            faults.append(_unknown(key))
        elif BY_NAME[key].name in given:
            faults.append(f"{key} and another name of {BY_NAME[key].name} are both given")
        else:
            row, text = BY_NAME[key], _unquoted(value)
            try:
                given[row.name] = row.kind.parse(text)
            except (ValueError, KeyError, OverflowError, TypeError):
                faults.append(f"{key}={text!r} must be {row.kind}{_hint(text, row.kind.choices)}")
            if row.group == "ignored":
                notes.append(f"{key} has no effect in this version of XGBoost: {row.help}")
    if "num_round" not in texts:
        faults.append("num_round is required: how many rounds to train")
    _modernise(given, notes)
    _default_objective(given, num_classes, notes)
    hyperparameters = Hyperparameters(given)
    faults += [message for check in CHECKS for message in check(hyperparameters)]
    if given.get("device", "cpu") != "cpu" and not cuda:
        faults.append(
            f"device={given['device']} needs XGBoost with CUDA, and this image has xgboost-cpu: "
            "build it with `make build XGBOOST=gpu`, or drop the hyperparameter"
        )
    if faults:
        word = "hyperparameter is" if len(faults) == 1 else "hyperparameters are"
        raise UserError(f"{len(faults)} {word} wrong: " + "; ".join(faults))
    return hyperparameters, notes


def _unquoted(value: str) -> str:
    """Undo the JSON encoding of the SageMaker SDK: '"hist"' is hist."""
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _hint(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _unknown(key: str) -> str:
    return f"{key} is not a hyperparameter{_hint(key, tuple(BY_NAME))}"


def _modernise(given: dict[str, Any], notes: list[str]) -> None:
    """Translate the spellings of older XGBoost versions."""
    if given.get("tree_method") == "gpu_hist":
        given.update(tree_method="hist", device=given.get("device", "cuda"))
        notes.append("tree_method=gpu_hist is now tree_method=hist with device=cuda")
    if given.get("objective") == "reg:linear":
        given["objective"] = "reg:squarederror"
        notes.append("objective=reg:linear is now reg:squarederror")


def _default_objective(given: dict[str, Any], num_classes: int, notes: list[str]) -> None:
    """Let the project's class count fill what the job leaves open; the job wins, with a note."""
    named = {1: "reg:squarederror", 2: "binary:logistic"}.get(num_classes, "multi:softprob")
    objective = given.get("objective")
    if objective is None:
        given["objective"] = "multi:softprob" if "num_class" in given else named
        notes.append(f"objective is not given: {given['objective']} (NUM_CLASSES={num_classes})")
    if given["objective"].startswith("multi:"):
        if "num_class" not in given and num_classes > 2:
            given["num_class"] = num_classes
        if given.get("num_class", num_classes) != num_classes:
            notes.append(f"num_class={given['num_class']} overrides NUM_CLASSES={num_classes}")
    elif (objective or named).startswith("binary:") != (num_classes == 2):
        notes.append(f"objective={objective} overrides NUM_CLASSES={num_classes}")


def _check_objective(chosen: Hyperparameters) -> list[str]:
    objective, faults = chosen.objective, []
    if objective.startswith("multi:") and "num_class" not in chosen.given:
        faults.append(f"objective={objective} needs num_class")
    if not objective.startswith("multi:") and "num_class" in chosen.given:
        faults.append(f"num_class={chosen['num_class']} has no meaning with objective={objective}")
    if objective == "reg:quantileerror" and "quantile_alpha" not in chosen.given:
        faults.append("objective=reg:quantileerror needs quantile_alpha, such as 0.5")
    names = chosen.given.get("label_names")
    classes = chosen.given.get("num_class") or (2 if objective.startswith("binary:") else None)
    if names and len(names) != classes:
        faults.append(f"label_names has {len(names)} names for {classes or 'no'} classes")
    score = chosen["base_score"] if objective.endswith(":logistic") else None
    if score is not None and not 0 < score < 1:
        faults.append(f"base_score={score} must lie between 0 and 1")
    return faults


def _check_booster(chosen: Hyperparameters) -> list[str]:
    booster, faults = chosen["booster"], []
    if booster == "gblinear":
        used = [name for name in ("tree_method", "process_type", "num_parallel_tree")
                if name in chosen.given]  # fmt: skip
        faults += [f"{name} has no meaning with booster=gblinear" for name in used]
    kind = "gblinear" if booster == "gblinear" else chosen["process_type"]
    updaters = chosen.given.get("updater", [])
    wrong = [name for name in updaters if name not in UPDATERS[kind]]
    if wrong:
        allowed = ", ".join(sorted(UPDATERS[kind]))
        faults.append(f"updater={','.join(wrong)} cannot be used here; these can: {allowed}")
    if len(TREE_GROWERS & set(updaters)) > 1 or (kind == "gblinear" and len(updaters) > 1):
        faults.append(f"updater={','.join(updaters)} names more than one that builds the model")
    if booster == "gblinear" and "early_stopping_rounds" in chosen.given:
        faults.append("early_stopping_rounds cannot take a linear model back to its best round")
    if chosen["process_type"] == "update":
        faults.append("process_type=update needs an earlier model, which a training job has not")
    return faults


def _check_trees(chosen: Hyperparameters) -> list[str]:
    method, faults = chosen["tree_method"], []
    if method == "exact" and chosen["grow_policy"] == "lossguide":
        faults.append("grow_policy=lossguide needs tree_method=hist or approx, not exact")
    if method == "exact" and "max_leaves" in chosen.given:
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


def _check_metrics(chosen: Hyperparameters) -> list[str]:
    known = (*XGBOOST_METRICS, *CLASS_METRICS, *NUMBER_METRICS)
    classifies = chosen.objective.startswith(("binary:", "multi:"))
    faults = []
    for metric in chosen.metrics:
        name, _, cut = metric.partition("@")
        if name not in known or (cut and name not in CUT_METRICS):
            faults.append(f"eval_metric={metric} is not a metric{_hint(name, known)}")
        elif cut and not cut.removesuffix("-").replace(".", "", 1).isdigit():
            faults.append(f"eval_metric={metric} needs a number after @")
        elif name in CLASS_METRICS and not classifies:
            faults.append(f"eval_metric={name} needs a binary: or multi: objective")
        elif name in {"f1_binary", "precision", "recall"} and (chosen["num_class"] or 2) > 2:
            faults.append(f"eval_metric={name} is for two classes: use {name.split('_')[0]}_macro")
        elif name in {"merror", "mlogloss"} and not chosen["num_class"]:
            faults.append(f"eval_metric={name} needs a multi: objective")
        elif name in {"aft-nloglik", "interval-regression-accuracy"} and (
            chosen.objective != "survival:aft"
        ):
            faults.append(f"eval_metric={name} needs objective=survival:aft")
    return faults


CHECKS: tuple[Callable[[Hyperparameters], list[str]], ...] = (
    _check_objective,
    _check_booster,
    _check_trees,
    _check_metrics,
)
