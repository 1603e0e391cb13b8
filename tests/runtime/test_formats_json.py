"""JSON and JSON Lines requests of every form become the model's matrix, or a clear fault."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from decoding import NAN, rows, same
from runtime.formats import Schema, json_lines
from runtime.formats.errors import ColumnsError, DecodeError

DENSE = [[1, 2.5, -3], [4, None, 1e10]]
BY_NAME = [{"b": 2.5, "a": 1, "c": -3}, {"c": 1e10, "a": 4, "b": None}]
SPARSE = [
    {"data": {"features": {"keys": [0, 1, 2], "shape": [3], "values": [1, 2.5, -3]}}},
    {"data": {"features": {"keys": [2, 0], "shape": [3], "values": [1e10, 4]}}},
]
TENSORS = [{"data": {"features": {"values": row}}} for row in DENSE]
FEATURES = [{"features": row} for row in DENSE]


@pytest.mark.parametrize("instances", [DENSE, BY_NAME, SPARSE, TENSORS, FEATURES])
def test_json_instances_of_every_form_are_read(instances: list[Any]) -> None:
    expected = np.array(DENSE, np.float64).astype(np.float32)
    for document in (instances, {"instances": instances}, {"instances": instances, "id": "x"}):
        same(rows(json.dumps(document), "application/json"), expected)
    lines = "\n".join(map(json.dumps, instances))
    same(rows(lines + "\n", "application/jsonlines"), expected)
    same(rows(json.dumps({"instances": instances[1:]}), "application/json"), expected[1:])


@pytest.mark.parametrize(
    "document",
    [
        {"features": [1, 2, 3]},
        [1, 2, 3],
        {"instances": [1, 2, 3]},
        {"a": 1, "b": 2, "c": 3},
        {"features": [[1, 2, 3]]},
    ],
)
def test_a_single_row_of_json_needs_no_nesting(document: Any) -> None:
    same(rows(json.dumps(document), "application/json"), [[1, 2, 3]])


def test_nan_as_python_writes_it_is_missing_in_json() -> None:
    same(rows(json.dumps([[1, NAN, 3]]), "application/json"), [[1, NAN, 3]])


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"instances": [{"a": 1, "b": 2}]}, "missing: c"),
        ({"instances": [{"a": 1, "b": 2, "d": 2}]}, "unknown: d; missing: c"),
        ({"instances": [{"a": 1, "b": 2, "c": 3, "d": 4}]}, "unknown: d"),
        ({"instances": [{"data": {"features": {"keys": [3], "values": [1]}}}]}, "key 3"),
        ({"instances": [{"data": {"features": {"keys": [-1], "values": [1]}}}]}, "key -1"),
    ],
)
def test_names_and_keys_that_are_not_the_models_are_listed(document: Any, text: str) -> None:
    with pytest.raises(ColumnsError, match=text):
        rows(json.dumps(document), "application/json")


def test_objects_by_name_need_a_model_with_names() -> None:
    with pytest.raises(ColumnsError, match="no column names"):
        rows('[{"a":1,"b":2,"c":3}]', "application/json", Schema(3))


@pytest.mark.parametrize(
    ("body", "row", "column"),
    [
        ('{"instances":[[1,2,3],[1,2,"3"]]}', 2, 3),
        ('{"instances":[[1,2,3],[1,true,3]]}', 2, 2),
        ('{"instances":[[1,2,3],[1,[2],3]]}', 2, 2),
        ('{"instances":[[1,2,3],[1,2]]}', 2, None),
        ('{"instances":[[1,2,3],[[],1,2]]}', 2, 1),
        ('{"instances":[[1,2,3],[1,2,1e39]]}', 2, 3),
        ('{"instances":[[1,2,3],{"a":1}]}', 2, None),
        ('{"instances":[[1,2,3],7]}', 2, None),
        ('{"instances":[{"data":{"features":{"keys":[0],"values":[1,2]}}}]}', 1, None),
        ('{"instances":[{"data":{"features":{"keys":[0,0],"values":[1,2]}}}]}', 1, None),
        ('{"instances":[{"data":{"features":{"keys":["0"],"values":[1]}}}]}', 1, None),
        ('{"instances":[{"data":{"features":{"keys":[0],"values":["1"]}}}]}', 1, 1),
        ('{"instances":[[1,2,Infinity]]}', None, None),
        ('{"instances":[[NaN,2,-Infinity]]}', None, None),
        ('{"instances":7}', None, None),
        ('{"instances":[[1,2,' + "9" * 400 + "]]}", None, None),
        ('{"instances":[[1,2,NaN,' + "9" * 400 + "]]}", None, None),
        ("[" * 3000 + "NaN" + "]" * 3000, None, None),
        ("1,2,3", None, None),
        ("7", None, None),
        ('"\ud800"'.encode("utf-8", "surrogatepass"), None, None),
    ],
)
def test_json_faults_name_row_and_column(
    body: str | bytes, row: int | None, column: int | None
) -> None:
    with pytest.raises(DecodeError, match="Loading json data failed") as caught:
        rows(body, "application/json")
    assert (caught.value.row, caught.value.column) == (row, column)


def test_json_lines_faults_name_the_line() -> None:
    with pytest.raises(DecodeError, match="row 2") as caught:
        rows("[1,2,3]\n[1,2,\n3]", "application/jsonlines")
    assert caught.value.row == 2


def test_long_json_lines_are_read_in_blocks_and_keep_count_of_rows() -> None:
    lines = [json.dumps({"c": 3, "a": i, "b": None}) for i in range(60_000)]
    found = rows("\n".join(lines), "application/jsonlines")
    np.testing.assert_array_equal(found[:, 0], np.arange(60_000))
    assert found[7, 2] == 3
    for wrong in ("x", '{"a":1,"b":2,"c":"d"}'):
        with pytest.raises(DecodeError) as caught:
            rows("\n".join([*lines, wrong]), "application/jsonlines")
        assert caught.value.row == 60_001
    with pytest.raises(DecodeError, match="among objects by name"):
        rows("\n".join([*lines, *["[1,2,null]"] * 60_000]), "application/jsonlines")


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1\n"b":2}',
        b'{"a":[{}\n{}]}\n{},{}',
        b'{"a":1},{"a":2}\n{"a":3}',
        b'{"a":"}\n{"}',
        b'{"a":1}\n{"a":}',
        b'{"a":{}\n{}}',
    ],
)
def test_lines_that_are_not_objects_alone_are_not_objects_together(text: bytes) -> None:
    assert json_lines.flat_objects(text) is None
    with pytest.raises(DecodeError):
        json_lines.load_lines(text)


def test_objects_of_lines_are_those_of_each_line() -> None:
    lines = [b'{"a":1,"b":null}', b'{"b":2e3,"a":"x, y"}', b'{"a":{"c":{}},"b":"\\u007d"}']
    found = json_lines.flat_objects(b"\n".join(lines))
    assert found == [json.loads(line) for line in lines]
