"""text/csv: one row per line, cells separated by one of DELIMITERS."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from runtime.formats import numbers
from runtime.formats.categories import Recoder
from runtime.formats.cells import encoded, is_plainly_quoted, split_quoted
from runtime.formats.errors import ColumnsError, DecodeError
from runtime.formats.table import (
    Floats,
    Rows,
    Schema,
)
from runtime.formats.text import (
    BLOCK_BYTES,
    first_line,
    is_rectangle,
    lines_of,
    ragged_row,
)

DELIMITERS = (b",", b";", b"\t", b"|", b":", b" ")
QUOTED = re.compile(rb'"[^"]*"')
SMALL_BYTES = 1 << 13  # below that, a look at each byte costs less than a few calls of numpy
PLAIN = b"0123456789+-.eE"  # what most bodies hold between their commas and newlines


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request: no label, no header."""
    if len(body) <= SMALL_BYTES and schema.categories is None:
        values = decode_plain(body, schema.num_features)
        if values is not None:
            return Rows(values)
    text = lines_of(body)
    if not text:
        return Rows.none(schema.num_features)
    delimiter = delimiter_of([first_line(text)])
    if len(first_line(text)) > BLOCK_BYTES:  # one line may be the whole body
        found = cells_in(first_line(text), delimiter)
        if found > schema.num_features:
            raise ColumnsError(
                f"the rows have {found} columns, the model has {schema.num_features}",
                expected=schema.num_features,
                found=found,
            )
    recoder = schema.categories.recoder() if schema.categories else None
    try:
        if recoder is None:
            return Rows(parse_text(text, delimiter, schema))
        return Rows(parse_text(text, delimiter, schema, recoder), None, recoder.unseen)
    except DecodeError as error:
        if error.row == 1 and header_of(text, delimiter):
            error.message += "; send no header row"
        raise


def decode_plain(body: bytes, width: int) -> Floats | None:
    """Return rows of `width` plain numbers; None for any other body, good or bad.

    One check of the whole body stands for all that the general path asks of it step by step.
    """
    body = body.removesuffix(b"\n")
    shape = body.translate(None, PLAIN) + b"\n"
    line = b"," * (width - 1) + b"\n"
    if width < 2 or shape != line * (len(shape) // width):
        return None
    try:
        values = numbers.parse(body.replace(b"\n", b","))
    except numbers.CellError:
        return None
    return numbers.narrow(values.reshape(-1, width))


def delimiter_of(lines: list[bytes]) -> bytes:
    """Return the one of DELIMITERS that most of the first lines have outside quotes, else a comma.

    One line alone does not decide in training: names may hold delimiters, and a row may be odd.
    """
    lines = [line.strip(b" ") for line in lines]
    lines = [QUOTED.sub(b"", line) if b'"' in line else line for line in lines]
    return max(DELIMITERS, key=lambda delimiter: sum(delimiter in line for line in lines))


def header_of(text: bytes, delimiter: bytes) -> list[str] | None:
    """Return the cells of the first line if they name columns: none of them is a number."""
    line = first_line(text)
    if numbers.is_number(line.partition(delimiter)[0].strip() or b"x"):
        return None
    cells = split_quoted(line, delimiter)[0]
    filled = [cell.encode() for cell in cells if cell.strip()]
    if not filled or any(numbers.is_number(cell) for cell in filled):
        return None
    return [cell.strip() for cell in cells]


def parse_text(
    text: bytes, delimiter: bytes, schema: Schema | None = None, recoder: Recoder | None = None
) -> Floats:
    """Return the lines of `text` as float32 [lines, width]; long texts go block by block, and end
    with the first one if its width cannot be the model's."""
    if len(text) <= BLOCK_BYTES:
        return parse_block(text, delimiter, None, recoder)
    parts: list[Floats] = []
    start, width = 0, None
    while start < len(text):
        end = text.rfind(b"\n", start, start + BLOCK_BYTES)
        if end < 0 or start + BLOCK_BYTES >= len(text):  # a long line, or the last block
            end = text.find(b"\n", start + BLOCK_BYTES)
            end = len(text) if end < 0 else end
        try:
            parts.append(parse_block(text[start:end], delimiter, width, recoder))
        except DecodeError as error:
            error.row = (error.row or 1) + sum(map(len, parts))
            raise
        start, width = end + 1, parts[0].shape[1]
        if schema and not may_have(width, schema):
            break
    return np.concatenate(parts)


def may_have(width: int, schema: Schema) -> bool:
    """Return whether rows of `width` cells can be the model's."""
    return width == schema.num_features or (width < schema.num_features and schema.pad_short_rows)


def parse_block(
    text: bytes, delimiter: bytes, width: int | None = None, recoder: Recoder | None = None
) -> Floats:
    """Return the lines of `text` as float32 [lines, width]; the first line sets the width.

    Raises DecodeError naming the row and column, counted in this block.
    """
    width = width or width_of(text, delimiter)
    if recoder is None:
        return numbers.rows(plain_cells(text, delimiter, width), width)
    values = numbers.narrow(encoded(text, delimiter, width, recoder.encoders(width)))
    recoder.rows += len(values)
    return values


def width_of(text: bytes, delimiter: bytes) -> int:
    """Return the number of cells of the first line. Raises DecodeError at unclosed quotes."""
    line = first_line(text)
    if b'"' in line:
        return len(split_quoted(line, delimiter)[0])
    return cells_in(line, delimiter)


def cells_in(line: bytes, delimiter: bytes) -> int:
    """Return the number of cells of a line without quotes."""
    if delimiter == b" ":
        return len(line.split()) or 1
    return line.count(delimiter) + 1


def plain_cells(text: bytes, delimiter: bytes, width: int) -> bytes:
    """Return the cells of all lines, separated by commas, without quotes and runs of spaces.

    Raises DecodeError where a line has not `width` cells.
    """
    if b'"' in text:
        text = unquoted(text, delimiter)
    if delimiter == b" ":  # a run of spaces is one delimiter
        text = re.sub(rb" *(\n|^|$) *", rb"\1", re.sub(rb" +", b" ", text))
    if delimiter != b",":
        if b"," in text:
            raise comma_fault(text, delimiter)
        text = text.replace(delimiter, b",")
    if not is_rectangle(text, width):
        raise fault_of(text, width)
    return text.replace(b"\n", b",")


def comma_fault(text: bytes, delimiter: bytes) -> DecodeError:
    """Return the fault of a comma among cells that another delimiter separates."""
    start = text.rfind(b"\n", 0, text.find(b",")) + 1
    before, _, after = text[start:].partition(b",")
    cell = before.rpartition(delimiter)[2] + b"," + re.split(rb"[\n" + delimiter + rb"]", after)[0]
    return numbers.not_a_number(cell, text.count(b"\n", 0, start) + 1, before.count(delimiter) + 1)


def fault_of(text: bytes, width: int) -> DecodeError:
    """Return the first fault of lines, commas between cells, that are no rectangle of numbers."""
    row = ragged_row(text, width) or 0
    lines = text.split(b"\n", row + 1)
    cells = lines[row].count(b",") + 1
    try:
        if row:
            numbers.doubles(b",".join(lines[:row]), width)
    except DecodeError as error:
        return error
    try:
        numbers.doubles(lines[row], cells)
    except DecodeError as error:
        return replace(error, row=row + 1)
    return DecodeError(
        f"{cells} cells where the first row has {width}", row=row + 1, expected=width, found=cells
    )


def unquoted(text: bytes, delimiter: bytes) -> bytes:
    """Return `text` without quotes around cells. Raises DecodeError where they cannot go."""
    if delimiter != b" " and is_plainly_quoted(text, delimiter):
        return text.replace(b'"', b"")
    mark, lines = delimiter.decode(), []
    for row, cells in enumerate(split_quoted(text, delimiter), 1):
        line = mark.join(cell.strip() or "nan" for cell in cells)
        if line.count(mark) != max(len(cells) - 1, 0) or "\n" in line:
            raise DecodeError("a cell holds a delimiter or a line break", row=row)
        lines.append(line)
    return "\n".join(lines).encode()
