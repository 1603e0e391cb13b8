"""text/csv: one row a line, cells separated by commas, semicolons, tabs or spaces."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from runtime.formats import numbers
from runtime.formats.errors import DecodeError, quoted
from runtime.formats.table import Floats, Reading, Rows, Schema, Table
from runtime.formats.text import BLOCK_BYTES, blocks, first_line, is_rectangle, lines_of

DELIMITERS = (b",", b";", b"\t", b" ")
SMALL_BYTES = 1 << 13  # below that, a look at each byte costs less than a few calls of numpy
PLAIN = b"0123456789+-.eE"  # what most bodies hold between their commas and newlines


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request: no label, no header."""
    if len(body) <= SMALL_BYTES:
        values = decode_plain(body, schema.num_features)
        if values is not None:
            return Rows(values)
    text = lines_of(body)
    if not text:
        return Rows.none(schema.num_features)
    delimiter = delimiter_of(text)
    try:
        return Rows(parse_text(text, delimiter))
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


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file: label in column 0, then the weight if there is one.

    A first row without any number is a header and names the columns.
    """
    delimiter, width, names = b"", None, None
    skip = 2 if reading.csv_weights else 1
    for block in blocks(stream):
        text = lines_of(block)
        if not text:
            continue
        if not delimiter:
            delimiter = delimiter_of(text.rpartition(b"\n")[2])  # names may hold delimiters
            header = header_of(text, delimiter)
            if header:
                names = feature_names(header, skip)
                width = len(header)
                text = text.partition(b"\n")[2]
                if not text:
                    continue
        values = parse_block(text, delimiter, width)
        width = values.shape[1]
        if width <= skip:
            raise DecodeError(
                f"a training row needs {'label, weight' if skip == 2 else 'a label'} and features",
                row=1,
                expected=skip + 1,
                found=width,
            )
        yield Table(
            np.ascontiguousarray(values[:, skip:]),
            labels=values[:, 0].copy(),
            weights=values[:, 1].copy() if reading.csv_weights else None,
            names=names,
        )


def delimiter_of(text: bytes) -> bytes:
    """Return the first of DELIMITERS that the first line has outside quotes, else a comma."""
    line = first_line(text).strip(b" ")
    if b'"' in line:
        line = re.sub(rb'"[^"]*"', b"", line)
    return next((delimiter for delimiter in DELIMITERS if delimiter in line), b",")


def header_of(text: bytes, delimiter: bytes) -> list[str] | None:
    """Return the cells of the first line if they name columns: none of them is a number."""
    cells = split_quoted(first_line(text), delimiter)[0]
    filled = [cell.encode() for cell in cells if cell.strip()]
    if not filled or any(numbers.is_number(cell) for cell in filled):
        return None
    return [cell.strip() for cell in cells]


def feature_names(header: list[str], skip: int) -> tuple[str, ...]:
    """Return the names after the label and the weight. Raises DecodeError on unusable ones."""
    names = tuple(header[skip:])
    for index, name in enumerate(names):
        if not name or name in names[:index]:
            fault = f"duplicate name {quoted(name)}" if name else "the column has no name"
            raise DecodeError(f"header row: {fault}", column=index + skip + 1)
    return names


def parse_text(text: bytes, delimiter: bytes) -> Floats:
    """Return the lines of `text` as float32 [lines, width]; long texts go block by block."""
    if len(text) <= BLOCK_BYTES:
        return parse_block(text, delimiter)
    parts: list[Floats] = []
    start, width = 0, None
    while start < len(text):
        end = text.rfind(b"\n", start, start + BLOCK_BYTES)
        if end < 0 or start + BLOCK_BYTES >= len(text):  # a long line, or the last block
            end = text.find(b"\n", start + BLOCK_BYTES)
            end = len(text) if end < 0 else end
        try:
            parts.append(parse_block(text[start:end], delimiter, width))
        except DecodeError as error:
            error.row = (error.row or 1) + sum(map(len, parts))
            raise
        start, width = end + 1, parts[0].shape[1]
    return np.concatenate(parts)


def parse_block(text: bytes, delimiter: bytes, width: int | None = None) -> Floats:
    """Return the lines of `text` as float32 [lines, width]; the first line sets the width.

    Raises DecodeError naming the row and column, counted in this block.
    """
    if b'"' in text:
        text = unquoted(text, delimiter)
    if delimiter == b" ":  # a run of spaces is one delimiter
        text = re.sub(rb" *(\n|^|$) *", rb"\1", re.sub(rb" +", b" ", text))
    width = width or first_line(text).count(delimiter) + 1
    if delimiter != b",":
        if b"," in text:
            raise fault_of(text, delimiter, width)
        text = text.replace(delimiter, b",")
        delimiter = b","
    if not is_rectangle(text, width):
        raise fault_of(text, delimiter, width)
    return numbers.rows(text.replace(b"\n", b","), width)


def fault_of(text: bytes, delimiter: bytes, width: int) -> DecodeError:
    """Return the first fault of lines that are no rectangle of numbers."""
    for row, line in enumerate(text.split(b"\n"), 1):
        cells = line.split(delimiter)
        for column, cell in enumerate(cells, 1):
            if not numbers.is_number(cell):
                return numbers.not_a_number(cell, row, column)
        if len(cells) != width:
            return DecodeError(
                f"{len(cells)} cells where the first row has {width}",
                row=row,
                expected=width,
                found=len(cells),
            )
    return DecodeError("the cells are no rectangle of numbers")


def unquoted(text: bytes, delimiter: bytes) -> bytes:
    """Return `text` without quotes around cells. Raises DecodeError where they cannot go."""
    mark, lines = delimiter.decode(), []
    for row, cells in enumerate(split_quoted(text, delimiter), 1):
        line = mark.join(cell.strip() or "nan" for cell in cells)
        if line.count(mark) != max(len(cells) - 1, 0) or "\n" in line:
            raise DecodeError("a cell holds a delimiter or a line break", row=row)
        lines.append(line)
    return "\n".join(lines).encode()


def split_quoted(text: bytes, delimiter: bytes) -> list[list[str]]:
    """Return the cells of `text` as Python's csv module reads them, strictly."""
    try:
        source = io.StringIO(text.decode("utf-8", "backslashreplace"), newline="")
        return list(
            csv.reader(source, delimiter=delimiter.decode(), strict=True, skipinitialspace=True)
        )
    except csv.Error as error:
        raise DecodeError(str(error)) from None
