"""Answers of every media type, read back by readers that are not ours; Accept negotiation."""

from __future__ import annotations

import csv
import io
import json
import struct
from typing import Any

import numpy as np
import pytest

from runtime.formats import encode, negotiate
from runtime.formats.answers import ENCODERS
from runtime.formats.errors import AcceptError
from runtime.formats.recordio import MAGIC, record_class

GENERATOR = np.random.default_rng(3)
SCORES = GENERATOR.random(50).astype(np.float32)
SCORES[:4] = [0, 1e-30, 0.1, 16777216]
CLASSES = GENERATOR.random((50, 3)).astype(np.float32)
NOTHING = np.full(50, np.nan, np.float32)
SELECTED: dict[str, Any] = {
    "predicted_label": np.arange(50, dtype=np.float32) % 3,
    "labels": [[0, 1, 2]] * 50,
    "probability": SCORES,
    "probabilities": CLASSES,
    "label_name": ["plain", 'with "quotes", and comma'] * 25,
    "raw_score": NOTHING,
}


def records(body: bytes) -> list[dict[str, list[float]]]:
    """Read a RecordIO body by its documented framing."""
    found, at = [], 0
    while at < len(body):
        magic, length = struct.unpack_from("<II", body, at)
        assert magic == MAGIC == 0xCED7230A
        message = record_class().FromString(body[at + 8 : at + 8 + length])
        found.append(
            {
                key: list(value.float32_tensor.values) or [t.decode() for t in value.bytes.value]
                for key, value in message.label.items()
            }
        )
        at += 8 + length + -length % 4
    assert at == len(body)
    return found


def as_float32(values: Any) -> np.ndarray:
    return np.array(values, np.float64).astype(np.float32)


@pytest.mark.parametrize("values", [SCORES, CLASSES, SCORES[:1], CLASSES[:1]])
def test_scores_survive_every_media_type_to_the_bit(values: np.ndarray) -> None:
    lines = encode(values, "text/csv").decode()
    assert lines.endswith("\n")
    table = [[float(cell) for cell in line.split(",")] for line in lines.splitlines()]
    np.testing.assert_array_equal(as_float32(table).reshape(values.shape), values)
    predictions = json.loads(encode(values, "application/json"))["predictions"]
    assert all(list(item) == ["score"] for item in predictions)
    np.testing.assert_array_equal(as_float32([item["score"] for item in predictions]), values)
    objects = encode(values, "application/jsonlines").decode()
    assert objects.endswith("\n")
    assert [json.loads(line) for line in objects.splitlines()] == predictions
    loaded = np.load(io.BytesIO(encode(values, "application/x-npy")), allow_pickle=False)
    np.testing.assert_array_equal(loaded, values, strict=True)
    labels = [item["score"] for item in records(encode(values, "application/x-recordio-protobuf"))]
    np.testing.assert_array_equal(as_float32(labels).reshape(values.shape), values)


def test_floats_are_printed_as_short_as_float32_allows() -> None:
    assert encode(np.float32([0.1, 1 / 3]), "text/csv") == b"0.1\n0.33333334\n"


def test_scores_take_the_forms_of_the_built_in_algorithm() -> None:
    one, many = np.float32([0.5, 2]), np.float32([[0.25, 0.75]])
    assert encode(one, "text/csv") == b"0.5\n2.0\n"
    assert encode(many, "text/csv") == b"0.25,0.75\n"
    assert encode(one, "application/json") == b'{"predictions":[{"score":0.5},{"score":2.0}]}'
    assert encode(many, "application/json") == b'{"predictions":[{"score":[0.25,0.75]}]}'
    assert encode(one, "application/jsonlines") == b'{"score":0.5}\n{"score":2.0}\n'


@pytest.mark.parametrize("media_type", ["application/json", "application/jsonlines"])
def test_selected_keys_keep_their_order_in_json(media_type: str) -> None:
    body = encode(SELECTED, media_type)
    if media_type == "application/json":
        found = json.loads(body)["predictions"]
    else:
        found = [json.loads(line) for line in body.splitlines()]
    assert all(list(item) == list(SELECTED) for item in found)
    assert [item["labels"] for item in found] == [[0, 1, 2]] * 50
    assert [item["label_name"] for item in found] == SELECTED["label_name"]
    assert all(item["raw_score"] is None for item in found)
    np.testing.assert_array_equal(as_float32([item["probability"] for item in found]), SCORES)
    np.testing.assert_array_equal(as_float32([item["probabilities"] for item in found]), CLASSES)


def test_selected_lists_are_one_quoted_cell_in_csv() -> None:
    body = encode(SELECTED, "text/csv").decode()
    assert body.endswith("\n")
    found = list(csv.reader(io.StringIO(body)))
    assert len(found) == 50
    assert [row[4] for row in found] == SELECTED["label_name"]
    assert all(row[1] == "[0, 1, 2]" and row[5] == "nan" for row in found)
    np.testing.assert_array_equal(as_float32([json.loads(row[3]) for row in found]), CLASSES)


def test_selected_keys_are_the_fields_of_a_structured_npy_array() -> None:
    body = encode(SELECTED, "application/x-npy")
    found = np.load(io.BytesIO(body), allow_pickle=False)
    assert list(found.dtype.names) == list(SELECTED)
    np.testing.assert_array_equal(found["probabilities"], CLASSES)
    np.testing.assert_array_equal(found["label_name"], SELECTED["label_name"])
    assert np.isnan(found["raw_score"]).all()


def test_selected_keys_are_the_label_map_of_recordio() -> None:
    found = records(encode(SELECTED, "application/x-recordio-protobuf"))
    np.testing.assert_array_equal(as_float32([item["probabilities"] for item in found]), CLASSES)
    assert found[1]["label_name"] == ['with "quotes", and comma']
    assert found[1]["labels"] == [0, 1, 2]
    assert np.isnan(found[1]["raw_score"]).all()


@pytest.mark.parametrize("media_type", ENCODERS)
def test_a_key_that_never_applies_is_null_in_every_row(media_type: str) -> None:
    body = encode({"probability": NOTHING, "predicted_score": SCORES}, media_type)
    assert body.count(b"null") == (50 if "json" in media_type else 0)
    if media_type == "text/csv":
        assert body.splitlines()[2] == b"nan,0.1"


@pytest.mark.parametrize("media_type", ENCODERS)
def test_no_rows_make_an_answer_without_rows(media_type: str) -> None:
    expected = {
        "text/csv": b"",
        "application/json": b'{"predictions":[]}',
        "application/jsonlines": b"",
        "application/x-recordio-protobuf": b"",
    }
    for outputs in (SCORES[:0], {"p": SCORES[:0]}):
        body = encode(outputs, media_type)
        if media_type in expected:
            assert body == expected[media_type]
        else:
            assert len(np.load(io.BytesIO(body))) == 0


CSV, JSON, LINES = "text/csv", "application/json", "application/jsonlines"


@pytest.mark.parametrize(
    ("accept", "default", "expected"),
    [
        (None, CSV, CSV),
        ("", JSON, JSON),
        ("*/*", JSON, JSON),
        ("*/*;q=0.1", LINES, LINES),
        (JSON, CSV, JSON),
        ("Application/JSON; charset=utf-8", CSV, JSON),
        ("application/json;q=0.5, text/csv;q=0.9", JSON, CSV),
        ("text/html, application/xml;q=0.9, */*;q=0.8", CSV, CSV),
        ("text/html, application/json;q=0.9, */*;q=0.8", CSV, JSON),
        ("text/*", JSON, CSV),
        ("application/*", LINES, LINES),
        ("application/*;q=0.5, application/x-npy", CSV, "application/x-npy"),
        ("json", CSV, JSON),
        ("application/x-recordio-protobuf", CSV, "application/x-recordio-protobuf"),
        (None, "json", JSON),
        ("*/*", "image/png", CSV),
    ],
)
def test_accept_is_negotiated(accept: str | None, default: str, expected: str) -> None:
    assert negotiate(accept, default) == expected


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "text/html, image/*", "application/x-parquet"]
)
def test_an_accept_that_cannot_be_met_lists_what_can(accept: str) -> None:
    with pytest.raises(AcceptError, match="accept one of text/csv, application/json"):
        negotiate(accept, CSV)


def test_a_default_that_cannot_be_written_is_told() -> None:
    with pytest.raises(AcceptError, match="image/png"):
        negotiate(None, "image/png")
