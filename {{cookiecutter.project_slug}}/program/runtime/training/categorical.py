"""Categorical columns and labels of strings: what the channels hold, what the model is told.

The codes of a column's strings are their positions among the sorted ones of the training channel,
on all hosts together, as pandas has them. `features.transform` gets codes, and columns keep being
categorical by their names, or without names by their positions.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from runtime.formats import numbers
from runtime.formats.assembly import recoded
from runtime.formats.categories import MOST_CATEGORIES, Categories
from runtime.formats.errors import FormatError, NotANumberError, listed, quoted
from runtime.formats.strings import LABEL, Strings
from runtime.formats.table import Floats, Table
from runtime.job.failures import UserError
from runtime.training.parameters import Hyperparameters

CATEGORICAL, QUANTITY = "c", "q"
MOST_NOTED = 5  # values of a validation channel that are no categories

log = logging.getLogger(__name__)
Names = Sequence[str] | None


def strings_of(chosen: Hyperparameters, like: Table | None) -> Strings:
    """Return where a channel may hold strings; `like` is the training table of another channel."""
    if like is None:
        return Strings(features=bool(chosen["enable_categorical"]), labels=_has_classes(chosen))
    columns = set(like.categories.values) if like.categories else set()
    return Strings(columns | ({LABEL} if like.label_names is not None else set()))


def _has_classes(chosen: Hyperparameters) -> bool:
    """Return whether labels are classes, so that strings can be their names."""
    return chosen.objective.startswith(("binary:", "multi:"))


def hint(fault: FormatError, chosen: Hyperparameters, like: Table | None) -> str:
    """Return what to do about a cell that is no number, for the message of a channel's `fault`."""
    if not isinstance(fault, NotANumberError):
        return ""
    if like is not None:
        return "; channel train has numbers there"
    if chosen["enable_categorical"]:
        classes = "; labels may be strings with an objective of binary: or multi:"
        return "" if _has_classes(chosen) else classes
    return "; set enable_categorical=true to train on strings as categories"


def settle(
    tables: dict[str, Table],
    chosen: Hyperparameters,
    categories: Categories | None,
    labels: Iterable[str] | None,
) -> dict[str, Table]:
    """Return the tables with the codes of `categories`, and of `labels`: all that the training
    channel holds, on all hosts.

    A category of the validation channel that training has not is missing, with a note. Raises
    UserError for labels that are not the objective's classes.
    """
    ordered = categories.ordered() if categories else None
    names = _label_names(tables["train"], chosen, labels) if labels is not None else None
    settled = {}
    for channel, table in tables.items():
        for value in (table.label_names or ()) if names else ():
            if value not in (names or ()):
                raise UserError(
                    f"channel {channel}: {table.label_sources.get(value, 'a row')}: the label "
                    f"{quoted(value)} is none of {listed(names or ())}"
                )
        settled[channel], unseen = recoded(table, ordered, names)
        for column, rows in unseen.items():
            name = ordered.name_of(column) if ordered else column
            some = ", ".join(quoted(value) for value in list(rows)[:MOST_NOTED])
            log.warning(
                "channel %s, column %s: %d cells are missing, since the training data has not "
                "these categories: %s", channel, name, sum(rows.values()), some,
            )  # fmt: skip
    if ordered:
        _describe(ordered)
    return settled


def _describe(categories: Categories) -> None:
    for column, values in categories.values.items():
        name = categories.name_of(column)
        log.info("column %s: %d categories: %s", name, len(values), listed(values[:MOST_NOTED]))
        spaced = [value for value in values if str(value) != str(value).strip()]
        if spaced:
            log.info(
                "note: column %s: white space is a part of a category: %s",
                name, ", ".join(map(quoted, spaced[:MOST_NOTED])),
            )  # fmt: skip


def _label_names(train: Table, chosen: Hyperparameters, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers. Raises UserError."""
    found = sorted(labels)
    numeric = [label for label in found if numbers.is_number(label.encode())]
    if numeric and len(numeric) < len(found):
        text = next(label for label in found if label not in numeric)
        raise UserError(
            f"channel train: {train.label_sources.get(text, 'a row')}: the label {quoted(text)} "
            f"is not a number, but others are, such as {quoted(numeric[0])}"
        )
    if chosen["label_names"]:
        return tuple(chosen["label_names"])
    classes = int(chosen["num_class"] or 2)
    if len(found) != classes:
        wanted = f"num_class={classes}" if chosen["num_class"] else chosen.objective
        raise UserError(
            f"channel train holds {len(found)} different labels, where {wanted} has {classes} "
            f"classes: {listed(map(quoted, found))}; name all of them in label_names if the data "
            "lacks some"
        )
    return tuple(found)


def feature_types(
    chosen: Hyperparameters, data: Table, columns: int, names: Names
) -> tuple[str, ...] | None:
    """Return XGBoost's type of each of the model's `columns`, which are called `names`; None
    without a word about them. Raises UserError for columns that there are not."""
    given = chosen["feature_types"]
    if given is not None and len(given) != columns:
        raise UserError(f"feature_types has {len(given)} types, the model has {columns} columns")
    types = list(given or [QUANTITY] * columns)
    of_strings = [_after(data, position, columns, names) for position in _positions(data)]
    for position in of_strings:
        if position is not None and given and types[position] != CATEGORICAL:
            name = names[position] if names else position
            raise UserError(
                f"feature_types calls column {name} {types[position]}, but it holds strings"
            )
    named = [_position(item, columns, names) for item in chosen["categorical_features"] or ()]
    for position in (*of_strings, *named):
        if position is not None:
            types[position] = CATEGORICAL
    return tuple(types) if given or CATEGORICAL in types else None


def _positions(data: Table) -> list[int]:
    return sorted(data.categories.values) if data.categories else []


def _after(data: Table, position: int, columns: int, names: Names) -> int | None:
    """Return where a column of the data is among those of the model; None if it is not there."""
    if data.names and names:
        name = data.names[position]
        return names.index(name) if name in names else None
    if columns < data.features.shape[1]:
        raise UserError(
            "features.transform drops columns, and without names nothing shows which of the rest "
            "are categorical: give the data column names"
        )
    return position


def _position(item: str, columns: int, names: Names) -> int:
    """Return the number of a column that categorical_features names. Raises UserError."""
    if names and item in names:
        return names.index(item)
    if item.isdecimal() and int(item) < columns:
        return int(item)
    have = f"its columns are {listed(names)}" if names else f"it has the columns 0 to {columns - 1}"
    raise UserError(f"categorical_features: {quoted(item)} is not a column of the model; {have}")


def check_codes(table: Table, chosen: Hyperparameters) -> None:
    """Raise UserError where a categorical column of the model holds what is no code."""
    for column, kind in enumerate(chosen.feature_types or ()):
        if kind != CATEGORICAL:
            continue
        values, rows = _column(table.features, column)
        with np.errstate(invalid="ignore"):
            wrong = (values < 0) | (values >= MOST_CATEGORIES) | (values != np.floor(values))
        wrong &= ~np.isnan(values) & (values != chosen["missing"])
        if wrong.any():
            at = int(wrong.argmax())
            name = table.names[column] if table.names else column
            raise UserError(
                f"data row {rows[at] + 1}, column {name}: {values[at]:.9g} is not the code of a "
                f"category: codes are whole numbers from 0 to {MOST_CATEGORIES - 1}"
            )


def _column(features: Floats | csr_matrix, column: int) -> tuple[Floats, Sequence[int]]:
    """Return the values of a column, and their rows."""
    if isinstance(features, csr_matrix):
        entries = features[:, [column]].tocoo()
        return entries.data, entries.row
    return features[:, column], range(len(features))


def digests(categories: Categories | None, labels: Sequence[str] | None) -> dict[str, str]:
    """Return what a checkpoint keeps of categories: how many a column has, and their digest."""
    known = {f"categories of column {categories.name_of(c)}": values
             for c, values in sorted(categories.values.items())} if categories else {}  # fmt: skip
    if labels is not None:
        known["label names"] = tuple(labels)
    return {
        name: f"{len(values)}, {hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]}"
        for name, values in known.items()
    }


def of_model(data: Table, columns: int, names: Names) -> Categories | None:
    """Return the categories of the model's `columns`, which are called `names`."""
    values = data.categories.values if data.categories else {}
    places = {position: _after(data, position, columns, names) for position in values}
    found = {place: values[position] for position, place in places.items() if place is not None}
    return Categories(found, tuple(names) if names else None) if found else None
