"""The sample data: real, in every format the same numbers, and readable by others' programs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xgboost
from sklearn import datasets

import settings
from conftest import Server
from locations import PROJECT
from runtime import formats
from runtime.formats import Schema, read_channel
from sample import expected, make_sample
from training_job import Job

FORMATS = settings.FORMATS


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, format: str, classes: int) -> Path:
    monkeypatch.setenv("INPUT_FORMAT", format)
    monkeypatch.setenv("NUM_CLASSES", str(classes))
    monkeypatch.setattr("sys.argv", ["make_sample.py", str(folder)])
    make_sample.main()
    return folder


@pytest.mark.parametrize(
    ("classes", "source", "rows", "columns"),
    [
        (1, "diabetes", 442, 10),
        (2, "breast_cancer", 569, 30),
        (3, "wine", 178, 13),
        (4, "digits", 720, 64),
        (10, "digits", 1797, 64),
        (11, "generated", 440, 20),
    ],
)
def test_each_number_of_classes_has_its_data_set(
    classes: int, source: str, rows: int, columns: int
) -> None:
    name, values, labels, features, names = make_sample.load(classes)
    assert name == source
    assert values.shape == (rows, columns) == (len(labels), len(features))
    assert values.dtype == np.float32
    if classes > 1:
        assert sorted(set(labels)) == list(range(classes))
        assert len(names) == classes


@pytest.mark.parametrize("format", FORMATS)
def test_channels_hold_the_same_table_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    make(tmp_path, monkeypatch, format, 3)
    data = tmp_path / "input" / "data"
    content_type = make_sample.CONTENT_TYPES[format]
    train = read_channel(data / "train", content_type, format)
    validation = read_channel(data / "validation", content_type, format, num_features=13)
    _, values, labels, _, _ = make_sample.load(3)
    assert len(train) + len(validation) == len(values)
    assert train.labels is not None
    assert validation.labels is not None
    assert sorted([*train.labels, *validation.labels]) == sorted(labels.astype(np.float32))
    known = {row.tobytes() for row in values}
    kept = validation.features
    rows = kept.toarray() if hasattr(kept, "toarray") else kept
    assert {np.ascontiguousarray(row, dtype=np.float32).tobytes() for row in rows} <= known


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("format", FORMATS)
def test_training_takes_the_sample_of_every_class_count_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, classes: int
) -> None:
    config = make(tmp_path, monkeypatch, format, classes) / "input/config"
    given = json.loads((config / "hyperparameters.json").read_text())
    channels = json.loads((config / "inputdataconfig.json").read_text())
    small = {"num_round": "2", "max_depth": "2", "nthread": "1"}
    job = Job(tmp_path, given | small, channels)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    names = {1: "reg:squarederror", 2: "binary:logistic"}
    assert job.output("manifest.json")["objective"] == names.get(classes, "multi:softprob")
    assert job.booster().num_features() == make_sample.load(classes)[1].shape[1]


@pytest.mark.parametrize("format", FORMATS)
def test_requests_carry_exactly_the_rows_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    folder = make(tmp_path, monkeypatch, format, 2) / "sample"
    index = json.loads((folder / "payloads.json").read_text())
    assert {entry["content_type"] for entry in index} == {
        make_sample.CONTENT_TYPES[kind] for kind in (format, "csv", "json")
    }
    for entry in index:
        truth = np.load(folder / f"{entry['rows']}.npy")
        schema = Schema(30, tuple(make_sample.load(2)[3]), index_base=1)
        body = (folder / entry["file"]).read_bytes()
        rows = formats.decode(body, entry["content_type"], schema, format)
        np.testing.assert_array_equal(rows.values, truth, err_msg=entry["file"])


def test_some_cells_are_missing_in_training_and_in_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, monkeypatch, "csv", 2)
    table = read_channel(tmp_path / "input" / "data" / "train", "text/csv", "csv")
    assert 0.005 < np.isnan(np.asarray(table.features)).mean() < 0.05
    assert np.isnan(np.load(tmp_path / "sample" / "missing_values.npy")).any(axis=1).all()
    assert not np.isnan(np.load(tmp_path / "sample" / "many_rows.npy")).any()


def test_libsvm_is_what_scikit_learn_reads(tmp_path: Path) -> None:
    _, values, labels, names, _ = make_sample.load(3)
    file = tmp_path / "all.libsvm"
    file.write_bytes(make_sample.write_libsvm(values, labels, names))
    features, targets = datasets.load_svmlight_file(str(file), zero_based=False)
    np.testing.assert_array_equal(features.toarray().astype(np.float32), values)
    np.testing.assert_array_equal(targets, labels)


def test_hyperparameters_are_strings_and_the_model_stays_small() -> None:
    for classes in (1, 2, 3, 10, 200):
        chosen = make_sample.hyperparameters(classes, [])
        assert all(isinstance(value, str) for value in chosen.values())
        assert int(chosen["num_round"]) * classes <= 400


def test_the_same_sample_is_made_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, monkeypatch, "csv", 3)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.csv")]
    assert files
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_expected_answers_are_xgboosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xgboost

    rows = np.array([[1.0], [2.0], [np.nan], [4.0]], np.float32)
    booster = xgboost.train(
        {"objective": "reg:squarederror", "nthread": 1}, xgboost.DMatrix(rows, [1, 2, 3, 4]), 3
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "sample").mkdir()
    (tmp_path / "model" / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    np.save(tmp_path / "sample" / "rows.npy", rows)
    monkeypatch.setattr("sys.argv", ["expected.py", str(tmp_path)])
    expected.main()
    found = json.loads((tmp_path / "sample" / "expected.json").read_text())
    assert found == {"rows": booster.predict(xgboost.DMatrix(rows)).tolist()}


def test_make_invoke_posts_a_row_to_the_served_model(
    launch: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make(tmp_path / "ml", monkeypatch, "csv", 2)
    (base / "model").mkdir(exist_ok=True)
    (base / "input/config/hyperparameters.json").write_text('{"num_round": "3"}')
    monkeypatch.setenv("ACCELERATION", "off")
    done = subprocess.run(
        [sys.executable, PROJECT / "program/train"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base), "PYTHONPATH": str(PROJECT / "program")},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    server = launch(base)
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "ready").touch()
    programs = shlex.quote(str(Path(sys.executable).parent))
    words = ["make", "invoke", f"VENV={venv}", f"BIN={programs}", f"ML={base}"]
    words += [f"PORT={server.port}", "ARGS=--rows 3"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = read_channel(base / "input/data/validation", "text/csv", "csv")
    booster = xgboost.Booster(model_file=base / "model/xgboost-model")
    rows = xgboost.DMatrix(table.features[:3], nthread=1)
    expected = booster.predict(rows, validate_features=False)
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], expected, rtol=1e-6)
    server.stop()
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: no server at http://localhost" in done.stderr
