"""Never slower: models of twelve shapes, each by the engine that serving chooses, beside XGBoost.

In one process with one thread, by its CPU time. Every turn calls both engines with the same rows,
and the ratio of a turn is XGBoost's time over that of the choice; the median counts. A ratio below
its floor makes the program fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from benchmarks.paired import alternate, ratio
from runtime import acceleration
from runtime.acceleration.engines import MixedEngine, XGBoostEngine
from runtime.job.resources import THREADS

ROWS = (1, 100, 10_000)
SECONDS = 0.03  # of one engine's part of a turn at least
TRAINED_ON = 4000
NEVER_SLOWER = (0.95, 0.95, 0.95)  # XGBoost's time over ours, for each number of rows
CATEGORICAL = (2.0, 0.95, 1.5)

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A model to train: its columns, categories first, and XGBoost's parameters."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    trees: int = 300  # boosting rounds
    features: int = 25
    categorical: int = 0  # columns of `categories` each
    categories: int = 0
    outputs: int = 1
    trained_on: int = TRAINED_ON

    @property
    def floors(self) -> tuple[float, ...]:
        """The least ratio for each of ROWS."""
        return CATEGORICAL if self.categorical else NEVER_SLOWER


BINARY = {"objective": "binary:logistic", "max_cat_to_onehot": 10}
VECTORS = {"multi_strategy": "multi_output_tree"}
SHAPES = (
    Shape("300 trees of depth 6"),
    Shape("DART", {"booster": "dart", "rate_drop": 0.1}, trees=100),
    Shape("one tree", trees=1),
    Shape("5,000 trees of depth 2", {"max_depth": 2}, trees=5000, trained_on=2000),
    Shape("5,000 features", {"colsample_bytree": 0.1}, features=5000, trained_on=2000),
    Shape("100 classes", {"objective": "multi:softprob", "num_class": 100}, trees=10),
    Shape("vector leaves of 3", VECTORS, trees=100, outputs=3),
    Shape("vector leaves of 20", VECTORS, trees=100, outputs=20),
    Shape("categories: 5 x 10", BINARY, features=25, categorical=5, categories=10),
    Shape("categories: 3 x 4", features=23, categorical=3, categories=4),
    Shape("categories: 10 x 1,000", BINARY, features=30, categorical=10, categories=1000),
    Shape("categories: 2 x 5,000", features=22, categorical=2, categories=5000),
)


def table(shape: Shape, count: int, seed: int) -> Rows:
    """Return rows [count, features] of a shape, 2 % of the cells missing."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, shape.features)).astype(np.float32)
    if shape.categorical:
        codes = random.integers(0, shape.categories, (count, shape.categorical))
        values[:, : shape.categorical] = codes
    values[random.random(values.shape) < 0.02] = np.nan
    return values


def train(shape: Shape) -> xgboost.Booster:
    """Return a model of a shape."""
    rows = table(shape, shape.trained_on, 0)
    random = np.random.default_rng(1)
    known = np.nan_to_num(rows)
    effects = random.normal(size=(max(shape.categories, 1), 1)).astype(np.float32)
    labels = known[:, -shape.outputs :] * known[:, -shape.outputs - 1 : -1] + known[:, -1:]
    if shape.categorical:
        labels = known[:, -1:]
    for column in range(shape.categorical):
        labels = labels + effects[known[:, column].astype(int)]
    if shape.parameters.get("objective") == "binary:logistic":
        labels = labels > 0
    if classes := shape.parameters.get("num_class"):
        labels = (np.argsort(np.argsort(labels[:, 0])) * classes // len(rows))[:, None]
    types = ["c"] * shape.categorical + ["q"] * (shape.features - shape.categorical)
    data = xgboost.DMatrix(rows, labels, feature_types=types, enable_categorical=True)
    options = {"max_depth": 6, "nthread": os.cpu_count(), "seed": 3}
    booster = xgboost.train(options | shape.parameters, data, shape.trees)
    return xgboost.Booster(model_file=bytearray(booster.save_raw("ubj")))


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Return the CPU seconds of one call, as the mean of as many as take SECONDS."""
    calls, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < SECONDS or not calls:
        work()
        calls += 1
    return {"seconds": elapsed / calls}


def measure(shape: Shape, turns: int) -> list[dict[str, Any]]:
    """Return engine, microseconds and ratio for every number of rows."""
    choice = acceleration.choose(train(shape))
    many = table(shape, max(ROWS), 2)
    results = []
    for count, floor in zip(ROWS, shape.floors, strict=True):
        rows = many[:count]
        contestants = {
            "chosen": lambda rows=rows: timed(lambda: choice.engine.predict(rows)),
            "xgboost": lambda rows=rows: timed(lambda: choice.reference.predict(rows)),
        }
        seconds = {
            name: figures["seconds"] for name, figures in alternate(contestants, turns).items()
        }
        found = ratio(seconds["xgboost"], seconds["chosen"])
        middle = {name: float(np.median(values)) * 1e6 for name, values in seconds.items()}
        engine = choice.engine
        engine = engine.engine_for(count) if isinstance(engine, MixedEngine) else engine
        figures = {"rows": count, "engine": engine.name, "floor": floor, "microseconds": middle}
        results.append(figures | asdict(found))
    return results


def is_below(row: dict[str, Any]) -> bool:
    """Return whether a figure is below its floor. XGBoost beside itself only shows the noise."""
    is_itself = row["engine"] == XGBoostEngine.name and row["floor"] <= 1
    return bool(row["median"] < row["floor"]) and not is_itself


def run(folder: Path, turns: int) -> int:
    """Measure every shape; print and write the figures. Return how many are below their floor."""
    print(
        f"\nXGBoost {xgboost.__version__}: its CPU time over that of the chosen engine, one thread"
    )
    print(f"  {'':24}" + "".join(f"{count:>16,} rows" for count in ROWS))
    results, below = {}, 0
    for shape in SHAPES:
        figures = measure(shape, turns)
        results[shape.name] = figures
        low = [is_below(row) for row in figures]
        cells = [
            f"{row['engine']} {row['median']:6.2f}{' !' if slow else '  '}"
            for row, slow in zip(figures, low, strict=True)
        ]
        print(f"  {shape.name:24}" + "".join(f"{cell:>21}" for cell in cells), flush=True)
        below += sum(low)
    print(f"\n{below or 'no'} figures below their floor" + (" (!)" if below else ""))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shapes.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return below


def launch(folder: Path, turns: int) -> None:
    """Measure in a process of its own, with one thread a numeric library, as in a worker.

    Raises SystemExit when a figure is below its floor.
    """
    environ = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [sys.executable, "-m", "benchmarks.shapes", str(folder), str(turns)]
    done = subprocess.run(command, env=environ, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    sys.exit(1 if run(Path(sys.argv[1]), int(sys.argv[2])) else 0)
