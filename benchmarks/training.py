"""Training end to end: the whole of `train` against a script written by hand, in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import servers, workload
from benchmarks.paired import alternate, ratio
from runtime.job.resources import cpu_count

BY_HAND = Path(__file__).with_name("by_hand.py")
PARAMETERS: dict[str, Any] = {
    "num_round": 100,
    "max_depth": 6,
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
}


def timed(command: list[str], environ: dict[str, str]) -> Callable[[], dict[str, float]]:
    """Return a function that runs `command` once and returns its seconds and peak memory."""

    def run() -> dict[str, float]:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command} ended with exit code {process.returncode}")
        return {"seconds": time.perf_counter() - start, "peak MB": usage.ru_maxrss / 1024}

    return run


def run(folder: Path, rows: int, turns: int) -> dict[str, Any]:
    """Train on `rows` generated rows of CSV both ways, `turns` times each; return the figures."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        config, channel = base / "input" / "config", base / "input" / "data" / "train"
        for made in (config, channel, base / "model"):
            made.mkdir(parents=True)
        data = workload.csv_training_file(channel / "train.csv", rows)
        strings = {key: str(value) for key, value in PARAMETERS.items()}
        (config / "hyperparameters.json").write_text(json.dumps(strings))
        (config / "inputdataconfig.json").write_text('{"train": {"ContentType": "text/csv"}}')
        environ = {"SAGEMAKER_BASE_DIR": name, "PYTHONPATH": str(servers.PROGRAM)}
        plain = json.dumps({**PARAMETERS, "nthread": cpu_count()})
        script = [sys.executable, str(BY_HAND), str(data), str(base / "by-hand.ubj"), plain]
        train = [sys.executable, str(servers.PROGRAM / "train")]
        figures = alternate(
            {"this project": timed(train, environ), "by hand": timed(script, {})}, turns
        )
    project, by_hand = figures["this project"], figures["by hand"]
    spread = {figure: ratio(project[figure], by_hand[figure]) for figure in project}
    print(f"\ntraining on {rows:,} rows of CSV x {workload.FEATURES} columns")
    for name, values in figures.items():
        middle = sorted(values["seconds"])[turns // 2]
        print(f"  {name:<14} {middle:8.2f} s  {rows / middle:12,.0f} rows/s")
    for figure, found in spread.items():
        print(f"  {figure} / by hand: {found}")
    results = {
        "rows": rows,
        "figures": figures,
        "ratios": {figure: asdict(found) for figure, found in spread.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results
