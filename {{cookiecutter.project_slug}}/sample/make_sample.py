"""Write sample data: an /opt/ml tree to train on, and requests to send to what it trains.

    python sample/make_sample.py FOLDER

The data sets ship inside scikit-learn, one for each number of classes; format and number of classes
are the project's settings. The writers share no code with the program, so that a fault of the
program's readers shows. FOLDER/sample/payloads.json lists the requests; the .npy files beside it
hold the very rows that each request carries, float32 with NaN where a value is missing.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

import settings

SEED = 7
MISSING = 0.02  # share of the training cells that are blanked, so that trees learn a way for them
MANY = 40  # rows of the larger requests
CONTENT_TYPES = {
    "csv": "text/csv",
    "libsvm": "text/libsvm",
    "parquet": "application/x-parquet",
    "recordio-protobuf": "application/x-recordio-protobuf",
    "jsonlines": "application/jsonlines",
    "json": "application/json",
}
Names = list[str]


def load(num_classes: int) -> tuple[str, Any, Any, Names, Names]:
    """Return name, rows float32 [n, m], labels [n], names of features, names of classes."""
    if num_classes > 10:
        values, labels = datasets.make_classification(
            n_samples=40 * num_classes,
            n_features=20,
            n_informative=15,
            n_classes=num_classes,
            n_clusters_per_class=1,
            random_state=SEED,
        )
        features, classes = _numbered("feature", 20), _numbered("class", num_classes)
        return "generated", values.astype(np.float32), labels, features, classes
    source = {1: "diabetes", 2: "breast_cancer", 3: "wine"}.get(num_classes, "digits")
    data = getattr(datasets, f"load_{source}")()
    keep = data.target < num_classes if source == "digits" else slice(None)
    classes = [str(name) for name in data.get("target_names", [])][:num_classes]
    features = [name.replace(" ", "_") for name in data.feature_names]
    return source, data.data[keep].astype(np.float32), data.target[keep], features, classes


def _numbered(word: str, count: int) -> Names:
    return [f"{word}_{number}" for number in range(count)]


def _text(value: float | str) -> str:
    """Return `value` with the nine digits that give the same float32 back; nothing for NaN; a
    string in quotes."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if np.isnan(value) else format(float(value), ".9g")


def _json_row(row: Any) -> list[float | str | None]:
    return [_json_cell(value) for value in row]


def _json_cell(value: float | str) -> float | str | None:
    if isinstance(value, str):
        return value
    return None if np.isnan(value) else float(_text(value))


def write_csv(values: Any, labels: Any, names: Names) -> bytes:
    """Return CSV without a header, the label first."""
    rows = values if labels is None else np.column_stack([labels, values])
    return "".join(",".join(map(_text, row)) + "\n" for row in rows).encode()


def write_libsvm(values: Any, labels: Any, names: Names, base: int = 1) -> bytes:
    """Return LIBSVM with columns counted from `base`; missing values are left out."""
    lines = []
    for number, row in enumerate(values):
        cells = [f"{i}:{_text(cell)}" for i, cell in enumerate(row, base) if not np.isnan(cell)]
        lines.append(" ".join(["0" if labels is None else _text(labels[number]), *cells]))
    return ("\n".join(lines) + "\n").encode()


def write_json(values: Any, labels: Any, names: Names) -> bytes:
    """Return the JSON of a request."""
    return json.dumps({"instances": [{"features": _json_row(row)} for row in values]}).encode()


def write_jsonlines(values: Any, labels: Any, names: Names) -> bytes:
    """Return one JSON object per line, with its label when there is one."""
    lines = []
    for number, row in enumerate(values):
        label = {} if labels is None else {"label": float(labels[number])}
        lines.append(json.dumps({**label, "features": _json_row(row)}) + "\n")
    return "".join(lines).encode()


def write_parquet(values: Any, labels: Any, names: Names) -> bytes:
    """Return a Parquet file, the label in the first column; missing values are nulls."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {} if labels is None else {"label": pa.array(labels)}
    for name, column in zip(names, values.T, strict=True):
        cells = column.tolist() if column.dtype == object else column  # strings, or a category
        columns[name] = pa.array(cells, from_pandas=True)
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


def write_recordio(values: Any, labels: Any, names: Names) -> bytes:
    """Return RecordIO-protobuf with dense float32 features, made by hand from its definition.

    Source: https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html
    """
    records = []
    for number, row in enumerate(values):
        record = _entry(1, row)
        if labels is not None:
            record += _entry(2, np.array([labels[number]]))
        padding = b"\0" * (-len(record) % 4)
        records.append(struct.pack("<II", 0xCED7230A, len(record)) + record + padding)
    return b"".join(records)


def _entry(field: int, numbers: Any) -> bytes:
    """Return `map<string, Value> field = {"values": Value(float32_tensor=numbers)}`."""
    tensor = _message(1, numbers.astype("<f4").tobytes())
    return _message(field, _message(1, b"values") + _message(2, _message(2, tensor)))


def _message(field: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


WRITERS: dict[str, Callable[[Any, Any, Names], bytes]] = {
    "csv": write_csv,
    "libsvm": write_libsvm,
    "parquet": write_parquet,
    "recordio-protobuf": write_recordio,
    "jsonlines": write_jsonlines,
    "json": write_json,
}


def hyperparameters(num_classes: int, classes: Names) -> dict[str, str]:
    """Return hyperparameters as SageMaker passes them: strings. Some 400 trees at most."""
    chosen = {"num_round": max(2, min(50, 400 // num_classes)), "max_depth": 4, "eta": 0.3}
    texts = {key: str(value) for key, value in chosen.items()}
    return {**texts, "label_names": ",".join(classes)} if classes else texts


def write_job(folder: Path, format: str, parts: dict[str, bytes], chosen: dict[str, str]) -> None:
    """Write channels (a file each, by path below input/data) and the job's configuration."""
    for name, content in parts.items():
        file = folder / "input" / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    channel = {
        "ContentType": CONTENT_TYPES[format],
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    config = folder / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    documents = {
        "hyperparameters": chosen,
        "inputdataconfig": {"train": channel, "validation": channel},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]},
    }
    for name, document in documents.items():
        (config / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def write_payloads(folder: Path, format: str, rows: dict[str, Any], names: Names) -> None:
    """Write each set of rows as .npy, and as a request in the format, in CSV and in JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for name, values in rows.items():
        np.save(folder / f"{name}.npy", values)
        for kind in dict.fromkeys([format, "csv", "json"]):
            file = folder / f"{name}.{kind}"
            file.write_bytes(WRITERS[kind](values, None, names))
            entry = {"file": file.name, "rows": name, "content_type": CONTENT_TYPES[kind]}
            index.append(entry)
    (folder / "payloads.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    """Write everything below the folder that the command line names."""
    parser = argparse.ArgumentParser(description="write sample data and requests")
    parser.add_argument("folder", type=Path, help="where: becomes an /opt/ml tree")
    folder = parser.parse_args().folder
    config = settings.load()
    name, values, labels, features, classes = load(config.num_classes)
    known, fresh, known_labels, fresh_labels = train_test_split(
        values,
        labels,
        test_size=0.2,
        random_state=SEED,
        stratify=labels if config.num_classes > 1 else None,
    )
    random = np.random.default_rng(SEED)
    known = np.where(random.random(known.shape) < MISSING, np.float32(np.nan), known)
    write, half = WRITERS[config.input_format], len(known) // 2
    parts = {
        f"train/part-0.{config.input_format}": write(known[:half], known_labels[:half], features),
        f"train/more/part-1.{config.input_format}": write(
            known[half:], known_labels[half:], features
        ),
        f"validation/part-0.{config.input_format}": write(fresh, fresh_labels, features),
    }
    write_job(folder, config.input_format, parts, hyperparameters(config.num_classes, classes))
    many = fresh[:MANY]
    holes = np.where(random.random(many.shape) < 0.3, np.float32(np.nan), many)
    rows = {"one_row": fresh[:1], "many_rows": many, "missing_values": holes}
    write_payloads(folder / "sample", config.input_format, rows, features)
    classes_text = f"{config.num_classes} classes" if config.num_classes > 1 else "regression"
    print(f"{name}, {classes_text}, {len(values)} rows x {len(features)} features")


if __name__ == "__main__":
    main()
