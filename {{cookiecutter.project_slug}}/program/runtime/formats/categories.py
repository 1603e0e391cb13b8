"""The categories of a model's columns: values, mostly strings, and the codes that trees split on.

The code of a value is its position among the sorted values of its column, as in pandas'
`astype("category")`, so that a model that was trained on a DataFrame and one that was trained on
the same data in a file have the same codes. White space is a part of a value. An empty cell and
null are missing; so is the empty string, unless the model has it as a category.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.formats.errors import DecodeError, quoted

Floats = NDArray[np.float32]
Value = str | int | float
Encode = Callable[[Sequence[Any]], Floats]  # cells of a column -> codes
Encoders = Mapping[int, Encode]  # of the columns that hold strings, by their numbers from 0
NO_ENCODERS: Encoders = {}
MOST_CATEGORIES = 1 << 24  # of a column: float32 holds no more codes exactly
UNSEEN = -1.0
# Python's float reads more, such as 1_0 and digits of other alphabets. What is infinite is refused.
NUMBER = re.compile(
    r"\s*(nan|[+-]?(inf(inity)?|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?))\s*", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True)
class Unseen:
    """Cells of a column whose value is no category: how many, and the first one, row from 1."""

    position: int
    count: int
    row: int
    value: str


@dataclass(frozen=True)
class Categories:
    """The ordered values of each categorical column, by its position from 0 among the columns of
    the data; strings, or numbers as pandas stores those of numeric columns. A column that is
    categorical and not here holds codes. With `takes_codes` a number is a code where it cannot be
    a category: in a column whose categories are words, as XGBoost takes it from an array."""

    values: Mapping[int, tuple[Value, ...]]
    names: tuple[str, ...] | None = None
    takes_codes: bool = False
    _tables: dict[int, dict[Any, float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _words: dict[int, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def name_of(self, position: int) -> str | int:
        """Return the name of a column, or its number from 1."""
        return self.names[position] if self.names else position + 1

    def is_text(self, position: int) -> bool:
        """Return whether the categories of a column are strings."""
        return isinstance(next(iter(self.values[position]), ""), str)

    def encode(self, position: int, cells: Sequence[Any]) -> tuple[Floats, Unseen | None]:
        """Return the codes of a column's cells, float32 [cells], NaN where one is missing or no
        category, and what was no category.

        Cells are strings, numbers or None; numeric categories are found by the text of a number
        too. Raises DecodeError with row and column at a number among strings, and at anything else.
        """
        table = self._table(position)
        try:
            codes = np.fromiter(map(table.get, cells, repeat(UNSEEN)), np.float32, len(cells))
        except TypeError:  # a list or an object, which has no hash
            raise self._fault(position, cells) from None
        if not set(map(type, cells)) <= set(self._kinds(position)):
            raise self._fault(position, cells)
        rows = np.flatnonzero(codes == UNSEEN)
        if rows.size and not self.is_text(position):
            codes[rows] = [table.get(_number(cells[row]), UNSEEN) for row in rows.tolist()]
            rows = rows[codes[rows] == UNSEEN]
        elif rows.size and self.takes_codes and self._are_words(position):
            numbers = [_number(cells[row]) for row in rows.tolist()]
            given = [not isinstance(number, str) for number in numbers]
            codes[rows[given]] = self._as_codes(position, rows[given], numbers)
            rows = rows[[not is_code for is_code in given]]
        if not rows.size:
            return codes, None
        codes[rows] = np.nan
        first = int(rows[0])
        return codes, Unseen(position, len(rows), first + 1, str(cells[first]))

    def recoder(self) -> Recoder:
        """Return what encodes the columns of one request, block by block."""
        return Recoder(self)

    def ordered(self) -> Categories:
        """Return the same values in the order of pandas: strings by code point."""
        values = {column: tuple(sorted(found)) for column, found in self.values.items()}
        return Categories(values, self.names)

    def document(self) -> dict[str, Any]:
        """Return the JSON object that a manifest keeps."""
        columns = [
            {"position": position, "name": self.names and self.names[position], "values": [*values]}
            for position, values in sorted(self.values.items())
        ]
        return {"columns": columns}

    @classmethod
    def from_document(cls, document: Any, names: tuple[str, ...] | None = None) -> Categories:
        """Return the categories of a manifest, whose columns are called `names`.

        Raises ValueError where it is not what `document` makes.
        """
        try:
            values = {
                int(entry["position"]): tuple(entry["values"]) for entry in document["columns"]
            }
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not the categories of a model: {problem!r}") from None
        for position, column in values.items():
            kinds = {type(value) for value in column}
            plain = kinds <= {str} or kinds <= {int, float}
            if position < 0 or not plain or len(set(column)) < len(column):
                raise ValueError(f"not the categories of a model: column {position + 1}")
        return cls(values, names)

    def _table(self, position: int) -> dict[Any, float]:
        """Return the code of each value of a column; NaN for what means missing."""
        if position not in self._tables:
            missing = {None: np.nan, "": np.nan}
            codes = {value: float(code) for code, value in enumerate(self.values[position])}
            self._tables[position] = missing | codes
        return self._tables[position]

    def _as_codes(self, position: int, rows: NDArray[np.intp], numbers: Sequence[Any]) -> Floats:
        """Return the numbers among `numbers`, those of `rows`, as codes, float32. Raises
        DecodeError at one that is beyond float32."""
        found = [number for number in numbers if not isinstance(number, str)]
        with np.errstate(over="ignore"):
            codes = np.array([_float(number) for number in found], np.float64).astype(np.float32)
        for at in np.flatnonzero(np.isinf(codes))[:1].tolist():
            raise DecodeError(
                "infinite, or too large for a 32-bit float",
                row=int(rows[at]) + 1,
                column=self.name_of(position),
            )
        return codes

    def _are_words(self, position: int) -> bool:
        """Return whether no category of a column reads as a number."""
        if position not in self._words:
            values = self.values[position]
            self._words[position] = all(isinstance(_number(value), str) for value in values)
        return self._words[position]

    def _kinds(self, position: int) -> tuple[type, ...]:
        """Return the types that a cell of a column may have."""
        if self.is_text(position) and not (self.takes_codes and self._are_words(position)):
            return (str, type(None))
        return (str, int, float, type(None))

    def _fault(self, position: int, cells: Sequence[Any]) -> DecodeError:
        """Return the fault of the first cell whose type cannot be that of a category."""
        kinds = self._kinds(position)
        row, cell = next(
            (row, cell)
            for row, cell in enumerate(cells, 1)
            if isinstance(cell, bool) or not isinstance(cell, kinds)
        )
        return not_a_category(cell, row, self.name_of(position))


def not_a_category(cell: object, row: int, column: int | str) -> DecodeError:
    """Return the fault of a cell that is no string in a column of strings."""
    return DecodeError(
        f"{quoted(cell)} is not a string, and this column's categories are strings: quote it",
        row=row,
        column=column,
        found=str(cell),
    )


def _number(cell: Any) -> Any:
    """Return the number that a text holds; the cell itself if it is none."""
    return float(cell) if isinstance(cell, str) and NUMBER.fullmatch(cell) else cell


def _float(number: float) -> float:
    """Return a number as float, infinite where it is a whole number beyond that."""
    try:
        return float(number)
    except OverflowError:
        return np.inf


class Recoder:
    """Encodes the columns of one set of rows, block by block, and keeps what was no category."""

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        self.rows = 0  # of the blocks before
        self._unseen: dict[int, Unseen] = {}

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """What was no category, by column."""
        return tuple(self._unseen.values())

    def encode(self, position: int, cells: Sequence[Any]) -> Floats:
        """Return the codes of a column's cells in a block. Raises DecodeError."""
        codes, unseen = self.categories.encode(position, cells)
        if unseen:
            before = self._unseen.get(
                position, replace(unseen, count=0, row=unseen.row + self.rows)
            )
            self._unseen[position] = replace(before, count=before.count + unseen.count)
        return codes

    def encoders(self, width: int) -> Encoders:
        """Return how each categorical one of `width` columns is encoded."""
        positions = [position for position in self.categories.values if position < width]
        return {position: partial(self.encode, position) for position in positions}


class Vocabulary:
    """The strings that a column turns out to hold, block after block, under provisional codes."""

    def __init__(self) -> None:
        self._codes: dict[str | None, float] = {None: np.nan, "": np.nan}

    def encode(self, cells: Sequence[str | None]) -> Floats:
        """Return provisional codes, float32 [cells], NaN where missing; new strings get new ones.

        Raises DecodeError where they become too many.
        """
        table = self._codes
        for value in dict.fromkeys(cells):  # in their order: digests of tables rely on it
            if value not in table:
                table[value] = float(len(table) - 2)
        if len(table) - 2 > MOST_CATEGORIES:
            raise DecodeError(f"more than {MOST_CATEGORIES} categories: codes are 32-bit floats")
        return np.fromiter(map(table.__getitem__, cells), np.float32, len(cells))

    def values(self) -> tuple[str, ...]:
        """Return the strings in the order of their provisional codes."""
        return tuple(value for value in self._codes if value)
