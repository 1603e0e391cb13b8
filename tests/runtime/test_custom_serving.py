"""What custom.py puts into serving: thresholds, label names, post-processing, media types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import custom
from conftest import save
from runtime.inference.errors import StartError
from test_serving_outputs import ROWS, column, post, rows_of, serve

BINARY = "binary:logistic"


@pytest.fixture
def truth(booster, opt_ml: Path) -> np.ndarray:
    """Serve a binary model; return XGBoost's own probabilities of ROWS."""
    save(booster(BINARY), opt_ml / "model")
    return booster(BINARY).predict(xgboost.DMatrix(ROWS))


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_threshold_and_the_label_names_are_those_of_custom(
    threshold: float, truth: np.ndarray, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "THRESHOLD", threshold)
    monkeypatch.setattr(custom, "LABEL_NAMES", ("refuse", "accept"))
    body = post(serve(opt_ml, "predicted_label", "label_name"))
    expected = truth > threshold
    assert 0 < expected.sum() < len(truth)
    assert column(body, "predicted_label") == expected.astype(int).tolist()
    assert column(body, "label_name") == np.where(expected, "accept", "refuse").tolist()


def test_postprocess_changes_plain_and_selected_scores_and_sees_the_rows(
    truth: np.ndarray, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def half(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return scores / 2

    monkeypatch.setattr(custom, "postprocess", half)
    scores = [row["score"] for row in rows_of(post(serve(opt_ml)))]
    np.testing.assert_allclose(scores, truth / 2, rtol=1e-6)
    np.testing.assert_array_equal(seen[-1], ROWS)
    body = post(serve(opt_ml, "probability", "raw_score", "predicted_label"))
    np.testing.assert_allclose(column(body, "probability"), truth / 2, rtol=1e-6)
    assert column(body, "predicted_label") == (truth / 2 > 0.5).astype(int).tolist()


def test_a_postprocess_that_loses_rows_keeps_the_model_from_answering(
    truth: np.ndarray, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "postprocess", lambda scores, rows: scores[:0])
    with pytest.raises(StartError, match=r"custom\.postprocess .* must keep the number of rows"):
        serve(opt_ml)


def lengths(body: bytes) -> list[list[float]]:
    """Read `name=value` pairs on lines, as a device might send them."""
    return [
        [float(pair.split("=")[1]) for pair in line.split()] for line in body.decode().split("\n")
    ]


def test_a_media_type_of_custom_is_read_and_the_others_stay(
    truth: np.ndarray, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "decoders", {"application/x-device": lengths})
    client = serve(opt_ml)
    body = "\n".join(" ".join(f"c{i}={v}" for i, v in enumerate(row)) for row in ROWS.tolist())

    def send(text: str) -> Any:
        kind = "Application/X-Device; version=1"
        return client.post(
            "/invocations", data=text, content_type=kind, headers={"Accept": "application/json"}
        )

    answer = send(body)
    assert answer.status_code == 200
    found = [row["score"] for row in rows_of(answer.data)]
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    np.testing.assert_allclose([row["score"] for row in rows_of(post(client))], truth, rtol=1e-6)
    refused = send("c0=1 c1=x")
    assert (refused.status_code, json.loads(refused.data)["code"]) == (415, 415)
    assert "could not convert" in json.loads(refused.data)["message"]
    assert send("c0=1 c1=2").status_code == 400


def test_a_media_type_of_custom_is_written_and_negotiated(
    truth: np.ndarray, opt_ml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = {"text/x-percent": lambda scores: b"".join(b"%d%%\n" % (100 * s) for s in scores)}
    monkeypatch.setattr(custom, "encoders", encoders)
    client = serve(opt_ml)
    assert post(client, accept="text/x-percent").splitlines()[0] == b"%d%%" % (100 * truth[0])
    assert post(client, accept="text/csv").count(b"\n") == len(truth)
    headers = {"Accept": "image/png"}
    refused = client.post(
        "/invocations", data="1,2,3,4,5", content_type="text/csv", headers=headers
    )
    assert refused.status_code == 406
    assert "text/x-percent" in json.loads(refused.data)["expected"]
