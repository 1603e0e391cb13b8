"""Whatever a client sends, the decoders answer with rows or with a fault that can be explained.

FORMAT_EXAMPLES sets how many mutated bodies each media type sees (default 100).
"""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from decoding import NAMED
from runtime import formats
from runtime.formats import Schema
from runtime.formats.categories import Categories
from runtime.formats.errors import FormatError
from test_formats_binary import RECORDIO, npy, record
from test_formats_json import BY_NAME, DENSE, FEATURES, SPARSE

FORMS = (DENSE, BY_NAME, SPARSE, FEATURES)
SEEDS = {
    "text/csv": [b"1,2.5,-3\n4,,nan\n", b'"1","2",""\n', b"1;2;3\r\n", b"1 2 3\n4 5 6", b"a,b,c\n"],
    "text/libsvm": [b"1 1:0.5 3:nan\n2:7 1:1e3 # note\n\n-1 qid:4 3:4\r\n5\n"],
    "application/json": [json.dumps({"instances": form}).encode() for form in FORMS],
    "application/jsonlines": ["\n".join(map(json.dumps, form)).encode() for form in FORMS],
    "application/x-npy": [npy(np.zeros((2, 3))), npy(np.zeros(3, "<i4"))],
    RECORDIO: [
        record([1, 2, 3]) + record([4, 5, 6], kind="float64_tensor", shape=3),
        record([7, 8], (2, 0)) + record([], shape=3),
    ],
}
FRAGMENTS = [
    b",",
    b"\n",
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b"nan",
    b"NaN",
    b"null",
    b"1e999",
    b"9" * 50,
]
FRAGMENTS += [
    b":",
    b" ",
    b"\x00",
    b"\xff",
    b"-",
    b"inf",
    b"true",
    b"\r",
    b"#",
    b"qid:",
    b"\t",
    b";",
]

edits = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 6),
        st.sampled_from(FRAGMENTS) | st.binary(max_size=3),
    ),
    max_size=4,
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content_type", SEEDS)
@settings(
    max_examples=int(os.environ.get("FORMAT_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data(), changes=edits, named=st.booleans())
def test_mutated_bodies_are_read_or_refused(
    content_type: str, data: st.DataObject, changes: list[tuple[int, int, bytes]], named: bool
) -> None:
    body = data.draw(st.sampled_from(SEEDS[content_type]))
    for position, removed, inserted in changes:
        at = position % (len(body) + 1)
        body = body[:at] + inserted + body[at + removed :]
    try:
        rows = formats.decode(body, content_type, NAMED if named else Schema(3), "csv").values
    except FormatError:
        return
    assert rows.shape[1] == 3
    assert rows.dtype == np.float32
    assert not np.isinf(rows).any()


NAMES = ("a", "b", "c")
VALUES = {0: ("A", "b, c", "Åbo", "=1+1"), 2: (1912, 7)}  # words, and numbers
STRINGS = {
    "text/csv": [b'A,2.5,7\n"b, c",,1912\n', b"=1+1;2;7\r\n", 'Åbo,1,\n"A","2","7"'.encode()],
    "application/json": [
        json.dumps({"instances": form}).encode()
        for form in (
            [["A", 1, 7], ["Åbo", None, "1912"]],
            [{"a": "b, c", "b": 2, "c": 7}],
            [{"features": {"keys": [0, 2], "values": ["A", 7], "shape": [3]}}],
        )
    ],
    "application/jsonlines": [
        b'["A", 1, 7]\n["=1+1", null, "1912"]',
        '{"a": "Åbo", "b": 2, "c": 7}'.encode(),
    ],
}
TEXTS = st.sampled_from([b"\\u0000", b"\\ud800", "é".encode(), b'""', b"16777217", b'"x"', b"[]"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content_type", STRINGS)
@settings(
    max_examples=int(os.environ.get("FORMAT_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data(), changes=edits, text=TEXTS, at=st.integers(0, 2000), codes=st.booleans())
def test_mutated_strings_are_codes_missing_or_refused(
    content_type: str,
    data: st.DataObject,
    changes: list[tuple[int, int, bytes]],
    text: bytes,
    at: int,
    codes: bool,
) -> None:
    body = data.draw(st.sampled_from(STRINGS[content_type]))
    for position, removed, inserted in [*changes, (at, 0, text)]:
        start = position % (len(body) + 1)
        body = body[:start] + inserted + body[start + removed :]
    schema = Schema(3, NAMES, categories=Categories(VALUES, NAMES, takes_codes=codes))
    try:
        rows = formats.decode(body, content_type, schema, "csv")
    except FormatError:
        return
    assert rows.values.shape[1] == 3
    assert not np.isinf(rows.values).any()
    for column, values in VALUES.items():
        found = rows.values[:, column]
        if column or not codes:  # else a number is a code, whatever it is
            assert set(found[~np.isnan(found)]) <= set(range(len(values)))
    assert sum(unseen.count for unseen in rows.unseen) <= np.isnan(rows.values).sum()


CELLS = {
    "strings": st.none() | st.sampled_from(VALUES[0]) | st.text(max_size=5),
    "integers": st.none() | st.integers(-(2**63), 2**63 - 1),
    "numbers": st.none() | st.floats() | st.sampled_from([1912.0, 7.0, 0.0, 2.0**24]),
    "others": st.none() | st.booleans() | st.binary(max_size=3) | st.lists(st.integers(0, 2)),
}


def written(columns: dict[str, list[Any]], dictionaries: set[str]) -> bytes | None:
    """Return Parquet of the columns; None where Arrow has no type for the cells of one."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    try:
        arrays = {name: arrow.array(cells) for name, cells in columns.items()}
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, UnicodeEncodeError):
        return None
    for name in dictionaries:
        if not (arrow.types.is_nested(arrays[name].type) or arrow.types.is_null(arrays[name].type)):
            arrays[name] = arrays[name].dictionary_encode()
    stream = io.BytesIO()
    parquet.write_table(arrow.table(arrays), stream)
    return stream.getvalue()


NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)


def code_of(cell: Any, values: tuple[Any, ...], codes: bool) -> float | None:
    """Return what a cell of a request must become; None where that cannot be."""
    if cell is None or cell == "" or cell != cell:
        return np.nan
    if type(cell) not in {str, int, float}:
        return None
    if cell in values:
        return float(values.index(cell))
    words = type(values[0]) is str
    if type(cell) is str and (not NUMBER.fullmatch(cell) or (words and not codes)):
        return np.nan
    if not words:
        return float(values.index(float(cell))) if float(cell) in values else np.nan
    code = np.float32(cell) if codes else np.inf
    return None if np.isinf(code) else float(code)


@pytest.mark.filterwarnings("error")
@settings(
    max_examples=int(os.environ.get("FORMAT_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    data=st.data(),
    rows=st.integers(1, 4),
    codes=st.booleans(),
    packed=st.sets(st.sampled_from("ac")),
)
def test_cells_of_parquet_are_codes_missing_or_refused(
    data: st.DataObject, rows: int, codes: bool, packed: set[str]
) -> None:
    columns: dict[str, list[Any]] = {"c": [], "b": [0.5] * rows, "a": []}
    for name in "ac":
        cells = CELLS[data.draw(st.sampled_from([*CELLS]))]
        columns[name] = data.draw(st.lists(cells, min_size=rows, max_size=rows))
    body = written(columns, packed)
    assume(body is not None)
    schema = Schema(3, NAMES, categories=Categories(VALUES, NAMES, takes_codes=codes))
    with np.errstate(over="ignore"):
        expected = {
            column: [code_of(cell, values, codes) for cell in columns[NAMES[column]]]
            for column, values in VALUES.items()
        }
    if any(None in cells for cells in expected.values()):
        with pytest.raises(FormatError):
            formats.decode(body or b"", "application/x-parquet", schema, "csv")
        return
    found = formats.decode(body or b"", "application/x-parquet", schema, "csv").values
    for column, cells in expected.items():
        np.testing.assert_array_equal(found[:, column], np.array(cells, np.float32))
