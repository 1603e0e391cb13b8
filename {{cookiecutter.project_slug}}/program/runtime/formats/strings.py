"""The strings of a training channel: which columns hold them, and their values.

A reader begins with the columns that are known to hold strings. At a string elsewhere it stops with
StringsFoundError, and the channel is read again from its start: numbers that came before in such a
column are strings too, and their text was not kept. Numbers alone are read as if there was no such
thing. Codes are provisional, in the order of appearance, until `assembly.recoded`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from runtime.formats.categories import Categories, Encoders, Floats, Vocabulary, not_a_category
from runtime.formats.errors import DecodeError

LABEL = -1  # the label's place among the columns of a channel; features count from 0
STRINGS = {str, type(None)}
Names = tuple[str, ...] | None


class StringsFoundError(Exception):
    """Columns, by their places, hold strings, and were not known to."""

    def __init__(self, columns: Collection[int]) -> None:
        super().__init__(sorted(columns))
        self.columns = frozenset(columns)


class Strings:
    """The strings of one channel. `columns` are the places known to hold some; `features` and
    `labels` say whether others may."""

    def __init__(
        self, columns: Collection[int] = (), *, features: bool = False, labels: bool = False
    ) -> None:
        self.columns, self.features, self.labels = frozenset(columns), features, labels
        self.names: Names = None  # of the features, in the channel's first file
        self.source: Callable[[int], str] = "row {}".format  # of a row of the block: file and row
        self.label_sources: dict[str, str] = {}
        self._vocabularies = {column: Vocabulary() for column in self.columns}

    def also(self, columns: Collection[int]) -> Strings:
        """Return what reads the channel again, with `columns` known to hold strings too."""
        return Strings(self.columns | set(columns), features=self.features, labels=self.labels)

    def found(self, columns: Collection[int], names: Names) -> None:
        """Raise StringsFoundError if there may be strings in some of a file's `columns` that are
        not known: LABEL, and the numbers of features, which are called `names`."""
        places = {self._place(column, names) for column in columns} - self.columns
        new = {place for place in places if (self.labels if place == LABEL else self.features)}
        if new:
            raise StringsFoundError(new)

    def encoders(self, count: int, names: Names) -> Encoders:
        """Return how a file's columns of strings are encoded: LABEL, and of its `count` features,
        which are called `names`."""
        self.names = self.names or names
        found = {}
        for column in (LABEL, *range(count)):
            place = self._place(column, names)
            if place in self.columns:
                name = "label" if column == LABEL else names[column] if names else column + 1
                found[column] = partial(self._encode, place, name)
        return found

    def categories(self) -> Categories | None:
        """Return the values of the features' columns, in the order of the codes."""
        values = {
            place: vocabulary.values()
            for place, vocabulary in self._vocabularies.items()
            if place != LABEL
        }
        return Categories(values, self.names) if values else None

    def label_names(self) -> tuple[str, ...] | None:
        """Return the values of the labels, in the order of the codes; None if they are numbers."""
        return self._vocabularies[LABEL].values() if LABEL in self.columns else None

    def _place(self, column: int, names: Names) -> int:
        """Return the place of a file's column in the channel: files may order theirs otherwise."""
        if column == LABEL or names is None or self.names is None:
            return column
        return self.names.index(names[column]) if names[column] in self.names else column

    def _encode(self, place: int, name: str | int, cells: Sequence[Any]) -> Floats:
        """Return provisional codes. Raises DecodeError at what is no string."""
        if not set(map(type, cells)) <= STRINGS:
            row = next(row for row, cell in enumerate(cells) if type(cell) not in STRINGS)
            raise not_a_category(cells[row], row + 1, name)
        if place == LABEL:
            for value in set(cells) - {None, ""} - self.label_sources.keys():
                self.label_sources[value] = self.source(cells.index(value) + 1)
        try:
            return self._vocabularies[place].encode(cells)
        except DecodeError as error:
            error.column = name
            raise
