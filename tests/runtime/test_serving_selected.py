"""Selected outputs and Parquet, black box over HTTP, against numbers of XGBoost itself."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xgboost

import settings
from conftest import PARAMETERS, Server, sample_rows, save, to_csv
from test_serving_contract import ANSWERS

ROWS = sample_rows(20, seed=5)
KINDS = {
    "binary": "binary:logistic",
    "multi-class": "multi:softprob",
    "regression": "reg:squarederror",
    "ranking": "rank:ndcg",
    "poisson": "count:poisson",
    "survival": "survival:cox",
}
# A kind is a server of its own; test_serving_outputs.py tries all of them in one process.
CHOSEN = list(KINDS) if os.environ.get("CONTRACT_IMAGE") else ["multi-class"]
Columns = dict[str, Any]


def of_binary(scores: np.ndarray) -> Columns:
    both = np.column_stack([1 - scores, scores])
    return {
        "predicted_label": scores > 0.5,
        "labels": np.tile([0, 1], (len(scores), 1)),
        "probability": scores,
        "probabilities": both,
        "raw_score": scores,
        "raw_scores": both,
    }


def of_classes(scores: np.ndarray) -> Columns:
    return {
        "predicted_label": scores.argmax(axis=1),
        "labels": np.tile(np.arange(scores.shape[1]), (len(scores), 1)),
        "probability": scores.max(axis=1),
        "probabilities": scores,
        "raw_score": scores.max(axis=1),
        "raw_scores": scores,
    }


def expected(kind: str, booster: xgboost.Booster) -> Columns:
    """Return what each key must hold; a key that is absent here must be null."""
    matrix = xgboost.DMatrix(ROWS)
    scores = booster.predict(matrix)
    known: dict[str, Callable[[np.ndarray], Columns]] = {
        "binary": of_binary,
        "multi-class": of_classes,
    }
    columns = known.get(kind, lambda values: {"predicted_score": values})(scores)
    shares = booster.predict(matrix, pred_contribs=True)
    return columns | {"contributions": shares.reshape(len(ROWS), -1)}


@pytest.fixture(scope="module", params=CHOSEN)
def selected(
    request: pytest.FixtureRequest, launch, booster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, Columns]:
    """A server that answers with every key, for one kind of model, and what it must answer."""
    base = tmp_path_factory.mktemp("opt_ml")
    model = booster(KINDS[request.param])
    save(model, base / "model")
    keys = ",".join(settings.OUTPUT_KEYS)
    server = launch(base, SAGEMAKER_INFERENCE_OUTPUT=keys, WEB_CONCURRENCY="1")
    return server, expected(request.param, model)


def test_every_kind_is_trained_by_the_fixtures() -> None:
    assert set(KINDS.values()) <= set(PARAMETERS)


@pytest.mark.parametrize("accept", ["application/json", "application/jsonlines"])
def test_every_key_holds_what_xgboost_computes(
    selected: tuple[Server, Columns], accept: str
) -> None:
    server, columns = selected
    answer = server.post(to_csv(ROWS), "text/csv", Accept=accept)
    assert answer.status == 200, answer.body
    if accept == "application/json":
        rows = json.loads(answer.body)["predictions"]
    else:
        rows = [json.loads(line) for line in answer.body.splitlines()]
    assert [list(row) for row in rows] == [list(settings.OUTPUT_KEYS)] * len(ROWS)
    for key in settings.OUTPUT_KEYS:
        found = [row[key] for row in rows]
        if key in columns:
            np.testing.assert_allclose(found, columns[key], rtol=1e-4, atol=1e-5, err_msg=key)
        else:
            assert found == [None] * len(ROWS), key


@pytest.mark.parametrize("accept", ANSWERS)
def test_parquet_is_answered_or_named_with_the_command_that_adds_it(
    server: Server, booster, accept: str
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {f"f{index}": column for index, column in enumerate(ROWS.T)}
    stream = io.BytesIO()
    parquet.write_table(arrow.table(columns), stream)
    answer = server.post(stream.getvalue(), "application/x-parquet", Accept=accept)
    if answer.status == 200:
        truth = booster("binary:logistic").predict(xgboost.DMatrix(ROWS))
        np.testing.assert_allclose(ANSWERS[accept](answer.body), truth, atol=1e-6)
    else:  # an image without pyarrow
        assert answer.status == 415
        assert "make build PARQUET=1" in json.loads(answer.body)["message"]
