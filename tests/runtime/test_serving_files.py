"""Which files of a model folder answer: those of training, or whatever else is a model."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.preprocessing import StandardScaler

import settings
from conftest import sample_rows, to_csv, train
from predictor import create_app
from runtime.job.paths import Paths

ROWS = sample_rows(20, seed=3)
SIDE_FILES = {
    "model_metrics.json": b'{"rmse": 0.1, "learning": [1, 2]}',
    "model_features.txt": b"age\nincome\n",
    "Model-card.md": b"# A model\n",
    "model_scaler.pkl": pickle.dumps(StandardScaler()),
    "model.onnx": b"\x08\x09\x12\x07",
    "model.zip": b"PK\x03\x04",
}


@pytest.fixture(scope="module")
def boosters() -> list[xgboost.Booster]:
    return [train("reg:squarederror", seed=seed) for seed in (1, 2, 3)]


def application(folder: Path, **options: Any) -> Any:
    """Return the application that serves `folder`/model."""
    config = settings.load({"NUM_CLASSES": "1", "INPUT_FORMAT": "csv", "ALLOW_PICKLE": "true"})
    return create_app(dataclasses.replace(config, **options), Paths(folder))


def check(app: Any, *boosters: xgboost.Booster) -> None:
    """Compare the answer with the mean of what XGBoost answers."""
    answer = app.test_client().post("/invocations", data=to_csv(ROWS), content_type="text/csv")
    assert answer.status_code == 200, answer.data
    expected = np.mean([booster.predict(xgboost.DMatrix(ROWS)) for booster in boosters], axis=0)
    found = [float(line) for line in answer.data.decode().splitlines()]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def write(folder: Path, **files: bytes | xgboost.Booster) -> None:
    """Write files into `folder`/model; a Booster in UBJSON."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else bytes(content.save_raw("ubj"))
        (folder / "model" / name).write_bytes(data)


def test_the_file_of_training_wins_over_others_that_have_model_in_their_names(
    opt_ml: Path, boosters: list[xgboost.Booster], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = boosters
    write(opt_ml, **SIDE_FILES, **{"xgboost-model": first, "a-model.ubj": second})
    check(application(opt_ml), first)
    assert not [record for record in caplog.records if "left out" in record.message]


@pytest.mark.parametrize("ensemble", [True, False])
def test_files_that_are_not_models_are_left_out_with_a_warning(
    opt_ml: Path,
    boosters: list[xgboost.Booster],
    caplog: pytest.LogCaptureFixture,
    ensemble: bool,
) -> None:
    first, second, _ = boosters
    write(opt_ml, **SIDE_FILES, **{"my-model.ubj": first, "other-model.ubj": second})
    app = application(opt_ml, inference_ensemble=ensemble)
    check(app, *((first, second) if ensemble else (first,)))
    warned = {
        name
        for record in caplog.records
        for name in SIDE_FILES
        if record.levelno == logging.WARNING
        and record.message.startswith("left out")
        and f"/{name}: found" in record.message
    }
    assert warned == (set(SIDE_FILES) if ensemble else {"Model-card.md", "model.onnx"} | warned)


def test_folds_answer_together_beside_files_of_other_names(
    opt_ml: Path, boosters: list[xgboost.Booster]
) -> None:
    names = ("xgboost-model-0", "xgboost-model-1", "xgboost-model-10")
    write(opt_ml, **SIDE_FILES, **dict(zip(names, boosters, strict=True)))
    write(opt_ml, **{"xgboost-model.bak": b"junk", "xgboost-model-0.json": b"{}"})
    check(application(opt_ml), *boosters)


@pytest.mark.parametrize("content", [b"", b"junk", b"{}", b'{"learner": 1', b"binf"])
def test_a_fold_that_cannot_be_read_is_never_left_out(
    opt_ml: Path, boosters: list[xgboost.Booster], content: bytes
) -> None:
    write(opt_ml, **{"xgboost-model-0": boosters[0], "xgboost-model-1": content})
    assert "xgboost-model-1: " in application(opt_ml).extensions["scoring"].failure


@pytest.mark.parametrize("content", [b"", b'{"learner": 1', b"binf"])
def test_a_model_that_cannot_be_read_is_never_left_out(
    opt_ml: Path, boosters: list[xgboost.Booster], content: bytes
) -> None:
    write(opt_ml, **{"model-a": boosters[0], "model-b": content})
    failure = application(opt_ml).extensions["scoring"].failure
    assert "model-b: " in failure
    assert failure.endswith("or give the one file that shall answer the name xgboost-model")


def test_a_folder_without_a_model_is_refused_by_its_first_file(opt_ml: Path) -> None:
    write(opt_ml, **{"model_metrics.json": json.dumps({"rmse": 1}).encode()})
    failure = application(opt_ml).extensions["scoring"].failure
    assert "model_metrics.json: found a truncated, damaged or foreign file" in failure


def test_notes_with_model_in_their_names_do_not_shut_out_the_model(
    opt_ml: Path, boosters: list[xgboost.Booster]
) -> None:
    write(opt_ml, **SIDE_FILES, **{"booster.ubj": boosters[0]})
    check(application(opt_ml), boosters[0])
