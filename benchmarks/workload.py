"""What the benchmarks work on: a model of 300 trees, and bodies of 1 to 10,000 rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray

FEATURES = 28
TREES = 300
SEED = 7


def table(rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return generated data: float32 [rows, 28] and labels 0.0 or 1.0 [rows].

    The label depends on products and thresholds of the columns, with noise, so that trees of
    depth 6 have something to split on.
    """
    generator = np.random.default_rng(SEED)
    values = generator.normal(size=(rows, FEATURES)).astype(np.float32)
    score = values[:, 0] * values[:, 1] + np.sin(3 * values[:, 2]) + (values[:, 3] > 0.5)
    noisy = score + generator.normal(scale=0.5, size=rows)
    return values, (noisy > 0.5).astype(np.float32)


def train_model(path: Path, trees: int | None = None, depth: int = 6) -> xgboost.Booster:
    """Train a binary classifier on generated data, of TREES trees by default; save it to `path`."""
    values, labels = table(20_000)
    parameters = {"objective": "binary:logistic", "max_depth": depth, "tree_method": "hist"}
    booster = xgboost.train(parameters, xgboost.QuantileDMatrix(values, labels), trees or TREES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(booster.save_raw("ubj"))
    return booster


def csv_body(path: Path, rows: int) -> Path:
    """Write `rows` generated rows as CSV without labels, floats in their shortest form."""
    values, _ = table(rows)
    lines = (",".join(map(repr, row)) for row in values.astype(float).round(6).tolist())
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def csv_training_file(path: Path, rows: int) -> Path:
    """Write `rows` labelled rows as CSV, the label first."""
    values, labels = table(rows)
    with path.open("w", encoding="ascii") as file:
        for start in range(0, rows, 10_000):
            block = np.column_stack(
                [labels[start : start + 10_000], values[start : start + 10_000]]
            )
            np.savetxt(file, block, fmt="%.6g", delimiter=",")
    return path
