"""Training files of text/csv: a header where there is one, label, weight, features, query ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np

from runtime.formats import numbers
from runtime.formats.cells import encoded, text_cells
from runtime.formats.delimited import delimiter_of, header_of, plain_cells, width_of
from runtime.formats.errors import DecodeError, printable
from runtime.formats.strings import LABEL, Strings
from runtime.formats.table import QUERY_ID, Reading, Table, check_names, whole
from runtime.formats.text import (
    BLOCK_BYTES,
    blocks,
    first_lines,
    line_of_row,
    lines_of,
    without_blank_lines,
)


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file: label in column 0, then the weight if there is one.

    A first row without any number is a header and names the columns; one called `qid` holds query
    ids. Blank lines are no rows.
    """
    layout = None
    for block in blocks(stream):
        text = lines_of(block)
        if not layout:
            text = without_blank_lines(text)
            if not text:
                continue
            layout = layout_of(text, reading)
            if layout.names is not None:
                text = text.partition(b"\n")[2]
        if text:
            yield table_of(text, layout, reading)


@dataclass(frozen=True)
class Layout:
    """What the first rows of a training file say of all: `names` are those of its header, the
    features begin after `skip` columns."""

    delimiter: bytes
    width: int
    skip: int
    names: tuple[str, ...] | None = None

    @cached_property
    def query_id(self) -> int | None:
        """The column of query ids, from 0."""
        return self.names.index(QUERY_ID) if self.names and QUERY_ID in self.names else None

    @cached_property
    def features(self) -> list[int]:
        """The columns of the features, from 0."""
        return [column for column in range(self.skip, self.width) if column != self.query_id]

    @cached_property
    def feature_names(self) -> tuple[str, ...] | None:
        """What the header calls the features."""
        return tuple(self.names[column] for column in self.features) if self.names else None


def layout_of(text: bytes, reading: Reading) -> Layout:
    """Return the layout of a file that starts with `text`. Raises DecodeError where its header or
    its width cannot be that of training data."""
    delimiter = delimiter_of(first_lines(text))
    header = header_of(text, delimiter)
    skip = 2 if reading.csv_weights else 1
    layout = Layout(
        delimiter,
        len(header) if header else width_of(text, delimiter),
        skip,
        tuple(header) if header else None,
    )
    if header:
        check_names(header[:skip])  # a label without a name is the index that pandas wrote
        check_names(header[skip:], skip + 1)
    if layout.width <= skip + (layout.query_id is not None):
        raise DecodeError(
            f"a training row needs {'label, weight' if skip == 2 else 'a label'} and features",
            row=None if header else 1,
            expected=skip + 1,
            found=layout.width,
        )
    return layout


def table_of(text: bytes, layout: Layout, reading: Reading) -> Table:
    """Return the rows of a block. Raises DecodeError with row (blank lines are none) and column."""
    query_id, columns = layout.query_id, layout.features
    try:
        doubles = doubles_of(text, layout, reading.strings)
        values = numbers.narrow(doubles)
    except DecodeError as error:
        if isinstance(error.column, int) and layout.names:
            error.column = printable(layout.names[error.column - 1])
        raise
    features = values[:, layout.skip :]
    if features.shape[1] > len(columns):  # the query id is among them
        features = values[:, columns]
    return Table(
        np.ascontiguousarray(features),
        labels=values[:, 0].copy(),
        weights=values[:, 1].copy() if reading.csv_weights else None,
        query_ids=None if query_id is None else whole(doubles[:, query_id]),
        names=layout.feature_names,
    )


def doubles_of(text: bytes, layout: Layout, strings: Strings | None) -> numbers.Doubles:
    """Return the rows of a block as float64 [rows, width], strings encoded.

    Raises DecodeError, or StringsFoundError.
    """
    width, delimiter, columns = layout.width, layout.delimiter, layout.features
    encoders = strings.encoders(len(columns), layout.feature_names) if strings else {}
    own = {0 if at == LABEL else columns[at]: encode for at, encode in encoders.items()}

    def parse(rows: bytes) -> numbers.Doubles:
        if own:
            return encoded(rows, delimiter, width, own)
        return numbers.doubles(plain_cells(rows, delimiter, width), width)

    try:
        return parse(text)
    except DecodeError:
        text = without_blank_lines(text)
        try:
            return parse(text)
        except DecodeError:
            if strings is not None:
                raise_on_strings(text, layout, strings)
            raise


def raise_on_strings(text: bytes, layout: Layout, strings: Strings) -> None:
    """Raise StringsFoundError if cells of the block that may be strings are no numbers."""
    try:
        cells = text_cells(text, layout.delimiter, layout.width)
    except DecodeError:
        return  # the first fault tells more
    found = [
        place
        for place, column in enumerate((0, *layout.features), LABEL)
        if not all(numbers.is_number(cell.encode()) for cell in set(cells[column :: layout.width]))
    ]
    strings.found(found, layout.feature_names)


def line_of(stream: BinaryIO, row: int) -> int:
    """Return the line of a training file that holds a row: a header and blank lines are none."""
    start = without_blank_lines(lines_of(stream.read(BLOCK_BYTES)))
    stream.seek(0)
    header = header_of(start, delimiter_of(first_lines(start)))
    return line_of_row(stream, row + bool(header), lambda line: bool(line.strip(b" ")))
