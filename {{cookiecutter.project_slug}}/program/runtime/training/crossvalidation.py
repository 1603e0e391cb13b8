"""Cross-validation: `_kfold` folds, `_num_cv_round` times, with true out-of-fold scores."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from runtime.formats.table import Table
from runtime.job import artifact
from runtime.job.failures import UserError
from runtime.training import data, metrics, results
from runtime.training.fit import fit, line

Array = NDArray[Any]
log = logging.getLogger(__name__)


def run(context: results.Context, tables: dict[str, Table], nthread: int) -> None:
    """Train a model a fold on all channels together, and score each on the fold it has not seen.

    Writes xgboost-model-0, -1, ..., the manifest, metrics.json and predictions.csv: for a number
    the label and the mean prediction; for classes the label, the mean probability of the class
    predicted most often, and that class.
    """
    chosen = context.chosen
    table = joined(list(tables.values()))
    if table.query_ids is not None:
        raise UserError("_kfold would tear queries apart: it cannot be used for ranking")
    splits = _splits(context, table)
    scores: list[dict[str, float]] = []
    out_of_fold: list[list[Array]] = [[] for _ in range(len(table))]
    for number, (train, held) in enumerate(splits):
        log.info("fold %d of %d", number + 1, len(splits))
        inside = data.matrix(rows(table, train), chosen, nthread)
        outside = data.matrix(rows(table, held), chosen, nthread, inside)
        trained = fit(chosen, {"train": inside, "validation": outside}, nthread)
        results.save_model(context, trained, f"-{number}")
        scores.append(trained.scores)
        for row, prediction in zip(held, trained.predictions, strict=True):
            out_of_fold[row].append(prediction)
    mean = {key: float(np.mean([fold[key] for fold in scores])) for key in scores[0]}
    print(line(chosen["num_round"], mean), flush=True)
    results.save_manifest(context, None, mean, results.histograms_of(context, None))
    folder = context.paths.output_data
    with results.best_effort("probe.npy"):
        np.save(context.paths.model / artifact.PROBE_FILE, context.probe)
    with results.best_effort("predictions.csv"):
        folder.mkdir(parents=True, exist_ok=True)
        predictions = summarise(np.array(out_of_fold), chosen.objective)
        np.savetxt(folder / "predictions.csv", np.c_[table.labels, predictions], "%f", ",")
    with results.best_effort("metrics.json"):
        folds = [results.finite(fold) for fold in scores]
        summary = {"metrics": results.finite(mean), "folds": folds}
        results.write_json(folder / "metrics.json", summary)


def _splits(context: results.Context, table: Table) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold  # 50 MB

    chosen, labels = context.chosen, table.labels
    folds, repeats, seed = chosen["_kfold"], chosen["_num_cv_round"], abs(chosen["seed"])
    if folds > len(table):
        raise UserError(f"_kfold={folds} is more than the {len(table)} rows of data")
    if context.num_classes == 1:
        splitter = RepeatedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    else:
        splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    try:
        return list(splitter.split(np.zeros(len(table)), labels))
    except ValueError as problem:
        raise UserError(f"_kfold={folds} cannot split these labels: {problem}") from None


def joined(tables: list[Table]) -> Table:
    """Return the rows of all tables as one."""
    if len(tables) == 1:
        return tables[0]
    blocks = [table.features for table in tables]
    sparse = isinstance(blocks[0], csr_matrix)

    def column(name: str) -> Any:
        parts = [getattr(table, name) for table in tables]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return dataclasses.replace(
        tables[0],
        features=vstack(blocks, format="csr") if sparse else np.concatenate(blocks),
        labels=column("labels"),
        weights=column("weights"),
    )


def rows(table: Table, index: Array) -> Table:
    """Return the rows of a table that `index` numbers, in that order."""
    return dataclasses.replace(
        table,
        features=table.features[index],
        labels=None if table.labels is None else table.labels[index],
        weights=None if table.weights is None else table.weights[index],
    )


def summarise(predictions: Array, objective: str) -> Array:
    """Return columns for predictions.csv from [rows, repeats] or [rows, repeats, k] predictions."""
    if not objective.startswith(("binary:", "multi:")):
        return np.asarray(predictions.mean(axis=1))
    repeats = range(predictions.shape[1])
    votes = np.stack([metrics.classes(predictions[:, i], objective) for i in repeats], axis=1)
    winner = np.array([np.bincount(row).argmax() for row in votes])
    mean = predictions.mean(axis=1)
    if mean.ndim == 2:
        mean = mean[np.arange(len(mean)), winner]
    return np.column_stack([mean, winner])
