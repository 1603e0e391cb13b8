"""The one place that chooses an engine: lint, convert, prove, or fall back and say why."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import platform
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.acceleration import (
    boosters,
    comparison,
    conversion,
    document,
    explaining,
    isolation,
    lint,
    probes,
    tuning,
)
from runtime.acceleration.engines import Engine, Floats, OneDALEngine, XGBoostEngine, limit_onedal
from runtime.acceleration.rounds import Rounds, cut
from runtime.job.failures import UserError

if TYPE_CHECKING:
    import xgboost

PACKAGES = ("xgboost-cpu", "xgboost", "scikit-learn-intelex", "numpy")

log = logging.getLogger(__name__)


class AccelerationError(UserError):
    """ACCELERATION=require, and the model cannot be served through oneDAL. Says why."""


class _Refusal(Exception):  # noqa: N818  (a finding, not an error)
    """Why oneDAL does not serve this model."""


@dataclass(frozen=True)
class Choice:
    """The engine that serves, why, and the report that becomes parity.json (JSON-able).

    `reference` is XGBoost's own engine, the same object as `engine` after a fall-back; `explainer`
    gives the contributions; `rounds` are those that answer.
    """

    engine: Engine
    reference: Engine
    explainer: Engine
    rounds: Rounds
    reason: str
    report: dict[str, Any]


def choose(
    booster: xgboost.Booster,
    *,
    mode: str = "auto",
    missing: float | None = None,
    probe_rows: Floats | None = None,
    best_iteration: bool = True,
    explain: bool = True,
    measure: bool = False,
) -> Choice:
    """Return the fastest engine that gives the answers of `booster`, now set to one thread.

    `missing` is the value that means missing besides NaN (default: what the model's estimator
    says); `probe_rows` are float32 rows of the training data, when there are any; with
    `best_iteration` the rounds after the best one of early stopping are left out; without `explain`
    nobody asks for contributions, so XGBoost's will do; `measure` adds speeds to the report, which
    takes seconds. Raises AccelerationError in mode "require" where "auto" would fall back to
    XGBoost, ModelFileError when the best round cannot be told.
    """
    started = time.perf_counter()
    booster.set_param({"nthread": 1})
    missing = boosters.missing_value(booster) if missing is None else missing
    missing = None if missing is None or math.isnan(missing) else missing
    booster, answering = cut(booster, best_iteration)
    reference = XGBoostEngine(booster, missing)
    report = _heading(reference) | {"rounds": asdict(answering)}
    engine: Engine = reference
    explainer: Engine = reference
    try:
        if mode == "off":
            raise _Refusal("ACCELERATION=off")
        proven, cases = _prove(reference, probe_rows, report)
        base = cases[0][1]
        proven.shap = proven.shap and explain
        if proven.shap:
            explainer, report["contributions"] = explaining.choose(
                proven, reference, cases, require=mode == "require"
            )
        if measure:
            report["speed"] = tuning.compare(proven, reference, base, tuning.THOROUGH_SECONDS)
        engine, reason = _fastest(proven, reference, base, report, mode)
    except Exception as error:  # whatever goes wrong with oneDAL, XGBoost can still serve
        explainer = reference
        reason = str(error) if isinstance(error, _Refusal) else _unforeseen(error)
        if mode == "require":
            raise AccelerationError(f"ACCELERATION=require, but {reason}") from None
    report.update(engine=engine.name, reason=reason)
    report["seconds"] = round(time.perf_counter() - started, 3)
    level = logging.WARNING if engine is reference and mode == "auto" else logging.INFO
    log.log(level, "predicting through %s: %s", engine.name, reason)
    return Choice(engine, reference, explainer, answering, reason, report)


def _heading(reference: XGBoostEngine) -> dict[str, Any]:
    """Return the report's first lines: what was judged, and with which versions."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "engine": "",
        "reason": "",
        "objective": reference.objective,
        "features": reference.num_features,
        "groups": reference.num_groups,
        "missing": reference.missing,
        "versions": versions,
    }


def _prove(
    reference: XGBoostEngine, rows: Floats | None, report: dict[str, Any]
) -> tuple[OneDALEngine, explaining.Cases]:
    """Return a oneDAL engine that passed every check, and the rows of each. Raises _Refusal."""
    model = document.read(reference.booster)
    report["trees"] = len(model.trees)
    report["lint"] = lint.refusals(model)
    if report["lint"]:
        raise _Refusal("; ".join(report["lint"]))
    if absent := lint.platform_reason():
        raise _Refusal(absent)
    report["rehearsed"] = lint.risks(model)
    if report["rehearsed"] and (failure := isolation.rehearse(reference.booster)):
        raise _Refusal(failure)
    import daal4py  # noqa: F401  (loaded now, to be limited to one thread before it is used)

    limit_onedal()
    engine = conversion.convert(model, reference)
    cases = probes.cases(model, rows, reference.missing)
    results = comparison.check(engine, reference.booster, cases, reference.missing)
    report["parity"] = comparison.table(results)
    report["largest_difference"] = max(result.prediction for result in results)
    if failed := [result for result in results if not result.ok]:
        raise _Refusal(
            f"oneDAL differs from XGBoost on {failed[0].case!r}: predictions by "
            f"{failed[0].prediction:.3g}, margins by {failed[0].margin:.3g}"
        )
    return engine, cases


def _fastest(
    proven: OneDALEngine, reference: XGBoostEngine, rows: Floats, report: dict[str, Any], mode: str
) -> tuple[Engine, str]:
    """Return the engine that measurements favour, and why; `require` only asks for oneDAL."""
    reason = "oneDAL gives XGBoost's answers on every probe"
    many = np.ascontiguousarray(rows[np.arange(tuning.PROBE_ROWS) % len(rows)])
    report["calls"] = tuning.plan(proven, many)
    if report["calls"]:
        log.info(tuning.sentence(report["calls"]))
    if mode == "require":
        return proven, reason
    engine, report["times"] = tuning.choose(proven, reference, many)
    if engine is proven:
        return engine, reason
    slower = [row for row in report["times"] if row["engine"] == reference.name]
    ratio = max(row[proven.name] / row[reference.name] for row in slower)
    sizes = ", ".join(str(row["rows"]) for row in slower)
    return engine, f"{reason}, but XGBoost is faster with {sizes} rows: up to {ratio:.1f} times"


def _unforeseen(error: Exception) -> str:
    """Return an error as a reason, on one line; the log keeps the rest at level debug."""
    log.debug("oneDAL was given up", exc_info=error)
    line = str(error).strip().partition("\n")[0]
    return f"oneDAL or its check failed: {type(error).__name__}: {line}"
