"""The categories that a model stores: XGBoost 3.1 and later keep those of a DataFrame.

They are read from the model's own saved form: `Booster.get_categories` needs pyarrow to show them.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.acceleration import ubjson
from runtime.formats.categories import Categories, Value

if TYPE_CHECKING:
    import xgboost

EXACT_UNICODE = (3, 4)  # until then pandas' categories were cut by characters in place of bytes

log = logging.getLogger(__name__)


def stored_categories(booster: xgboost.Booster) -> Categories | None:
    """Return the categories that `booster` stores, by the positions of its features; None if none.

    A column whose strings cannot be known is left out, with a warning: it takes codes alone.
    """
    if "c" not in (booster.feature_types or ()):
        return None
    raw = booster.save_raw("ubj")
    try:
        _, _, stored = located(raw)
    except KeyError:  # older, or a linear model
        return None
    exact = tuple(ubjson.locate(raw, ["version"])[2]) >= EXACT_UNICODE
    names = tuple(booster.feature_names or ()) or None
    found: dict[int, tuple[Value, ...]] = {}
    for position, column in enumerate(stored["enc"]):
        try:
            values = _values(column, exact)
        except ValueError as problem:
            name = repr(names[position]) if names else position + 1
            log.warning("the categories of column %s cannot be read: %s", name, problem)
            continue
        if values:
            found[position] = values
    return Categories(found, names) if found else None


def located(raw: bytearray) -> tuple[int, int, Any]:
    """Return where in a model, as UBJSON, its categories start and end, and what they are.

    Raises KeyError where it cannot have any.
    """
    try:
        return ubjson.locate(raw, ["learner", "gradient_booster", "model", "cats"])
    except KeyError:
        return ubjson.locate(raw, ["learner", "gradient_booster", "gbtree", "model", "cats"])


def _values(column: dict[str, Any], exact: bool) -> tuple[Value, ...]:
    """Return the values of a column: strings between offsets into bytes, or numbers.

    Raises ValueError where strings were not stored as they are.
    """
    if "offsets" not in column:
        return tuple(np.asarray(column["values"]).tolist())
    data = np.asarray(column["values"], np.int8).tobytes()
    if not exact and not data.isascii():
        raise ValueError(
            "XGBoost before 3.4 stores strings beyond ASCII cut in the wrong places; train with "
            "this image, or with XGBoost 3.4 or later"
        )
    offsets = np.asarray(column["offsets"], np.int64).tolist()
    values = tuple(data[start:end].decode() for start, end in pairwise(offsets))
    if len(set(values)) < len(values):
        raise ValueError("a value is a duplicate")
    return values
