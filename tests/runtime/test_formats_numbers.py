"""The compiled and the tolerant parser of numbers accept the same bodies and give the same bits.

FORMAT_EXAMPLES sets how many random bodies each property sees (default 100).
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime import formats
from runtime.formats import delimited, json_rows, numbers, text
from runtime.formats.errors import DecodeError, FormatError

EXAMPLES = int(os.environ.get("FORMAT_EXAMPLES", "100"))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NUMBER = re.compile(r"[ \t]*([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?nan)?[ \t]*", re.I)

ODD = """
nan NaN -nan +1 .5 1. 01 -01 -0 -0.0 1e5 1E+5 1e - + . e5 inf -inf Infinity 1e39 -1e39 1e400 1e-400
1_0 true null [1] [] {} "1" 0x1 1, nan1 1nan nannan 16777217 9007199254740993 7e-46 3.4028235e38
18446744073709551615 18446744073709551616 -9223372036854775809 3.4028235677973366e38
0.1000000014901161200000000000000001 1.00000005960464477540
"""
BLANKS = ("", " ", "1 2", " 1", "1\t", "1\x0c", "\x00", "\u0661", "\r", "\n", "1" * 400)
FRAMES = """
{"instances":%s} {"features":%s} %s {"instances":[[9]],"instances":%s} {"inst\\u0061nces":%s}
{"x":1,"instances":%s} {"instances":%s,} [%s] {"instances":%s,"instances":5}
"""
odd_cells = st.sampled_from((*ODD.split(), *BLANKS))
plain_cells = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.floats(-1e38, 1e38).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000).map(str),
)
cells = st.one_of(plain_cells, plain_cells, plain_cells, odd_cells)


@st.composite
def csv_bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """Rows of one width, and that width; now and then ragged or with another delimiter."""
    width = draw(st.integers(1, 4))
    source = draw(st.sampled_from([plain_cells, st.just("") | plain_cells, cells]))
    delimiter = draw(st.sampled_from([",", ",", ",", ";", "\t", ", "]))
    rows = draw(st.lists(st.lists(source, min_size=width, max_size=width), max_size=5))
    if rows and draw(st.booleans()):
        rows[-1][draw(st.integers(0, width - 1))] = draw(odd_cells)
    if draw(st.integers(0, 9)) == 0:
        rows.append(draw(st.lists(source, min_size=1, max_size=5)))
    end = draw(st.sampled_from(["", "\n", "\r\n", "\n\n"]))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return (newline.join(delimiter.join(row) for row in rows) + end).encode(), width


def reference_csv(body: bytes) -> np.ndarray | None:
    """Read `body` with nothing but str.split, a regular expression and float."""
    content = re.sub("\r\n?", "\n", body.decode()).lstrip("\n").rstrip("\n ")
    if not content:
        return np.empty((0, 0), np.float32)
    first = content.split("\n")[0].strip(" ")
    delimiter = next((mark for mark in ",;\t " if mark in first), ",")
    if delimiter == " ":
        rows = [re.sub(" +", " ", line.strip(" ")).split(" ") for line in content.split("\n")]
    else:
        rows = [line.split(delimiter) for line in content.split("\n")]
    flat = [cell for row in rows for cell in row]
    if len({len(row) for row in rows}) != 1 or not all(NUMBER.fullmatch(cell) for cell in flat):
        return None
    with np.errstate(over="ignore"):
        values = np.array([float(cell.strip() or "nan") for cell in flat]).astype(np.float32)
    return None if np.isinf(values).any() else values.reshape(len(rows), -1)


def outcome(decode: Any, body: bytes, width: int = 0) -> np.ndarray | None:
    """Return the decoded matrix, or None where the body is refused."""
    try:
        return np.asarray(decode(body, formats.Schema(width)).values)
    except FormatError:
        return None


def assert_same(left: np.ndarray | None, right: np.ndarray | None, body: bytes) -> None:
    assert (left is None) == (right is None), body
    if left is not None and right is not None and left.size + right.size:
        np.testing.assert_array_equal(left, right, strict=True)


@many
@example((b"1,nan1,2", 3))
@example((b"1,[2]\n3,4", 2))
@example((b"1,2,3\n4\n5,6", 2))
@example((b"\n1,2\n\n", 2))
@example((b"\n1\n\n2", 1))
@given(csv_bodies())
def test_csv_readers_agree_with_the_tolerant_one_and_with_python(case: tuple[bytes, int]) -> None:
    """Bodies of plain numbers have a shorter way, and the compiled parser stands in both."""
    body, width = case
    with pytest.MonkeyPatch.context() as patch:
        fast = outcome(delimited.decode, body, width)
        patch.setattr(delimited, "SMALL_BYTES", -1)
        general = outcome(delimited.decode, body, width)
        patch.setattr(numbers, "parse", numbers.tolerant)
        slow = outcome(delimited.decode, body, width)
    assert_same(fast, slow, body)
    assert_same(general, slow, body)
    if b'"' not in body:
        assert_same(fast, reference_csv(body), body)


@many
@given(st.lists(st.integers(1, 90), min_size=1, max_size=12), st.data())
def test_a_rectangle_is_one_whatever_its_cells_hold(counts: list[int], data: st.DataObject) -> None:
    counts = data.draw(st.sampled_from([counts, [counts[0]] * len(counts)]))
    cells = st.sampled_from(
        ["", "1", "-2.5e7", "a cell of more than the sixty-four bits of a word"]
    )
    lines = [",".join(data.draw(cells) for _ in range(count)) for count in counts]
    found = text.is_rectangle("\n".join(lines).encode(), counts[0])
    assert found == (len(set(counts)) == 1)


json_cells = st.one_of(
    plain_cells.filter(lambda cell: not re.match(r"-?0[0-9]", cell)), st.just("null"), odd_cells
)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    """Documents of rows, sometimes with a stray mark or another key."""
    width = draw(st.integers(0, 3))
    source = draw(st.sampled_from([plain_cells, plain_cells, json_cells]))
    rows = draw(st.lists(st.lists(source, min_size=width, max_size=width), max_size=4))
    array = "[" + ",".join("[" + ", ".join(row) + "]" for row in rows) + "]"
    frame = draw(st.sampled_from((*FRAMES.split(), '{ "instances" : %s } ', "\ufeff%s", "%s\n")))
    document = frame.replace("%s", array)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(document)))
        mark = draw(st.sampled_from(["[", "]", ",", '"', "{", "}", "0", " ", "[]", "null", "\x00"]))
        document = document[:at] + mark + document[at + draw(st.integers(0, 2)) :]
    return document.encode()


@many
@given(json_bodies())
def test_compiled_json_reader_agrees_with_the_tolerant_one(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = outcome(json_rows.decode, body)
        patch.setattr(json_rows, "dense", lambda body: None)
        slow = outcome(json_rows.decode, body)
    assert_same(fast, slow, body)


@many
@given(st.lists(st.lists(st.floats(-1e38, 1e38), min_size=2, max_size=2), min_size=1, max_size=5))
def test_json_reader_agrees_with_python(rows: list[list[float]]) -> None:
    body = json.dumps({"instances": rows}).encode()
    expected = np.array(json.loads(body)["instances"]).astype(np.float32)
    assert_same(outcome(json_rows.decode, body), expected, body)


@many
@given(st.lists(json_cells, min_size=1, max_size=3), st.integers(0, 3))
def test_json_lines_are_read_line_by_line(row: list[str], breaks: int) -> None:
    """A line break inside an array is no way to write it."""
    line = "[" + ",".join(row) + "]"
    body = "\n".join([line, line.replace(",", ",\n", breaks)]).encode()
    with pytest.MonkeyPatch.context() as patch:
        fast = outcome(formats.json_lines.decode, body)
        patch.setattr(formats.json_lines, "dense_lines", lambda text: None)
        slow = outcome(formats.json_lines.decode, body)
    assert_same(fast, slow, body)


def test_plain_numbers_take_the_compiled_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "tolerant", lambda text: pytest.fail("left the compiled reader"))
    body = b"1,-2.5,3e4\r\n,nan,0.5\r\nNaN,,\r\n"
    rows = formats.decode(body, "text/csv", formats.Schema(3), "csv").values
    nan = np.nan
    np.testing.assert_array_equal(rows, np.float32([[1, -2.5, 3e4], [nan, nan, 0.5], [nan] * 3]))


def test_long_bodies_are_read_in_blocks_and_keep_count_of_rows() -> None:
    expected = np.random.default_rng(0).normal(size=(20_000, 5)).astype(np.float32)
    lines = [",".join(map(str, row)) for row in expected]
    body = "\n".join(lines).encode()
    assert len(body) > 4 * text.BLOCK_BYTES
    schema = formats.Schema(5)
    rows = formats.decode(body, "text/csv", schema, "csv").values
    np.testing.assert_array_equal(rows, expected, strict=True)
    assert rows.flags.c_contiguous
    lines[15_000] = "1,2,x,4,5"
    with pytest.raises(DecodeError, match="row 15001, column 3: 'x' is not a number"):
        formats.decode("\n".join(lines).encode(), "text/csv", schema, "csv")


def test_long_texts_are_parsed_in_blocks_and_keep_count_of_cells() -> None:
    cells = [str(number) for number in range(60_000)] + [""]
    assert len(",".join(cells)) > 2 * text.BLOCK_BYTES
    found = numbers.parse(",".join(cells).encode())
    np.testing.assert_array_equal(found, [*range(60_000), np.nan])
    cells[50_000] = "x"
    with pytest.raises(numbers.CellError) as caught:
        numbers.parse(",".join(cells).encode())
    assert (caught.value.index, caught.value.cell) == (50_000, b"x")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_negative_zero_loses_its_sign_in_either_reader(count: int) -> None:
    for spelling in (b"-0", b"-0.0", b"-00"):
        values = numbers.rows(b",".join([spelling] * count), count)
        assert not np.signbit(values).any()


@pytest.mark.parametrize(
    "text", [b"1,[2]", b"[1]", b"1,{}", b'"1"', b"1],[2", b"1]", b"true", b"1,x"]
)
def test_only_numbers_are_numbers(text: bytes) -> None:
    with pytest.raises(numbers.CellError):
        numbers.parse(text)
