"""The features of this model: the one file that most teams edit.

`transform` turns the columns of the data into the columns of the model. Training and serving both
call it, so they cannot drift apart: the manifest of a trained model keeps a digest of this file,
and serving refuses a model that was trained with another one. After an edit that changes no
feature, such as a comment, set VERSION to the manifest's `features_version` to serve older models.

What a transformation learns from data (`fit`) is plain JSON: preprocessing writes it to the channel
`features`, training keeps it in the model's manifest, and serving hands it to `transform` again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION: str | None = None  # None: a digest of this file
FITTED_FILE = "features.json"  # in the channel `features`


def fit(rows: NDArray[np.float32], *, clip: float = 0.0, fill: bool = False) -> dict[str, Any]:
    """Learn from training rows, float32 [rows, columns], what `transform` needs; JSON-able.

    `low` and `high` are the quantiles `clip` and 1 - `clip` of each column, `fill` its median;
    null where a column has no value at all.
    """
    values = np.ma.masked_invalid(rows)
    columns = [column.compressed() for column in values.T]

    def quantile(share: float) -> list[float | None]:
        # nearest: a value of the data, exact in float32
        return [float(np.quantile(c, share, method="nearest")) if c.size else None for c in columns]

    fitted = {"low": quantile(clip), "high": quantile(1 - clip)} if clip else {}
    return fitted | ({"fill": quantile(0.5)} if fill else {})


def transform(
    rows: NDArray[np.float32],
    names: tuple[str, ...] | None,
    fitted: dict[str, Any] | None = None,
) -> tuple[NDArray[np.float32], tuple[str, ...] | None]:
    """Return the model's matrix and its column names.

    `rows` is float32 [rows, columns], C-contiguous, NaN where a cell is missing; `names` are the
    column names, or None when the data has none; `fitted` is what `fit` learned, or None. Work on
    whole columns, keep the number and the order of rows, and keep no state between calls. Example:
    append the ratio of two columns with `np.column_stack([rows, rows[:, 0] / rows[:, 1]])`, and its
    name with `names and (*names, "ratio")`.

    A column of strings comes as codes: positions among its sorted categories, which the manifest
    has, NaN where missing. It stays categorical under its name, or without names at its position:
    hand it on as it is, or leave it out. A column that is added is a number.
    """
    if fitted:
        arrays = {key: np.array(value, np.float32) for key, value in fitted.items()}  # None: NaN
        if "fill" in arrays:
            rows = np.where(np.isnan(rows), arrays["fill"], rows)
        if "low" in arrays:
            bounded = np.fmin(np.fmax(rows, arrays["low"]), arrays["high"])
            rows = np.where(np.isnan(rows), rows, bounded)
    return rows, names
