"""Rows of this project's own data, as requests to its own model.

    PYTHONPATH=program python -m sample.own FOLDER       a row as a CSV request, on stdout
    PYTHONPATH=program python -m sample.own FOLDER --rows 10 --format jsonlines
    PYTHONPATH=program python -m sample.own FOLDER --post http://localhost:8080

FOLDER is an /opt/ml tree with data and a trained model. The rows come from the channel
`validation`, or `train` where there is none, without their labels. Columns of strings are strings
in requests of the formats that can hold them, and codes in the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import settings
from runtime import acceleration
from runtime.formats import Categories, Table, iterate_channel
from runtime.formats.assembly import recoded
from runtime.formats.strings import Strings, StringsFoundError
from runtime.job.artifact import MANIFEST_FILE, MODEL_FILE, read_manifest
from runtime.job.description import read_job
from runtime.job.paths import Paths
from sample import make_sample

ROOT = Path(__file__).resolve().parents[1]
CONTENT_TYPES = {**make_sample.CONTENT_TYPES, "npy": "application/x-npy"}
HOLD_STRINGS = ("csv", "json", "jsonlines", "parquet")
Names = tuple[str, ...]


def model_folder(folder: Path, scratch: Path) -> Path:
    """Return `folder` if it holds a trained model; else train one on sample data in `scratch`."""
    if (folder / "model" / MODEL_FILE).is_file():
        return folder
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "program"),
        "SAGEMAKER_BASE_DIR": str(scratch),
    }
    for script in (["sample/make_sample.py", str(scratch)], ["program/train"]):
        command = [sys.executable, str(ROOT / script[0]), *script[1:]]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return scratch


def categories_of(folder: Path) -> Categories | None:
    """Return the categories of the model of `folder`, as serving takes them."""
    manifest = read_manifest(folder / "model")
    if manifest.categories is not None:
        return Categories.from_document(manifest.categories, manifest.feature_names)
    if (folder / "model" / MANIFEST_FILE).is_file():
        return None
    return acceleration.stored_categories(acceleration.load_booster(folder / "model" / MODEL_FILE))


def read_rows(folder: Path, count: int) -> tuple[NDArray[np.float32], Names]:
    """Return at most `count` rows of the data, float32 [rows, columns], NaN where a cell is
    missing, and the names of the columns; of columns of strings the model's codes. Raises
    FileNotFoundError where there are no rows.
    """
    categories = categories_of(folder)
    strings = Strings(categories.values if categories else (), labels=True)
    while True:
        try:
            table = read_table(folder, count, strings)
            break
        except StringsFoundError as found:  # of labels
            strings = strings.also(found.columns)
    if categories:
        table, _ = recoded(
            dataclasses.replace(table, categories=strings.categories()), categories, None
        )
    rows = table.features
    return rows, table.names or tuple(f"column_{number}" for number in range(rows.shape[1]))


def read_table(folder: Path, count: int, strings: Strings) -> Table:
    """Return at most `count` rows of the data, with provisional codes for strings. Raises
    StringsFoundError, and FileNotFoundError where there are no rows."""
    manifest, job = read_manifest(folder / "model"), read_job(Paths(folder))
    blocks: list[NDArray[np.float32]] = []
    names: Names | None = manifest.feature_names
    for channel in (job.channels[name] for name in ("validation", "train") if name in job.channels):
        tables = iterate_channel(
            channel.path,
            channel.content_type,
            settings.load().input_format,
            bool(manifest.hyperparameters.get("csv_weights")),
            manifest.num_columns,
            manifest.index_base,
            manifest.feature_names,
            strings,
        )
        for table in tables:
            blocks.append(dense(table.features, manifest.num_columns))
            names = names or table.names
            if sum(map(len, blocks)) >= count:
                break
        if blocks:
            break
    if not blocks:
        raise FileNotFoundError(f"no rows below {folder / 'input/data'}: make sample")
    return Table(np.concatenate(blocks)[:count], names=names)


def dense(features: Any, width: int | None) -> NDArray[np.float32]:
    """Return a block of rows, dense or sparse, as float32 [rows, columns], NaN where missing."""
    if isinstance(features, np.ndarray):
        return features.astype(np.float32)
    rows = np.full((features.shape[0], width or features.shape[1]), np.nan, np.float32)
    cells = features.tocoo()
    rows[cells.row, cells.col] = cells.data
    return rows


def request(folder: Path, rows: NDArray[np.float32], names: Names, format: str) -> bytes:
    """Return the body of a request with these rows to the model of `folder`."""
    if format == "npy":
        body = io.BytesIO()
        np.save(body, rows)
        return body.getvalue()
    if format == "libsvm":
        base = read_manifest(folder / "model").index_base or 0
        return make_sample.write_libsvm(rows, None, list(names), base)
    cells: NDArray[Any] = rows
    if format in HOLD_STRINGS and (categories := categories_of(folder)):
        cells = with_values(rows, categories)
    return make_sample.WRITERS[format](cells, None, list(names))


def with_values(rows: NDArray[np.float32], categories: Categories) -> NDArray[Any]:
    """Return rows, as objects, with the values of categories in place of their codes."""
    cells = rows.astype(object)
    for column, values in categories.values.items():
        given = ~np.isnan(rows[:, column])
        cells[given, column] = [values[int(code)] for code in rows[given, column]]
    return cells


def post(url: str, body: bytes, content_type: str) -> str:
    """Post a request to the server at `url`; return its answer, or what kept it from answering."""
    headers = {"Content-Type": content_type}
    call = urllib.request.Request(f"{url}/invocations", body, headers)
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return str(answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as refusal:
        text = refusal.read().decode(errors="replace")
        raise SystemExit(f"error: status {refusal.code}: {text}") from None
    except OSError as problem:
        raise SystemExit(f"error: no server at {url} ({problem}): make serve") from None


def main() -> None:
    """Write the request that the command line asks for to stdout, or post it."""
    parser = argparse.ArgumentParser(
        prog="python -m sample.own", description="write rows of the project's data as a request"
    )
    parser.add_argument("folder", type=Path, help="an /opt/ml tree with data and a model")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--format", default="csv", choices=CONTENT_TYPES)
    parser.add_argument("--post", metavar="URL", help="post it to this server, print the answer")
    options = parser.parse_args()
    try:
        rows, names = read_rows(options.folder, options.rows)
    except FileNotFoundError as problem:
        raise SystemExit(f"error: {problem}") from None
    body = request(options.folder, rows, names, options.format)
    if options.post:
        sys.stdout.write(post(options.post, body, CONTENT_TYPES[options.format]))
    else:
        sys.stdout.buffer.write(body)


if __name__ == "__main__":
    main()
