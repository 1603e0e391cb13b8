"""A model file is loaded, or one line says what it is instead and what is supported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xgboost

from acceleration_models import Recipe, train
from runtime import acceleration
from runtime.acceleration import boosters

BINARY = Recipe("", {"objective": "binary:logistic"}, "binary")


@pytest.fixture(scope="module")
def trained() -> tuple[xgboost.Booster, np.ndarray]:
    return train(BINARY)


def fault(path: Path, data: bytes, **options: bool) -> str:
    """Return the message that loading `data` ends with."""
    path.write_bytes(data)
    with pytest.raises(acceleration.ModelFileError) as caught:
        acceleration.load_booster(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_both_forms_of_xgboost_are_loaded_whatever_the_file_is_called(
    tmp_path: Path, trained: tuple[xgboost.Booster, np.ndarray], form: str
) -> None:
    booster, rows = trained
    path = tmp_path / "xgboost-model"
    path.write_bytes(booster.save_raw(form))
    loaded = acceleration.load_booster(path)
    matrix = xgboost.DMatrix(rows)
    np.testing.assert_array_equal(loaded.predict(matrix), booster.predict(matrix))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"tree\nversion=v4\nnum_class=1\n", "found a LightGBM text model"),
        (b"CBM1" + bytes(50), "found a CatBoost model"),
        (b"\x1f\x8b\x08" + bytes(50), "found a gzip archive: unpack it"),
        (b"PK\x03\x04" + bytes(50), "found a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "found XML"),
        (b"\x00\x01\x02junk", "found no known format"),
        (b'{"name": "something else"}', "found a truncated, damaged or foreign file"),
        (b"{L", "found a truncated, damaged or foreign file"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    message = fault(tmp_path / "m", data)
    assert message.startswith(words)
    assert "supported: XGBoost models saved as UBJSON or JSON" in message


@pytest.mark.parametrize("form", ["ubj", "json"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_model_is_called_that(
    tmp_path: Path, trained: tuple[xgboost.Booster, np.ndarray], form: str, share: float
) -> None:
    data = bytes(trained[0].save_raw(form))
    for length in (max(1, int(len(data) * share)), len(data) - 1, len(data) - 2):
        message = fault(tmp_path / "m", data[:length])
        assert message.startswith("found a truncated, damaged or foreign file")


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_a_model_of_a_newer_xgboost_is_refused_with_both_versions(
    tmp_path: Path, trained: tuple[xgboost.Booster, np.ndarray], form: str
) -> None:
    major, minor, patch = (int(part) for part in xgboost.__version__.split("."))
    data = bytes(trained[0].save_raw(form))
    if form == "json":
        here, newer = (f"[{major},{n},{patch}]".encode() for n in (minor, minor + 1))
    else:
        here, newer = (bytes([ord("i"), major, ord("i"), n]) for n in (minor, minor + 1))
    head, _, tail = data.rpartition(here)
    message = fault(tmp_path / "m", head + newer + tail)
    assert message.startswith(f"found a model of XGBoost {major}.{minor + 1}; this image has ")
    assert xgboost.__version__ in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"binf" + bytes(200), "found XGBoost's old binary format"),
        (b"CONFIG-offset:" + bytes(200), "found XGBoost's old serialised form"),
        (
            bytes([0, 0, 0, 63, 5]) + bytes(131) + b"\x0f" + bytes(7) + b"binary:logistic",
            "found a binary file of XGBoost before 1.1",
        ),
    ],
)
def test_old_forms_of_xgboost_are_named_with_the_way_to_convert_them(
    tmp_path: Path, data: bytes, words: str
) -> None:
    message = fault(tmp_path / "m", data)
    assert message.startswith(words)
    assert "XGBoost 1.7.6" in message
    assert "save_model('xgboost-model.json')" in message


@pytest.mark.parametrize("place", ["start", "end"])
def test_the_version_is_found_at_either_end_of_a_json_model(
    tmp_path: Path, trained: tuple[xgboost.Booster, np.ndarray], place: str
) -> None:
    model = json.loads(bytes(trained[0].save_raw("json")))
    model = {"learner": model["learner"]} | {"version": [99, 1, 0]}
    text = json.dumps(model if place == "end" else dict(reversed(model.items())), indent=2)
    assert fault(tmp_path / "m", text.encode()).startswith("found a model of XGBoost 99.1; ")


def test_a_folder_or_an_absent_file_is_said_to_be_that(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(acceleration.ModelFileError, match="cannot be read"):
            acceleration.load_booster(path)


def test_the_version_is_not_guessed_where_there_is_none() -> None:
    assert boosters._version(b'"learner":{}}') is None
    assert boosters._version(b"version[") is None
    assert boosters._version(b'"version":[1,7,6]}') == (1, 7)
