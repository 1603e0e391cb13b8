"""Where libsvm's column numbers start in requests to a model that does not record it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xgboost

import settings
from predictor import load_model
from runtime import formats
from runtime.formats.errors import ColumnsError
from runtime.inference.models import Model
from runtime.job import artifact

pytestmark = pytest.mark.usefixtures("quick_choice")

COLUMNS = 8
ROWS = np.random.default_rng(3).normal(size=(40, COLUMNS)).round(3).astype(np.float32)
LABELS = ROWS @ np.arange(COLUMNS, 0, -1).astype(np.float32)


def trained(rows: np.ndarray, booster: str = "gbtree") -> xgboost.Booster:
    parameters = {"booster": booster, "nthread": 1, "max_depth": 3}
    return xgboost.train(parameters, xgboost.DMatrix(rows, LABELS), 20)


def body_of(rows: np.ndarray, base: int, columns: int = COLUMNS) -> bytes:
    lines = (
        " ".join(["0", *(f"{i + base}:{cell!s}" for i, cell in enumerate(row[:columns]))])
        for row in rows.tolist()
    )
    return "\n".join(lines).encode()


def load(
    folder: Path, model: xgboost.Booster, manifest: artifact.Manifest | None = None, **environ: str
) -> Model:
    model.save_model(folder / "xgboost-model.ubj")
    if manifest:
        manifest.save(folder)
    return load_model(folder, settings.load({"NUM_CLASSES": "1", "INPUT_FORMAT": "csv"} | environ))


def ask(model: Model, body: bytes) -> np.ndarray:
    return model.predict(model.features(formats.decode(body, "text/libsvm", model.schema, "csv")))


def same(found: np.ndarray, booster: xgboost.Booster, rows: np.ndarray) -> None:
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(rows)), rtol=1e-6)


@pytest.mark.parametrize("booster", ["gbtree", "gblinear", "dart"])
@pytest.mark.parametrize("base", [0, 1])
def test_a_request_that_shows_its_base_is_read_by_it(
    tmp_path: Path, base: int, booster: str
) -> None:
    truth = trained(ROWS, booster)
    model = load(tmp_path, truth)
    same(ask(model, body_of(ROWS, base)), truth, ROWS)
    # One row of many shows it for all.
    sparse = (
        body_of(ROWS[:1], base)
        + b"\n"
        + body_of(ROWS[1:], base).replace(f" {base}:".encode(), b" #")
    )
    expected = np.full_like(ROWS, np.nan)
    expected[0] = ROWS[0]
    same(ask(model, sparse), truth, expected)


def test_a_request_that_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model = load(tmp_path, trained(ROWS))
    assert "others are refused until LIBSVM_INDEX_BASE is set" in caplog.text
    with pytest.raises(ColumnsError, match=r"column 2 of .* start at 0, column 1 if") as caught:
        ask(model, body_of(ROWS, 1, COLUMNS - 1))
    assert "set LIBSVM_INDEX_BASE to 0 or 1" in caught.value.message
    with pytest.raises(ColumnsError, match="index 9 is not one of the model's, 1 to 8"):
        ask(model, b"1 1:2 9:3")
    with pytest.raises(ColumnsError, match="index 8 is not one of the model's, 0 to 7"):
        ask(model, b"1 0:2 8:3")
    nothing = ask(model, b"1\n0")
    same(nothing, trained(ROWS), np.full((2, COLUMNS), np.nan, np.float32))


@pytest.mark.parametrize("base", ["0", "1"])
def test_the_setting_decides_where_it_is_set(
    tmp_path: Path, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    truth = trained(ROWS)
    model = load(tmp_path, truth, LIBSVM_INDEX_BASE=base)
    assert f"column numbers start at {base}" in caplog.text
    rows = ROWS.copy()
    rows[:, -1] = np.nan
    same(ask(model, body_of(ROWS, int(base), COLUMNS - 1)), truth, rows)


def test_a_model_that_never_splits_on_column_0_reads_requests_as_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The built-in algorithm trains 1-based files so: a column 0 that is always missing."""
    caplog.set_level("INFO")
    rows = np.column_stack([np.full(len(ROWS), np.nan, np.float32), ROWS])
    truth = trained(rows)
    model = load(tmp_path, truth)
    assert "no tree uses column 0" in caplog.text
    same(ask(model, body_of(ROWS, 1)), truth, rows)
    rows[:, -1] = np.nan
    same(ask(model, body_of(ROWS, 1, COLUMNS - 1)), truth, rows)


@pytest.mark.parametrize(("recorded", "base"), [(1, 1), (0, 0), (None, 0)])
def test_a_manifest_decides_before_the_setting(
    tmp_path: Path, recorded: int | None, base: int
) -> None:
    truth = trained(ROWS)
    manifest = dataclasses.replace(
        artifact.Manifest(objective="reg:squarederror"), index_base=recorded
    )
    model = load(tmp_path, truth, manifest)
    rows = ROWS.copy()
    rows[:, -1] = np.nan
    same(ask(model, body_of(ROWS, base, COLUMNS - 1)), truth, rows)


def test_names_in_the_model_do_not_hide_column_0(tmp_path: Path) -> None:
    data = xgboost.DMatrix(ROWS, LABELS, feature_names=[f"c{i}" for i in range(COLUMNS)])
    model = load(tmp_path, xgboost.train({"nthread": 1}, data, 5))
    assert model.schema.uses_first_column
