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
SIZES = (5_000, 50_000, 1_000_000)  # rows
LARGE = 500_000  # rows, from which on two turns less are enough
PARAMETERS: dict[str, Any] = {
    "num_round": 100,
    "max_depth": 6,
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
}


def timed(command: list[str], environ: dict[str, str]) -> Callable[[], dict[str, float]]:
    """Return a function that runs `command` once: its seconds, CPU seconds and peak memory."""

    def run() -> dict[str, float]:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command} ended with exit code {process.returncode}")
        return {
            "seconds": time.perf_counter() - start,
            "CPU seconds": usage.ru_utime + usage.ru_stime,
            "peak MB": usage.ru_maxrss / 1024,
        }

    return run


def prepare(base: Path, rows: int, **more: str) -> Path:
    """Write a job of `rows` generated rows of CSV below `base`; return its data."""
    config, channel = base / "input" / "config", base / "input" / "data" / "train"
    for made in (config, channel, base / "model"):
        made.mkdir(parents=True)
    strings = {key: str(value) for key, value in PARAMETERS.items()} | more
    (config / "hyperparameters.json").write_text(json.dumps(strings))
    (config / "inputdataconfig.json").write_text('{"train": {"ContentType": "text/csv"}}')
    return channel / "train.csv"


def run(folder: Path, sizes: tuple[int, ...], turns: int) -> dict[str, Any]:
    """Train on each number of rows in memory, from disk, and by hand; print and return figures."""
    results = {f"{rows:,} rows": measure(rows, turns) for rows in sizes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def measure(rows: int, turns: int) -> dict[str, Any]:
    """Train on `rows` generated rows in turn; print and return the figures and their ratios."""
    turns = max(3, turns // 3 if rows >= LARGE else turns // 2)
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        data = prepare(base / "memory", rows)
        workload.csv_training_file(data, rows)
        os.link(data, prepare(base / "disk", rows, external_memory="true"))
        # As in the image, where the program's bytecode is written already.
        common = {"PYTHONPYCACHEPREFIX": f"{name}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
        train = [sys.executable, str(servers.PROGRAM / "train")]
        plain = json.dumps({**PARAMETERS, "nthread": cpu_count()})
        script = [sys.executable, str(BY_HAND), str(data), str(base / "by-hand.ubj"), plain]
        environ = {**common, "PYTHONPATH": str(servers.PROGRAM)}
        project, disk = (
            timed(train, {**environ, "SAGEMAKER_BASE_DIR": str(base / where)})
            for where in ("memory", "disk")
        )
        contestants = {
            "this project": project, "external memory": disk, "by hand": timed(script, common)
        }  # fmt: skip
        figures = alternate(contestants, turns)
    print(f"\ntraining on {rows:,} rows of CSV x {workload.FEATURES} columns, {turns} turns")
    for contestant, values in figures.items():
        middle = sorted(values["seconds"])[turns // 2]
        print(f"  {contestant:<16} {middle:8.2f} s  {rows / middle:12,.0f} rows/s")
    ratios: dict[str, Any] = {}
    for above, below in (("this project", "by hand"), ("external memory", "this project")):
        for figure, values in figures[above].items():
            found = ratio(values, figures[below][figure])
            ratios[f"{figure}: {above} / {below}"] = asdict(found)
            print(f"  {figure}: {above} / {below}: {found}")
    return {"figures": figures, "ratios": ratios}
