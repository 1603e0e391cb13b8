"""Jobs in framework mode: a script, or files made here, in an archive below a temporary /opt/ml."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xgboost

from training_job import Job, csv_text, numbers

SCRIPTS = Path(__file__).parent / "framework"


def archive(job: Job) -> Path:
    """Return where the job's archive is."""
    return job.base / "sourcedir.tar.gz"


def libsvm_text(labels: np.ndarray, rows: np.ndarray) -> str:
    """Return rows in LIBSVM, columns from 1, missing cells absent."""
    lines = []
    for label, row in zip(labels, rows, strict=True):
        cells = (f"{n}:{cell:.9g}" for n, cell in enumerate(row, 1) if not np.isnan(cell))
        lines.append(" ".join([f"{label:.9g}", *cells]) + "\n")
    return "".join(lines)


def script_job(
    base: Path,
    code: str | dict[str, str],
    program: str = "train.py",
    write: Callable[[np.ndarray, np.ndarray], str] = csv_text,
    **hyperparameters: str,
) -> Job:
    """Return a job that brings the folder `code` of SCRIPTS, or files given as texts.

    `write` makes the text of the channels' files.
    """
    job = Job(base, dict(hyperparameters))
    for channel, seed, count in (("train", 0, 600), ("validation", 1, 200)):
        rows, score = numbers(count, seed)
        # Labels that float32 holds exactly: XGBoost's own text reader, which AWS's code uses, may
        # be off by the last bit.
        job.put(channel, "part.csv", write((score * 8).round() / 8, rows))
    files = (
        {path.name: path.read_text() for path in (SCRIPTS / code).iterdir() if path.is_file()}
        if isinstance(code, str)
        else code
    )
    source = base / "source"
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with tarfile.open(archive(job), "w:gz") as tar:
        for name in files:
            tar.add(source / name, name)
    job.hyperparameters |= {
        "sagemaker_program": json.dumps(program),
        "sagemaker_submit_directory": json.dumps(str(archive(job))),
    }
    return job


def serving_model() -> xgboost.Booster:
    """Return the model that the serving scripts load: six trees of depth 3, trained by XGBoost 3.2
    on numbers(400), since later versions train others."""
    return xgboost.Booster(model_file=SCRIPTS / "model.ubj")


@dataclass(frozen=True)
class Request:
    """A request to /invocations."""

    name: str
    body: bytes
    headers: dict[str, str]


def requests(script: str) -> list[Request]:
    """Return the requests whose answers are recorded from AWS's code."""
    rows, _ = numbers(5, seed=3)
    full = np.nan_to_num(rows)
    csv = "\n".join(",".join("" if np.isnan(c) else f"{c:.9g}" for c in row) for row in rows)
    libsvm = "\n".join("0 " + " ".join(f"{n}:{c:.9g}" for n, c in enumerate(r)) for r in full)
    instances = json.dumps({"instances": full.astype(float).tolist()})
    kinds = [
        ("csv", csv, "text/csv", None),
        ("one row", csv.partition("\n")[0], "text/csv", None),
        ("csv to json", csv, "text/csv", "application/json"),
        ("csv to csv", csv, "text/csv", "text/csv"),
        ("csv to npy", csv, "text/csv", "application/x-npy"),
        ("anything", csv, "text/csv", "*/*"),
        ("semicolons", csv.replace(",", ";"), "text/csv", "text/csv"),
        ("a parameter", csv, "text/csv; charset=utf-8", "text/csv"),
        ("libsvm", libsvm, "text/libsvm", "text/csv"),
        ("x-libsvm", libsvm, "text/x-libsvm", "application/json"),
        ("an unknown type", csv, "image/png", "text/csv"),
        ("an unknown answer", csv, "text/csv", "image/png"),
    ]
    if script == "functions":
        kinds.append(("own json", instances, "application/json", None))
        kinds.append(("own type", f"name|{csv}", "text/x-labelled", "text/csv"))
    if script == "transform":
        kinds = [kind for kind in kinds if "libsvm" not in kind[0] and kind[0] != "semicolons"]
    return [
        Request(
            name, body.encode(), {"Content-Type": kind} | ({"Accept": accept} if accept else {})
        )
        for name, body, kind, accept in kinds
    ]
