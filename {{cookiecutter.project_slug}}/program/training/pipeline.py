"""The work of a training job, top to bottom: configuration, data, fit, outputs."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Any

import xgboost

import features
import settings
from container import resources
from container.configuration import Job, read_job
from container.failures import UserError
from container.paths import Paths
from formats.table import Table
from training import crossvalidation, data, labels, outputs
from training.checkpoints import VOLATILE, Checkpoints
from training.environment import export
from training.fit import Fit, Matrices, fit
from training.hyperparameters import Hyperparameters, parse
from training.job import Stop

log = logging.getLogger(__name__)


def run(paths: Paths, stop: Stop) -> int:
    """Train the job below `paths` and write its outputs. Returns the exit code."""
    options = settings.load()
    job = read_job(paths)
    chosen, notes = parse(job.hyperparameters, options.num_classes, cuda=_cuda())
    for note in notes:
        log.info("note: %s", note)
    nthread = int(chosen["nthread"] or resources.cpu_count())
    if chosen["booster"] == "gblinear" and "nthread" not in chosen.given:
        nthread = 1  # linear updaters race between threads: no two runs are alike
    export(job, paths, nthread)
    tables = read_tables(job, chosen, options.input_format)
    context = outputs.context(paths, options, job, chosen, tables["train"])
    if chosen["_kfold"]:
        crossvalidation.run(context, tables, nthread)
        return 0
    checkpoints = checkpoints_of(job, chosen, tables)
    matrices = build(tables, chosen, nthread)
    stop.wait()
    trained = fit(chosen, matrices, nthread, checkpoints, lambda: stop.requested)
    return finish(context, trained, matrices)


def _cuda() -> bool:
    return bool(xgboost.build_info().get("USE_CUDA"))


def read_tables(job: Job, chosen: Hyperparameters, default_format: str) -> dict[str, Table]:
    """Read and check the channels train and validation; `features.transform` comes later."""
    channel = data.channel_of(job, "train")
    if channel is None:
        raise UserError("channel train holds no data: it is required, and needs a file with rows")
    source = data.Source(default_format, chosen)
    tables = {"train": data.read(channel, source)}
    other = data.channel_of(job, "validation")
    if other is not None:
        tables["validation"] = data.read(other, source, tables["train"])
    elif chosen["early_stopping_rounds"]:
        log.warning("no validation channel: early stopping reads the training metric")
    for name, table in tables.items():
        labels.check(table, chosen, name)
        log.info("channel %s: %d rows, %d columns", name, *table.features.shape)
    return tables


def build(tables: dict[str, Table], chosen: Hyperparameters, nthread: int) -> Matrices:
    """Turn every table into a matrix of the model's features; the tables are let go one by one."""
    matrices: Matrices = {}
    for name in list(tables):
        table = data.transform(tables.pop(name))
        matrices[name] = data.matrix(table, chosen, nthread, matrices.get("train"))
    return matrices


def checkpoints_of(
    job: Job, chosen: Hyperparameters, tables: dict[str, Table]
) -> Checkpoints | None:
    """Return the job's checkpoints, when it is configured to have them."""
    if job.checkpoints is None:
        return None
    return Checkpoints(
        folder=folder_of(job.checkpoints, job),
        fingerprint=fingerprint(chosen, tables),
        rounds=int(chosen["checkpoint_rounds"]),
        seconds=float(chosen["checkpoint_seconds"]),
    )


def folder_of(base: Path, job: Job) -> Path:
    """A folder for each host: all hosts of a job share one S3 prefix."""
    return base / job.resources.current_host if len(job.resources.hosts) > 1 else base


def fingerprint(chosen: Hyperparameters, tables: dict[str, Table]) -> dict[str, Any]:
    """Return what makes a checkpoint this job's: parameters, data, features and XGBoost."""
    values: dict[str, Any] = {k: v for k, v in chosen.given.items() if k not in VOLATILE}
    for name, table in tables.items():
        crc = zlib.crc32(table.labels.tobytes()) if table.labels is not None else 0
        values[f"data of {name}"] = f"{table.features.shape}, labels {crc:08x}"
    return values | {"features": features.VERSION, "xgboost": xgboost.__version__}


def finish(context: outputs.Context, trained: Fit, matrices: Matrices) -> int:
    """Write the outputs of a fit. A stopped job keeps its model only when it asked for that."""
    if trained.stopped and not context.chosen["save_model_on_termination"]:
        log.info("stopped after round %d; no model is saved", len(trained.history) - 1)
        return 128 + 15
    outputs.write(context, trained, matrices)
    return 0
