"""Text of plain numbers to float32, through a compiled JSON parser wherever that can read it.

One grammar, two readers. A cell is a decimal number as Python's `float` reads it (but without
underscores, infinities and other alphabets), or nothing or `nan`, which mean missing. simdjson
reads most of it ten times faster, `+1` and `.5` once they are written as JSON; what it refuses
then (`01`, `1.e5`) goes to `tolerant`. Both give the same float64, hence the same float32:
tests/test_formats_numbers.py proves it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.formats import plain_json
from runtime.formats.errors import DecodeError, NotANumberError, quoted
from runtime.formats.table import Floats
from runtime.formats.text import BLOCK_BYTES

simdjson: Any
try:
    simdjson = import_module("simdjson")
except ImportError:  # it has no wheel for Python 3.14
    simdjson = plain_json

Doubles = NDArray[np.float64]
ALPHABET = b"0123456789+-.eEnaNA \t"
NAN_CELL = re.compile(rb",nan(?=,)", re.IGNORECASE)
NO_DIGITS = re.compile(rb",\+(?![.\d])|,[+-]?\.(?!\d)")
FORMS = ((b",+", b","), (b",-.", b",-0."), (b",.", b",0."), (b".,", b".0,"))
FLOAT32 = np.dtype(np.float32)
ZERO = np.zeros((), np.float32)
SAFE_SQUARES = 1e76  # no number of such a sum of squares is beyond float32, whose end is 3.4e38
NOT_PLAIN = (TypeError, ValueError, RuntimeError)  # what simdjson raises, by kind of fault


class CellError(ValueError):
    """A cell is no number: its position among the cells, and its text."""

    def __init__(self, index: int, cell: bytes) -> None:
        super().__init__(index, cell)
        self.index, self.cell = index, cell


def is_number(cell: bytes) -> bool:
    """Whether the grammar has `cell`, an empty one included."""
    if cell.translate(None, ALPHABET):
        return False
    try:
        float(cell.strip() or b"nan")
    except ValueError:
        return False
    return True


def parse(text: bytes) -> Doubles:
    """Return the numbers of `text`, separated by commas, as float64 [n]; NaN where missing.

    Raises CellError. A number beyond float64 becomes infinite.
    """
    if len(text) <= BLOCK_BYTES:
        return parse_block(text)
    parts, start = [], 0
    while start <= len(text):
        end = text.find(b",", start + BLOCK_BYTES)
        end = len(text) if end < 0 else end
        try:
            parts.append(parse_block(text[start:end]))
        except CellError as error:
            raise CellError(error.index + sum(map(len, parts)), error.cell) from None
        start = end + 1
    return np.concatenate(parts)


def parse_block(text: bytes) -> Doubles:
    """Do the work of `parse` on a text that fits into the processor's cache."""
    try:
        return simple(text)
    except NOT_PLAIN:
        pass
    with suppress(*NOT_PLAIN):
        return with_missing(text)
    try:
        return with_missing(as_json(text))
    except NOT_PLAIN:
        return tolerant(text)


def simple(text: bytes) -> Doubles:
    """Parse numbers that are JSON; raise one of NOT_PLAIN on anything else."""
    if b"[" in text:
        raise ValueError("as_buffer would flatten a nested array")
    document = simdjson.Parser().parse(b"[" + text + b"]")
    if not isinstance(document, simdjson.Array):
        raise TypeError("not an array")
    return np.frombuffer(document.as_buffer(of_type="d"), np.float64)


def with_missing(text: bytes) -> Doubles:
    """Parse JSON numbers among missing cells; raise one of NOT_PLAIN on anything else."""
    marked = b"," + text + b","
    if b"n" in marked or b"N" in marked:
        marked = NAN_CELL.sub(b",", marked)
    characters = np.frombuffer(marked, np.uint8)
    commas = np.flatnonzero(characters == ord(","))
    empty = np.flatnonzero(np.diff(commas) == 1)
    filled = marked.replace(b",,", b",0,").replace(b",,", b",0,")  # a match takes its second comma
    values = simple(filled[1:-1]).copy()
    values[empty] = np.nan
    return values


def as_json(text: bytes) -> bytes:
    """Return `text` with `+1`, `.5`, `-.5` and `1.` as JSON writes them; raise ValueError where a
    sign or a point has no digits."""
    marked = b"," + text + b","
    if NO_DIGITS.search(marked):
        raise ValueError("a sign or a point without digits")
    for written, as_json in FORMS:
        marked = marked.replace(written, as_json)
    return marked[1:-1]


def tolerant(text: bytes) -> Doubles:
    """Parse the whole grammar, cell by cell. Raises CellError."""
    cells = text.split(b",")
    if not text.translate(None, ALPHABET + b","):
        with suppress(ValueError):
            return np.array(list(map(float, cells)), np.float64)
        with suppress(ValueError):
            return np.array([float(cell.strip() or b"nan") for cell in cells], np.float64)
    index = next(i for i, cell in enumerate(cells) if not is_number(cell))
    raise CellError(index, cells[index])


def rows(text: bytes, columns: int) -> Floats:
    """Return the numbers of `text`, separated by commas, as float32 [n / columns, columns].

    Raises DecodeError with row and column at a cell that is no number, or beyond float32.
    """
    return narrow(doubles(text, columns))


def doubles(text: bytes, columns: int) -> Doubles:
    """Return the numbers of `text` as float64 [n / columns, columns]. Raises DecodeError."""
    try:
        values = parse(text)
    except CellError as error:
        row, column = divmod(error.index, columns)
        raise not_a_number(error.cell, row + 1, column + 1) from None
    return values.reshape(-1, columns)


def narrow(values: Doubles) -> Floats:
    """Return `values` as finite C-contiguous float32 [n, m]; -0 becomes 0. Raises DecodeError."""
    flat = values.reshape(-1)
    if flat.dot(flat) < SAFE_SQUARES:  # one pass proves what `finite` looks for; not with a NaN
        narrowed = values.astype(FLOAT32)
    else:
        with np.errstate(over="ignore"):
            narrowed = finite(values.astype(FLOAT32))
    # simdjson reads `-0` as an integer, without its sign: neither reader keeps one.
    return np.add(narrowed, ZERO, narrowed)


def finite(values: Floats) -> Floats:
    """Return `values`, float32 [n, m]; raise DecodeError naming the first infinite cell."""
    infinite = np.isinf(values)
    if np.count_nonzero(infinite):  # three times as fast as any() on one row
        row, column = np.argwhere(infinite)[0] + 1
        raise DecodeError(
            "infinite, or too large for a 32-bit float", row=int(row), column=int(column)
        )
    return values


def not_a_number(cell: bytes, row: int, column: int) -> NotANumberError:
    """Return the fault of a cell that should hold a number."""
    text = cell.strip()
    return NotANumberError(f"{quoted(text)} is not a number", row=row, column=column, found=text)
