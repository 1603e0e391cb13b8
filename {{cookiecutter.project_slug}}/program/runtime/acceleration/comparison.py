"""Two engines side by side: equal answers, which is the proof."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration.engines import Engine
from runtime.acceleration.links import is_probability

if TYPE_CHECKING:
    import xgboost

Floats = NDArray[np.float32]

PROBABILITY = 1e-6  # largest difference, absolute
RELATIVE = 1e-5  # largest difference of margins and rates, relative
CONTRIBUTION = 1e-4  # of SHAP values, relative: XGBoost's own add up no closer
WORST = sys.float_info.max


@dataclass(frozen=True)
class Result:
    """The largest differences of one case; `ok` when both are within tolerance."""

    case: str
    rows: int
    margin: float
    prediction: float
    ok: bool


def difference(answer: Floats, expected: Floats, absolute: bool) -> float:
    """Return the largest difference: absolute, or relative to the values' own magnitude.

    A sum that cancels to nearly zero is measured against the median magnitude beside it, since
    float32 keeps no more. Values that are equal, infinite or NaN on both sides differ by nothing;
    another shape, or NaN on one side, by the largest float (JSON has no infinity).
    """
    if answer.shape != expected.shape:
        return WORST
    left, right = answer.astype(np.float64), expected.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    if same.all():
        return 0.0
    magnitude = np.abs(right)
    finite = magnitude[np.isfinite(magnitude)]
    scale = np.maximum(magnitude, np.median(finite) if finite.size else 0.0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = np.abs(left - right) / (1.0 if absolute else scale)
    gap[same] = 0.0
    return float(np.nan_to_num(gap, nan=WORST, posinf=WORST).max())


def tolerance(objective: str) -> float:
    """Return the largest accepted difference of predictions of this objective."""
    return PROBABILITY if is_probability(objective) else RELATIVE


def check(
    engine: Engine,
    booster: xgboost.Booster,
    cases: list[tuple[str, Floats]],
    missing: float | None,
) -> list[Result]:
    """Compare `engine` with `Booster.predict` on every case, margins and predictions."""
    import xgboost

    results = []
    for name, rows in cases:
        matrix = xgboost.DMatrix(rows, missing=np.nan if missing is None else missing, nthread=1)
        expected = booster.predict(matrix, validate_features=False)
        margins = booster.predict(matrix, output_margin=True, validate_features=False)
        prediction = difference(
            engine.predict(rows), expected, absolute=is_probability(engine.objective)
        )
        margin = difference(engine.margins(rows), margins, absolute=False)
        ok = prediction <= tolerance(engine.objective) and margin <= RELATIVE
        results.append(Result(name, len(rows), margin, prediction, ok))
    return results


def check_contributions(values: Floats, expected: Floats, margins: Floats) -> dict[str, float]:
    """Compare SHAP values of oneDAL with XGBoost's: the same, and do both add up to the margin?

    Differences are relative to the largest value.
    """
    scale = float(np.abs(expected).max()) or 1.0
    gaps = {
        "onedal_sum_to_margin": values.sum(axis=-1) - margins,
        "xgboost_sum_to_margin": expected.sum(axis=-1) - margins,
        "difference": values - expected,
    }
    largest = {key: float(np.abs(gap).max()) / scale for key, gap in gaps.items()}
    return {key: gap if gap <= WORST else WORST for key, gap in largest.items()}  # NaN too


def table(results: list[Result]) -> list[dict[str, Any]]:
    """Return the results as JSON-able rows."""
    return [asdict(result) for result in results]
