"""The work of a training job, top to bottom: configuration, data, fit, results."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import xgboost

import settings
from runtime.formats.categories import Categories
from runtime.formats.table import Table
from runtime.job import resources
from runtime.job.description import Job, read_job
from runtime.job.failures import UserError
from runtime.job.paths import Paths
from runtime.training import (
    categorical,
    constraints,
    crossvalidation,
    data,
    labels,
    results,
    shards,
)
from runtime.training.checkpoints import Checkpoints, Digests, digest_of, fingerprint
from runtime.training.choosing import Chooser
from runtime.training.cluster import Cluster
from runtime.training.ending import Stop, abort, classify
from runtime.training.environment import export
from runtime.training.fit import Fit, Matrices, fit
from runtime.training.hyperparameters import parse
from runtime.training.parameters import Hyperparameters

log = logging.getLogger(__name__)


def run(paths: Paths, stop: Stop) -> int:
    """Train the job below `paths` and write its results. Returns the exit code."""
    options = settings.load()
    job = read_job(paths)
    chosen, notes = parse(job.hyperparameters, options.num_classes, cuda=_cuda())
    for note in notes:
        log.info("note: %s", note)
    nthread = int(chosen["nthread"] or resources.cpu_count())
    if chosen["booster"] == "gblinear" and "nthread" not in chosen.given:
        nthread = 1  # linear updaters race between threads: no two runs are alike
    export(job, paths, nthread)
    with ExitStack() as stack:
        proves = options.acceleration != "off" and not chosen["_kfold"]
        chooser = stack.enter_context(Chooser()) if proves else None
        external = chosen["external_memory"]
        scratch = stack.enter_context(scratch_folder(paths)) if external else ""
        work = Work(paths, options, job, chosen, nthread, stop, Path(scratch), chooser)
        return alone(work) if len(job.hosts.names) == 1 else together(work)


@dataclass(frozen=True)
class Work:
    """What every step of the job needs."""

    paths: Paths
    settings: settings.Settings
    job: Job
    chosen: Hyperparameters
    nthread: int
    stop: Stop
    scratch: Path  # on disk, for external memory
    chooser: Chooser | None  # None: XGBoost serves


def scratch_folder(paths: Paths) -> TemporaryDirectory[str]:
    """Return a new folder on the job's volume: a container's own root may be read-only."""
    try:
        return TemporaryDirectory(prefix=".scratch-", dir=paths.base)
    except OSError:
        return TemporaryDirectory(prefix="training-")


def alone(work: Work) -> int:
    """Train on one host."""
    tables = read_tables(work)
    if "train" not in tables:
        raise UserError(data.no_training_data(work.job))
    if "validation" in work.job.channels and "validation" not in tables:
        raise UserError("channel validation holds no data: give it a file with rows, or drop it")
    tables = settled(work, tables, tables["train"].categories, tables["train"].label_names)
    work = constrained(work, tables["train"])
    context = context_of(work, tables)
    if work.chosen["_kfold"]:
        crossvalidation.run(context, tables, work.nthread)
        return 0
    trained, matrices = train(work, tables, digests_of(work, tables))
    return finish(context, trained, matrices)


def together(work: Work) -> int:
    """Train on several hosts. Hosts without data drop out; the first of the others saves."""
    if work.chosen["_kfold"]:
        raise UserError("_kfold trains on one host: set InstanceCount to 1")
    cluster = Cluster(work.job.hosts, partial(abort, work.paths))
    try:
        tables = read_tables(work)
        mine = shards.facts(tables, validation="validation" in work.job.channels)
        members = cluster.agree(mine | {"digests": digests_of(work, tables)})
        code = 0
        if cluster.me in members:
            tables = shards.conform(tables, members)
            tables = settled(work, tables, *shards.strings(members))
            work = constrained(work, tables["train"])
            context = context_of(work, tables)
            with cluster.joined():
                trained, matrices = train(work, tables, shards.digests(members))
            if cluster.me == next(iter(members)):
                if context.reference is not None and len(members) > 1:
                    log.info("drift: histograms of the rows of this host alone")
                code = finish(context, trained, matrices)
        else:
            log.info("no data on this host: it drops out")
    except BaseException as problem:
        cluster.leave(classify(problem))
        raise
    cluster.leave()
    return code


def settled(
    work: Work,
    tables: dict[str, Table],
    categories: Categories | None,
    label_names: Sequence[str] | None,
) -> dict[str, Table]:
    """Return the tables with the codes of the `categories` and labels of all hosts, checked."""
    tables = categorical.settle(tables, work.chosen, categories, label_names)
    for name, table in tables.items():
        if len(table):
            labels.check(table, work.chosen, name)
    return tables


def constrained(work: Work, train: Table) -> Work:
    """Return the work with what hyperparameters say of columns, checked against the model's."""
    columns, names = data.columns_of(train)
    base = train.index_base if columns == train.features.shape[1] else None
    found, notes = constraints.resolve(work.chosen.given, columns, names, base)
    for note in notes:
        log.info("note: %s", note)
    types = categorical.feature_types(work.chosen, train, columns, names)
    chosen = dataclasses.replace(work.chosen, constraints=found, feature_types=types)
    return dataclasses.replace(work, chosen=chosen)


def train(work: Work, tables: dict[str, Table], digests: Digests) -> tuple[Fit, Matrices]:
    """Build the matrices and fit; the tables are used up."""
    checkpoints = checkpoints_of(work, digests, tables["train"])
    matrices = build(work, tables)
    work.stop.wait()
    trained = fit(work.chosen, matrices, work.nthread, checkpoints, lambda: work.stop.requested)
    log.info("trained %d rounds; model sha256 %s", len(trained.history), trained.digest)
    return trained, matrices


def _cuda() -> bool:
    return bool(xgboost.build_info().get("USE_CUDA"))


def read_tables(work: Work) -> dict[str, Table]:
    """Read and check the channels train and validation; `features.transform` comes later."""
    tables: dict[str, Table] = {}
    fitted = data.fitted_of(work.job)
    data.look_over(work.job)
    source = data.Source(work.settings.input_format, work.chosen, work.scratch)
    for name in ("train", "validation"):
        channel = data.channel_of(work.job, name)
        if channel is not None and (name == "train" or "train" in tables):
            table = data.read(channel, source, tables.get("train"))
            log.info("channel %s: %d rows, %d columns", name, *table.features.shape)
            tables[name] = dataclasses.replace(table, fitted=fitted)
    if work.chosen["early_stopping_rounds"] and "validation" not in tables:
        log.warning("no validation channel: early stopping reads the training metric")
    return tables


def context_of(work: Work, tables: dict[str, Table]) -> results.Context:
    return results.context(work.paths, work.settings, work.job, work.chosen, tables, work.chooser)


def build(work: Work, tables: dict[str, Table]) -> Matrices:
    """Turn every table into a matrix of the model's features; the tables are let go one by one."""
    matrices: Matrices = {}
    for name in list(tables):
        cache = work.scratch / name if work.chosen["external_memory"] else None
        ref = matrices.get("train")
        matrices[name] = data.matrix(tables.pop(name), work.chosen, work.nthread, ref, cache)
    return matrices


def digests_of(work: Work, tables: dict[str, Table]) -> Digests:
    """Return the digest of each table, when there are checkpoints that must know the data."""
    if work.job.checkpoints is None:
        return {}
    return {name: [digest_of(table)] for name, table in tables.items()}


def checkpoints_of(work: Work, digests: Digests, table: Table) -> Checkpoints | None:
    """Return the job's checkpoints, when it is configured to have them."""
    job, chosen = work.job, work.chosen
    if job.checkpoints is None:
        return None
    return Checkpoints(
        folder=folder_of(job.checkpoints, job),
        fingerprint=fingerprint(chosen, digests, table.fitted)
        | categorical.digests(table.categories, table.label_names),
        rounds=int(chosen["checkpoint_rounds"]),
        seconds=float(chosen["checkpoint_seconds"]),
    )


def folder_of(base: Path, job: Job) -> Path:
    """A folder for each host: all hosts of a job share one S3 prefix."""
    return base / job.hosts.current if len(job.hosts.names) > 1 else base


def finish(context: results.Context, trained: Fit, matrices: Matrices) -> int:
    """Write the results of a fit. A stopped job keeps its model only when it asked for that."""
    if trained.stopped and not context.chosen["save_model_on_termination"]:
        log.info("stopped after round %d; no model is saved", len(trained.history) - 1)
        return 128 + 15
    results.write(context, trained, matrices)
    return 0
