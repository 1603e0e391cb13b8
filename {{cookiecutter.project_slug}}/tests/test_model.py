"""The owner's model on the owner's data: the one in ml/, or, while there is none, a sample's.

The golden answer guards a model that is in use against new packages and edited code: `make golden`
records it, and it holds for that very model file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xgboost

import settings
import smoke_test
from predictor import create_app
from runtime.job.artifact import MODEL_FILE, PARITY_FILE
from runtime.job.paths import Paths
from sample import expected, own

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).with_name("golden.json")
ROWS, GOLDEN_ROWS = 200, 5
GOLDEN_TOLERANCE = 1e-4  # new packages may round otherwise; an answer that moved is further off

Ask = Callable[[bytes, str], list[object]]


@pytest.fixture(scope="module")
def ml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The /opt/ml tree under test."""
    folder = Path(os.environ.get("ML") or ROOT / "ml")
    return own.model_folder(folder, tmp_path_factory.mktemp("ml"))


@pytest.fixture(scope="module")
def rows(ml: Path) -> tuple[np.ndarray, own.Names]:
    """Rows of the data, and the names of their columns."""
    try:
        return own.read_rows(ml, ROWS)
    except FileNotFoundError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def ask(ml: Path) -> Ask:
    """Post a body to the application that the container serves; return the scores."""
    chosen = dataclasses.replace(settings.load(), inference_output=())
    client = create_app(chosen, Paths(ml)).test_client()

    def post(body: bytes, content_type: str) -> list[object]:
        headers = {"Accept": "text/csv"}
        answer = client.post("/invocations", data=body, content_type=content_type, headers=headers)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return smoke_test.scores("text/csv", answer.get_data())

    return post


def apart(found: list[object], truth: list[object]) -> float:
    assert len(found) == len(truth)
    return max(map(smoke_test.distance, found, truth))


@pytest.mark.parametrize("format", own.CONTENT_TYPES)
def test_a_request_in_each_format_gets_xgboosts_own_answers(
    ml: Path, rows: tuple[np.ndarray, own.Names], ask: Ask, format: str
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    body = own.request(ml, *rows, format)
    truth = expected.answers(ml, rows[0]).tolist()
    assert apart(ask(body, own.CONTENT_TYPES[format]), truth) <= smoke_test.TOLERANCE


def test_training_compared_the_engines_and_reported_it(ml: Path) -> None:
    report = ml / "model" / PARITY_FILE
    if not report.is_file():
        pytest.skip(f"{ml / 'model'} is from elsewhere: it has no {PARITY_FILE}")
    engine = json.loads(report.read_text(encoding="utf-8"))["engine"]
    assert set(engine.split("+")) <= {"onedal", "xgboost"}


def test_the_golden_answer_holds(ml: Path, rows: tuple[np.ndarray, own.Names], ask: Ask) -> None:
    digest = hashlib.sha256((ml / "model" / MODEL_FILE).read_bytes()).hexdigest()
    if os.environ.get("GOLDEN") == "write":
        request = own.request(ml, rows[0][:GOLDEN_ROWS], rows[1], "csv").decode()
        answer = ask(request.encode(), "text/csv")
        record = {"model": digest, "request": request, "answer": answer}
        versions = {"xgboost": xgboost.__version__}
        GOLDEN.write_text(json.dumps({**record, "written with": versions}, indent=2) + "\n")
    if not GOLDEN.is_file():
        pytest.skip("there is no golden answer yet: make golden")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if golden["model"] != digest:
        pytest.skip("the golden answer is of another model: make golden")
    assert apart(ask(golden["request"].encode(), "text/csv"), golden["answer"]) <= GOLDEN_TOLERANCE
