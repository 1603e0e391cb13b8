"""Pipeline step 1: split the data into train, validation and test, and fit the transformations.

The files stay as they came, without any transformation: what is fitted here, on the training part
alone, goes as features.json with the model, and `program/features.py` applies it in training and
in serving. Columns and labels of strings stay strings. Runs in the project's image, as a SageMaker
processing job.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import features
import settings
from runtime.formats import numbers
from runtime.formats.errors import FormatError
from runtime.formats.files import read_with_strings
from runtime.formats.strings import Strings
from runtime.formats.table import Floats, Table
from runtime.job.failures import ContainerError, UserError
from runtime.job.paths import Paths
from runtime.training.external import densify

PARTS = ("train", "validation", "test")
ROWS_AT_A_TIME = 1 << 14  # that are text at once


def parts_of(labels: Floats, stratified: bool, shares: list[float], seed: int) -> NDArray[np.intp]:
    """Return the number of each row's part: `shares` of the rows, of each class if stratified."""
    random, parts = np.random.default_rng(seed), np.empty(len(labels), np.intp)
    groups = labels if stratified else np.zeros(len(labels))
    for group in np.unique(groups):
        rows = random.permutation(np.flatnonzero(groups == group))
        edges = np.round(np.cumsum(shares) * len(rows))
        parts[rows] = np.searchsorted(edges[:-1], np.arange(len(rows)), side="right")
    return parts


def write(path: Path, table: Table, chosen: NDArray[np.bool_]) -> None:
    """Write the chosen rows as CSV: the label first, every float32 with all its digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels, values = np.asarray(table.labels), table.categories.values if table.categories else {}
    rows = np.flatnonzero(chosen)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if table.names:
            writer.writerow(("label", *table.names))
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            block = rows[start : start + ROWS_AT_A_TIME]
            columns = enumerate(table.features[block].T)
            cells = (_cells(column, values.get(number)) for number, column in columns)
            writer.writerows(zip(_cells(labels[block], table.label_names), *cells, strict=True))


def _cells(column: Floats, values: Any) -> list[str]:
    """Return the cells of a column: numbers, or the strings that it has the codes of."""
    if values is None:
        return ["nan" if np.isnan(cell) else f"{cell:.9g}" for cell in column.tolist()]
    return ["" if np.isnan(code) else str(values[int(code)]) for code in column.tolist()]


def check_strings(table: Table, train: NDArray[np.bool_]) -> None:
    """Raise UserError for a column of strings whose training part would read as numbers in CSV."""
    for column, values in (table.categories.values if table.categories else {}).items():
        codes = table.features[train, column]
        found = [str(values[int(code)]) for code in np.unique(codes[~np.isnan(codes)])]
        if all(numbers.is_number(value.encode()) for value in found):
            name = table.names[column] if table.names else column + 1
            raise UserError(
                f"column {name} holds strings, but in the training part all of them are numbers, "
                "which CSV cannot tell apart: leave the column out, or write values such as z10115"
            )


def run(base: Path, given: argparse.Namespace) -> None:
    """Read `base`/input/data; write the parts and features.json below `base`/output."""
    options = settings.load()
    strings = Strings(features=True, labels=options.num_classes > 1)
    path, kind = base / "input" / "data", given.content_type
    table = read_with_strings(path, kind, options.input_format, strings)
    labels = table.labels
    if labels is None or table.weights is not None or table.query_ids is not None:
        raise UserError("this pipeline takes labelled data without weights and query ids")
    if not isinstance(table.features, np.ndarray):
        table = replace(table, features=densify(table.features), names=None)
    shares = [1 - given.validation - given.test, given.validation, given.test]
    parts = parts_of(labels, options.num_classes > 1, shares, given.seed)
    check_strings(table, parts == 0)
    for number, name in enumerate(PARTS):
        write(base / "output" / name / "data.csv", table, parts == number)
        print(f"ok: {name}: {(parts == number).sum()} rows")
    rows = table.features[parts == 0]
    for column in table.categories.values if table.categories else ():
        rows[:, column] = np.nan  # codes have no order
    fitted = features.fit(rows, clip=given.clip, fill=given.fill)
    target = base / "output" / "features" / features.FITTED_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(fitted) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the step; a fault of the data is one line, exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content-type", help="media type of the data")
    parser.add_argument("--validation", type=float, default=0.15, help="share of the rows")
    parser.add_argument("--test", type=float, default=0.15, help="share of the rows")
    parser.add_argument("--clip", type=float, default=0.001, help="quantile to cut outliers at")
    parser.add_argument("--fill", action="store_true", help="put the median in missing cells")
    parser.add_argument("--seed", type=int, default=0)
    try:
        run(Paths.from_environment().base / "processing", parser.parse_args(arguments))
    except (ContainerError, FormatError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
