"""What measuring drift costs requests of one row: the same server with and without it."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from benchmarks import servers, workload
from benchmarks.paired import alternate, ratio
from benchmarks.serving import contestant, report
from runtime import histograms
from runtime.job.artifact import MODEL_FILE, Manifest

ON, OFF = "drift measured", "DRIFT=off"
CLIENTS = (1, 8)
FIGURES = {"speed": "requests/s", "p50": "p50 ms", "CPU": "CPU s per 1,000"}


def train(folder: Path) -> None:
    """Write a model with the histograms that training would keep into `folder`."""
    booster = workload.train_model(folder / MODEL_FILE)
    rows, _ = workload.table(20_000)
    scores = np.asarray(booster.predict(xgboost.DMatrix(rows)), np.float32)
    features = [
        histograms.of_column(f"f{column}", column, rows[:, column], False).document()
        for column in range(workload.FEATURES)
    ]
    output = histograms.of_column("score", 0, scores, False).document()
    kept = {"channel": "validation", "groups": 1, "outputs": [output]}
    Manifest(histograms={"features": features, "scores": kept}).save(folder)


def run(folder: Path, turns: int, seconds: int) -> dict[str, Any]:
    """Measure one row with each number of clients; print and return the ratios of on to off."""
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        train(base / "model")
        body = workload.csv_body(base / "1.csv", 1)
        started = {
            ON: stack.enter_context(servers.serve(base)),
            OFF: stack.enter_context(servers.serve(base, environ={"DRIFT": "off"})),
        }
        for clients in CLIENTS:
            runs = {
                name: contestant(server, body, clients, seconds) for name, server in started.items()
            }
            figures = alternate(runs, turns)
            ratios = {
                f"{name}, on / off": ratio(figures[ON][figure], figures[OFF][figure])
                for name, figure in FIGURES.items()
            }
            report(f"1 row, {clients} clients", figures, ratios)
            results[f"{clients} clients"] = {name: asdict(found) for name, found in ratios.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drift.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results
