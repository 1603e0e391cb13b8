"""What training keeps of its data for the detection of drift: histograms of features and scores.

They are counted on a random sample of rows, each row once whatever its weight. Serving compares the
rows of requests with them (inference/drift.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

import custom
from runtime import histograms
from runtime.formats.errors import printable
from runtime.formats.table import Table
from runtime.training import data
from runtime.training.external import densify
from runtime.training.parameters import Hyperparameters

ROWS = 20_000  # of the sample
CELLS = 1 << 23  # of a dense sample: 32 MB
LEAST_ROWS = 1_000  # whatever their cells
FEATURES, OUTPUTS = 50, 10  # that have a histogram, and a time series in /metrics
CATEGORICAL = "c"

Floats = NDArray[np.float32]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """Random rows of the training table, and of the one whose scores count: validation's, where
    there is one, because a model scores the rows that it learned from otherwise than new ones."""

    train: Table
    scored: Table
    channel: str  # of `scored`


def sampled(tables: dict[str, Table], seed: int) -> Reference:
    """Return the samples of a job's tables."""
    train = _sample(tables["train"], seed)
    if len(tables.get("validation", ())):
        return Reference(train, _sample(tables["validation"], seed), "validation")
    return Reference(train, train, "train")


def _sample(table: Table, seed: int) -> Table:
    rows = ROWS
    if not isinstance(table.features, csr_matrix):
        rows = min(ROWS, max(LEAST_ROWS, CELLS // max(1, table.features.shape[1])))
    return data.picked(table, rows, seed)


def document(
    reference: Reference,
    chosen: Hyperparameters,
    label_names: tuple[str, ...] | None,
    booster: xgboost.Booster | None,
) -> dict[str, Any]:
    """Return the histograms as a manifest keeps them; those of scores need the model."""
    found: dict[str, Any] = {"features": features(reference.train, chosen, booster)}
    if booster is None:
        return found
    scores = scores_of(reference.scored, chosen, booster)
    table = scores.reshape(len(scores), -1)
    groups = table.shape[1]
    if groups > OUTPUTS:
        log.info("drift: histograms of the scores of %d of %d outputs", OUTPUTS, groups)
    if reference.channel == "train":
        log.info(
            "drift: without a validation channel the histogram of scores is that of rows that the "
            "model learned from; a drift of scores is shown, but raises no alarm"
        )
    named = label_names and len(label_names) == groups
    labels = _distinct(label_names if named else None, list(range(groups)), "")
    labels = ["score"] if groups == 1 else labels
    outputs = [
        histograms.of_column(labels[group], group, table[:, group], False).document()
        for group in range(min(groups, OUTPUTS))
    ]
    found["scores"] = {"channel": reference.channel, "groups": groups, "outputs": outputs}
    return found


def features(
    table: Table, chosen: Hyperparameters, booster: xgboost.Booster | None
) -> list[dict[str, Any]]:
    """Return the histograms of the columns of the data, before features.transform: of all, or of
    those that matter most to the model."""
    columns = table.features.shape[1]
    kept = sorted(_by_gain(table, booster)[:FEATURES])
    if len(kept) < columns:
        log.info("drift: histograms of the %d most important of %d features", len(kept), columns)
    rows = table.features[:, kept]
    values = _with_nan(densify(rows) if isinstance(rows, csr_matrix) else np.array(rows), chosen)
    strings = table.categories.values if table.categories else {}
    types = chosen.feature_types or ()
    coded = {at for at, kind in enumerate(types) if kind == CATEGORICAL and len(types) == columns}
    labels = _distinct(table.names, kept, "f")
    return [
        histograms.of_column(
            labels[place], position, values[:, place], position in strings or position in coded
        ).document()
        for place, position in enumerate(kept)
    ]


def _distinct(names: tuple[str, ...] | None, positions: list[int], prefix: str) -> list[str]:
    """Return what metrics call columns: the beginning of their names, or, where those are not
    known or are alike, their numbers."""
    found = [printable(names[position]) for position in positions] if names else []
    if names and len(set(found)) == len(positions):
        return found
    return [f"{prefix}{position}" for position in positions]


def _with_nan(values: Floats, chosen: Hyperparameters) -> Floats:
    """Return the values with NaN where they are what the job calls missing."""
    if chosen["missing"] is not None:
        values[values == np.float32(chosen["missing"])] = np.nan
    return values


def _by_gain(table: Table, booster: xgboost.Booster | None) -> list[int]:
    """Return the columns of the data, those whose splits gained most first; without splits, or
    where columns of the data are not found in the model, in their order."""
    columns = table.features.shape[1]
    if booster is None or columns <= FEATURES:
        return list(range(columns))
    names = [f"f{position}" for position in range(columns)]
    if booster.feature_names:
        names = list(table.names or names)
    elif booster.num_features() != columns:
        return list(range(columns))
    try:
        gains: dict[str, Any] = booster.get_score(importance_type="total_gain")
    except (ValueError, xgboost.core.XGBoostError) as problem:
        log.debug("no gains: %s", problem)
        gains = {}
    return sorted(range(columns), key=lambda position: -float(gains.get(names[position], 0.0)))


def scores_of(table: Table, chosen: Hyperparameters, booster: xgboost.Booster) -> Floats:
    """Return what is served for the rows of a table, float32 [rows] or [rows, groups]."""
    transformed = data.transform(table)
    rows = transformed.features
    types = chosen.feature_types
    matrix = xgboost.DMatrix(
        rows,
        missing=np.nan if chosen["missing"] is None else chosen["missing"],
        feature_names=data.usable(transformed.names),
        feature_types=list(types) if types else None,
        enable_categorical=bool(chosen["enable_categorical"]),
    )
    scores = booster.predict(matrix)
    if custom.postprocess:
        dense = densify(rows) if isinstance(rows, csr_matrix) else np.asarray(rows)
        scores = custom.postprocess(scores, dense)
    return np.asarray(scores, np.float32)
