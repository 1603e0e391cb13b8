"""Time of each step of a request in one process: decode, predict, encode, by format and rows.

No transport, one thread. The last column is the whole over oneDAL's compute alone on the ready
matrix, both timed in the same turn.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

import settings
from benchmarks import workload
from benchmarks.paired import alternate, ratio
from predictor import load_model
from runtime.acceleration.engines import limit_onedal
from runtime.formats import decode, encode
from runtime.inference.models import Model
from runtime.job.resources import THREADS

ROWS = (1, 100, 10_000)
SECONDS = 0.1  # of one measurement at least

Rows = NDArray[np.float32]


def to_csv(rows: Rows) -> bytes:
    """Return CSV, floats in their shortest form."""
    return b"\n".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for row in rows)


def to_json(rows: Rows) -> bytes:
    """Return `{"instances": [[...], ...]}`."""
    return orjson.dumps({"instances": rows}, option=orjson.OPT_SERIALIZE_NUMPY)


def to_npy(rows: Rows) -> bytes:
    """Return NumPy's own format."""
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


def to_libsvm(rows: Rows) -> bytes:
    """Return every cell as index:value, without labels."""
    cells = ((f"{index}:{cell}" for index, cell in enumerate(row)) for row in rows.tolist())
    return "\n".join(" ".join(line) for line in cells).encode()


BODIES: dict[str, Callable[[Rows], bytes]] = {
    "text/csv": to_csv,
    "application/json": to_json,
    "application/x-npy": to_npy,
    "text/libsvm": to_libsvm,
}


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call, as the mean of as many as take SECONDS."""
    calls, start = 0, perf_counter()
    while (elapsed := perf_counter() - start) < SECONDS or not calls:
        work()
        calls += 1
    return elapsed / calls


def measure(model: Model, body: bytes, content_type: str) -> dict[str, float]:
    """Return the seconds of every step, and of oneDAL's compute on the decoded matrix."""
    rows = decode(body, content_type, model.schema, "csv")
    values = model.features(rows)
    scores = model.predict(values)
    limit_onedal()
    return {
        "decode": timed(lambda: decode(body, content_type, model.schema, "csv")),
        "predict": timed(lambda: model.predict(model.features(rows))),
        "encode": timed(lambda: encode(scores, "text/csv")),
        "compute": timed(lambda: model.engines[0].margins(values)),
    }


def run(folder: Path, turns: int) -> dict[str, Any]:
    """Measure every format with every number of rows; print and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        workload.train_model(Path(name) / "model" / "xgboost-model")
        model = load_model(Path(name) / "model", settings.load())
    table, _ = workload.table(max(ROWS))
    table = table.round(6) + np.float32(0)
    results: dict[str, Any] = {}
    print(f"\nmicroseconds in one process, engine {model.engine_name}")
    for content_type, write in BODIES.items():
        for count in ROWS:
            body = write(table[:count])
            work = {"": lambda body=body, kind=content_type: measure(model, body, kind)}
            figures = alternate(work, turns)[""]
            steps = np.sum([figures[step] for step in ("decode", "predict", "encode")], axis=0)
            whole = ratio(steps.tolist(), figures["compute"])
            middle = {step: float(np.median(values)) * 1e6 for step, values in figures.items()}
            cells = "  ".join(f"{step} {value:9.1f}" for step, value in middle.items())
            print(f"  {content_type:<18} {count:6,} rows  {cells}  all / compute {whole}")
            results[f"{content_type}, {count:,} rows"] = {"microseconds": middle} | asdict(whole)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steps.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results


def launch(folder: Path, turns: int) -> None:
    """Measure in a process of its own, with one thread a numeric library, as in a worker."""
    environ = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [sys.executable, "-m", "benchmarks.steps", str(folder), str(turns)]
    subprocess.run(command, env=environ, check=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
