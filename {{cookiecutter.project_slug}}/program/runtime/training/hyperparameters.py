"""A job's hyperparameters: from the platform's strings to checked, typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import custom
from runtime.job.failures import UserError
from runtime.training.conflicts import CHECKS, hint
from runtime.training.metric_table import own_faults
from runtime.training.parameters import BY_NAME, CUSTOM, OBJECTIVES, Hyperparameters


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
                given[row.name] = row.parse(text)
            except ValueError:
                near = hint(text, row.parse.choices)
                faults.append(f"{key}={text!r} must be {row.parse.form}{near}")
            if row.group == "ignored":
                notes.append(f"{key} has no effect in this version of XGBoost: {row.help}")
    if "num_round" not in texts:
        faults.append("num_round is required: how many rounds to train")
    _modernise(given, notes)
    own = _own_objective(given, faults, notes)
    _default_objective(given, num_classes, notes)
    hyperparameters = Hyperparameters(given, own_objective=own)
    faults += own_faults()
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


def _unknown(key: str) -> str:
    return f"{key} is not a hyperparameter{hint(key, tuple(BY_NAME))}"


def _modernise(given: dict[str, Any], notes: list[str]) -> None:
    """Translate the spellings of older XGBoost versions."""
    if given.get("tree_method") == "gpu_hist":
        given.update(tree_method="hist", device=given.get("device", "cuda"))
        notes.append("tree_method=gpu_hist is now tree_method=hist with device=cuda")
    if given.get("objective") == "reg:linear":
        given["objective"] = "reg:squarederror"
        notes.append("objective=reg:linear is now reg:squarederror")


def _own_objective(given: dict[str, Any], faults: list[str], notes: list[str]) -> bool:
    """Return whether custom.objective trains; the job's objective is then that of its link."""
    objective = given.get("objective")
    if custom.objective is None:
        if objective == CUSTOM:
            faults.append("objective=custom needs a function `objective` in program/custom.py")
            del given["objective"]
        return False
    if objective not in (None, CUSTOM):
        notes.append(f"objective={objective} is given: that of custom.py is not used")
        return False
    if custom.LINK not in OBJECTIVES:
        faults.append(f"custom.py: LINK={custom.LINK!r} is not an objective of XGBoost")
        given.pop("objective", None)
        return False
    given["objective"] = custom.LINK
    notes.append(f"the objective is that of custom.py, with the link of {custom.LINK}")
    return True


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
