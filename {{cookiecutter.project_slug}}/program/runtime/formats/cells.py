"""Cells of csv as text: quotes, and columns of strings among those of numbers.

A cell of a column of strings is all between two delimiters, spaces included, as in RFC 4180 and in
pandas; quotes around it do not count.
"""

from __future__ import annotations

import csv
import io
import re
from itertools import chain

from runtime.formats import numbers
from runtime.formats.categories import Encoders
from runtime.formats.errors import DecodeError
from runtime.formats.text import is_rectangle, ragged_row

SPACES = re.compile(rb" +")


def encoded(text: bytes, delimiter: bytes, width: int, encoders: Encoders) -> numbers.Doubles:
    """Return the lines of `text` as float64 [lines, width], columns of strings as `encoders` have
    them. Raises DecodeError naming the row and column, counted in this block."""
    cells = text_cells(text, delimiter, width)
    codes, blank = {}, ["0"] * (len(cells) // width)
    for column, encode in encoders.items():
        codes[column] = encode([cell or None for cell in cells[column::width]])
        cells[column::width] = blank
    numeric = ",".join(cells)
    if numeric.count(",") >= len(cells):  # of a quoted cell
        at = next(at for at, cell in enumerate(cells) if "," in cell)
        raise numbers.not_a_number(cells[at].encode(), at // width + 1, at % width + 1)
    values = numbers.doubles(numeric.encode(), width).copy()
    for column, of_column in codes.items():
        values[:, column] = of_column
    return values


def text_cells(text: bytes, delimiter: bytes, width: int) -> list[str]:
    """Return the cells of all lines, one line after the other, without the quotes around them.

    Raises DecodeError where a line has not `width` cells, or a cell cannot be read.
    """
    if b'"' in text:
        if delimiter == b" " or not is_plainly_quoted(text, delimiter):
            return quoted_cells(text, delimiter, width)
        text = text.replace(b'"', b"")
    if delimiter == b" ":
        text = SPACES.sub(b" ", re.sub(rb" *(\n|^|$) *", rb"\1", text))
    commas = text.translate(bytes.maketrans(b"," + delimiter, delimiter + b","))
    if not is_rectangle(commas, width):
        row = ragged_row(commas, width) or 0
        raise ragged(row, commas.split(b"\n", row + 1)[row].count(b",") + 1, width)
    return decoded(text).replace("\n", delimiter.decode()).split(delimiter.decode())


def decoded(text: bytes) -> str:
    """Return `text` as a string. Raises DecodeError naming the row that is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        row = text.count(b"\n", 0, error.start) + 1
        raise DecodeError(f"a cell is not UTF-8: byte {text[error.start]:#x}", row=row) from None


def quoted_cells(text: bytes, delimiter: bytes, width: int) -> list[str]:
    """Do the work of `text_cells` where cells hold delimiters or quotes."""
    lines = split_quoted(decoded(text), delimiter, exact=True)
    for row, cells in enumerate(lines):
        for column, cell in enumerate(cells, 1):
            if "\n" in cell or (cell[:1] == " " and cell.lstrip(" ")[:1] == '"'):
                fault = "holds a line break" if "\n" in cell else "has a space before its quote"
                raise DecodeError(f"a cell {fault}", row=row + 1, column=column)
        if len(cells) != width:
            raise ragged(row, len(cells), width)
    return list(chain.from_iterable(lines))


def ragged(row: int, found: int, width: int) -> DecodeError:
    """Return the fault of the line `row`, from 0, which has `found` cells."""
    message = f"{found} cells where the first row has {width}"
    return DecodeError(message, row=row + 1, expected=width, found=found)


def is_plainly_quoted(text: bytes, delimiter: bytes) -> bool:
    """Return whether quotes open and close whole cells, and hold no delimiter, line or quote."""
    flat = delimiter + text.replace(b"\n", delimiter) + delimiter
    count = flat.count(b'"')
    shape = flat.translate(None, bytes(set(range(256)) - {*b'"', *delimiter}))
    return 2 * flat.count(delimiter + b'"') == count == 2 * flat.count(
        b'"' + delimiter
    ) and b'"' not in shape.replace(b'""', b"")


def split_quoted(text: bytes | str, delimiter: bytes, exact: bool = False) -> list[list[str]]:
    """Return the cells of `text` as Python's csv module reads them, strictly; unless `exact`,
    without spaces before them."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    try:
        source = io.StringIO(text, newline="")
        mark, skip = delimiter.decode(), not exact or delimiter == b" "
        return list(csv.reader(source, delimiter=mark, strict=True, skipinitialspace=skip))
    except csv.Error as error:
        raise DecodeError(str(error)) from None
