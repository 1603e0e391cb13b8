"""From the job's channels to XGBoost's matrices: reading, checks, and the choice of the matrix."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

import features
from runtime import transformation
from runtime.formats.errors import FormatError
from runtime.formats.files import files_of, iterate_channel, read_channel
from runtime.formats.strings import StringsFoundError
from runtime.formats.table import Table
from runtime.job.description import Channel, Job
from runtime.job.failures import UserError
from runtime.training import categorical
from runtime.training.external import Reader, densify, sparsify, spill
from runtime.training.parameters import Hyperparameters

DENSE_BLOCK = 32 << 20  # bytes of sparse rows that are made dense at a time
CHANNELS = {"train", "validation", "features", "code"}  # code: a program of the job
PROBE_ROWS = 256  # kept beside the model, for the parity check at load

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """How channels are read: the format of those that name none, the job, a folder on disk."""

    default_format: str
    chosen: Hyperparameters
    scratch: Path


def channel_of(job: Job, name: str) -> Channel | None:
    """Return the channel when this host has files in it. Raises UserError for Pipe mode."""
    channel = job.channels.get(name)
    if channel is None:
        return None
    if channel.input_mode == "Pipe":
        raise UserError(
            f"channel {name} uses Pipe mode, which XGBoost cannot read (it needs the data more "
            "than once): set TrainingInputMode to File or FastFile"
        )
    return channel if files_of(channel.path) else None


def no_training_data(job: Job) -> str:
    """Return why there is nothing to train on: an empty channel, or one by another name."""
    if "train" in job.channels:
        return "channel train holds no data: it is required, and needs a file with rows"
    found = ", ".join(sorted(job.channels)) or "none"
    return (
        f"there is no channel train; the job's channels are: {found}. Name the training data's "
        "channel train; validation and features are optional"
    )


def look_over(job: Job) -> None:
    """Warn of channels that nothing reads, and of training data that is validated on."""
    for name in sorted(set(job.channels) - CHANNELS):
        log.warning("channel %s is not read: train, validation and features are", name)
    train, validation = channel_of(job, "train"), channel_of(job, "validation")
    if train is None or validation is None:
        return
    sizes: dict[int, list[Path]] = {}
    for file in files_of(train.path):
        sizes.setdefault(file.stat().st_size, []).append(file)
    for file in files_of(validation.path):
        for other in sizes.get(file.stat().st_size, []):
            if filecmp.cmp(file, other, shallow=False):
                log.warning(
                    "%s of channel validation is %s of channel train: its metrics say nothing "
                    "about new data", file.name, other.name,
                )  # fmt: skip
                return


def fitted_of(job: Job) -> dict[str, Any] | None:
    """Return what preprocessing learned (`features.fit`), from the channel `features` if any."""
    channel = channel_of(job, "features")
    if channel is None:
        return None
    path = channel.path / features.FITTED_FILE
    try:
        fitted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UserError(f"channel features: {features.FITTED_FILE}: {problem}") from None
    if not isinstance(fitted, dict):
        raise UserError(f"channel features: {features.FITTED_FILE} holds no JSON object")
    return fitted


def read(channel: Channel, source: Source, like: Table | None = None) -> Table:
    """Read a channel; `like` is the training table whose columns it must have.

    With external_memory the features are a file on disk. Raises UserError that names the channel,
    and the file, row and column of the fault.
    """

    strings = categorical.strings_of(source.chosen, like)

    def arguments(num_features: int | None, index_base: int | None) -> dict[str, Any]:
        return {
            "path": channel.path,
            "content_type": channel.content_type,
            "default_format": source.default_format,
            "csv_weights": bool(source.chosen["csv_weights"]),
            "num_features": num_features,
            "index_base": index_base,
            "names": like.names if like is not None else None,
            "strings": strings,
        }

    def attempt() -> Table:
        if source.chosen["external_memory"]:
            path = source.scratch / f"{channel.name}.float32"
            return spill(lambda *known: iterate_channel(**arguments(*known)), path, like)
        if like is not None:
            return read_channel(**arguments(like.features.shape[1], like.index_base))
        return read_channel(**arguments(None, None))

    table = None
    while table is None:
        try:
            table = attempt()
        except StringsFoundError as found:
            strings = strings.also(found.columns)
        except FormatError as fault:
            hint = categorical.hint(fault, source.chosen, like)
            raise UserError(f"channel {channel.name}: {fault}{hint}") from fault
    table = dataclasses.replace(
        table,
        categories=strings.categories(),
        label_names=strings.label_names(),
        label_sources=strings.label_sources,
    )
    if len(table) == 0:
        raise UserError(f"channel {channel.name} holds no rows")
    if table.features.shape[1] == 0:
        raise UserError(f"channel {channel.name} holds labels, but no feature columns")
    return table


def transform(table: Table) -> Table:
    """Return the table with the features of the model: `features.transform` of its columns.

    Sparse rows stay sparse. They go through `transform` as dense blocks of bounded size, whatever
    the matrix would be in all; only the template's own file, which is known to return what it gets,
    spares them that.
    """
    rows = table.features
    if not isinstance(rows, csr_matrix):
        values, names = transformation.apply(rows, table.names, table.fitted)
        return dataclasses.replace(table, features=values, names=names)
    if transformation.is_untouched() and not table.fitted:
        return table
    names, blocks, step = table.names, [], max(1, DENSE_BLOCK // (4 * max(1, rows.shape[1])))
    for start in range(0, max(1, len(table)), step):
        dense = densify(rows[start : start + step])
        values, names = transformation.apply(dense, table.names, table.fitted)
        blocks.append(sparsify(values))
    return dataclasses.replace(table, features=vstack(blocks, format="csr"), names=names)


def columns_of(table: Table) -> tuple[int, tuple[str, ...] | None]:
    """Return how many columns the model has for a table, and their names."""
    first = transform(dataclasses.replace(table, features=table.features[:1]))
    return first.features.shape[1], first.names


def picked(table: Table, most: int, seed: int) -> Table:
    """Return the features of at most `most` random rows, in their order."""
    size = min(most, len(table))
    rows = np.random.default_rng(abs(seed)).choice(len(table), size, replace=False)
    return dataclasses.replace(
        table, features=table.features[np.sort(rows)], labels=None, weights=None, query_ids=None
    )


def sample(table: Table, seed: int) -> NDArray[np.float32]:
    """Return at most PROBE_ROWS random rows of the model's features, float32, NaN where missing."""
    rows = transform(picked(table, PROBE_ROWS, seed)).features
    return densify(rows) if isinstance(rows, csr_matrix) else np.array(rows, np.float32, order="C")


def grouped(table: Table) -> Table:
    """Return the table with the rows of each query together, as ranking objectives demand."""
    ids = table.query_ids
    if ids is None or (np.diff(ids) >= 0).all():
        return table
    log.info("note: rows are sorted by query id")
    order = np.argsort(ids, kind="stable")
    return dataclasses.replace(
        table,
        features=table.features[order],
        labels=None if table.labels is None else table.labels[order],
        weights=None if table.weights is None else table.weights[order],
        query_ids=ids[order],
    )


def matrix(
    table: Table,
    chosen: Hyperparameters,
    nthread: int,
    ref: xgboost.DMatrix | None = None,
    cache: Path | None = None,
) -> xgboost.DMatrix:
    """Return the table, with the features of the model, as XGBoost's matrix.

    Histogram trees take a quantile matrix: a byte a cell, and the same model as a DMatrix gives.
    `ref` is the training matrix of a validation matrix; `cache` is where one on disk has its pages.
    """
    missing = np.nan if chosen["missing"] is None else chosen["missing"]
    quantiles = {"max_bin": int(chosen["max_bin"]), "ref": ref} if chosen.histogram else {}
    common = {"missing": missing, "nthread": nthread, **quantiles}
    common["enable_categorical"] = bool(chosen["enable_categorical"])
    if cache is not None:
        reader = Reader(table, lambda block: _arguments(block, chosen), cache)
        pages = xgboost.ExtMemQuantileDMatrix(reader, **common)
        reader.release()
        return pages
    kind = xgboost.QuantileDMatrix if chosen.histogram else xgboost.DMatrix
    return kind(**_arguments(grouped(table), chosen), **common)


def _arguments(table: Table, chosen: Hyperparameters) -> dict[str, Any]:
    """Return what XGBoost's matrices take of a table."""
    table = transform(table)
    categorical.check_codes(table, chosen)
    ranking = chosen.objective.startswith("rank:")
    arguments = {
        "data": table.features,
        "label": table.labels,
        "weight": _query_weights(table) if ranking else table.weights,
        "qid": table.query_ids if ranking else None,
        "feature_names": usable(table.names),
        "feature_types": list(chosen.feature_types) if chosen.feature_types else None,
    }
    return arguments | (_survival(table) if chosen.objective == "survival:aft" else {})


def usable(names: tuple[str, ...] | None) -> list[str] | None:
    """Return the names if XGBoost takes them: it refuses some characters. The manifest has all."""
    return list(names) if names and not set("".join(names)) & set("[]<") else None


def _query_weights(table: Table) -> NDArray[np.float32] | None:
    """Ranking weighs queries, not rows: take the first row's weight of each query."""
    if table.weights is None or table.query_ids is None:
        return None
    first = np.flatnonzero(np.r_[True, np.diff(table.query_ids) != 0])
    return table.weights[first]


def _survival(table: Table) -> dict[str, NDArray[np.float32] | None]:
    """Bounds for survival:aft: a negative label is censored there, as survival:cox has it."""
    if table.labels is None:
        return {}
    lower = np.abs(table.labels)
    upper = np.where(table.labels < 0, np.float32(np.inf), lower)
    return {"label": None, "label_lower_bound": lower, "label_upper_bound": upper}
