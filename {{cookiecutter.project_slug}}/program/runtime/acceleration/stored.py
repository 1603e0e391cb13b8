"""The categories that a model stores: XGBoost 3.1 and later keep those of a DataFrame.

They are read from the model's own saved form: `Booster.get_categories` needs pyarrow to show them.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.acceleration import ubjson
from runtime.acceleration.boosters import SAVED_WITH
from runtime.formats.categories import Categories, Value
from runtime.job.versions import xgboost_version

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
    exact = _version(booster) >= EXACT_UNICODE
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


def _version(booster: xgboost.Booster) -> tuple[int, ...]:
    """Return the version that stored the categories. XGBoost keeps a cut category as it is and
    writes its own version beside it, so only what was noted when the file was read tells."""
    saved = booster.attr(SAVED_WITH)
    return tuple(map(int, saved.split("."))) if saved else xgboost_version() or ()


def with_categories(raw: bytearray, categories: Categories) -> bytearray:
    """Return a model, as UBJSON, that stores `categories` of its columns: strings all of them.

    XGBoost then encodes a DataFrame with them itself. A model that cannot store them, or does not
    read as it should afterwards, is returned as it was, with a warning.
    """
    import xgboost

    try:
        start, end, found = located(raw)
        columns = xgboost.Booster(model_file=raw).num_features()
        stored = raw[:start] + _document(categories, columns) + raw[end:]
        back = xgboost.Booster(model_file=stored)
        _, _, again = located(back.save_raw("ubj"))
        if len(found["enc"]) or [_values(column, True) for column in again["enc"]] != [
            tuple(categories.values.get(column, ())) for column in range(columns)
        ]:
            raise ValueError("it would not hold them as they are")
    except (KeyError, ValueError, xgboost.core.XGBoostError) as problem:
        log.warning("the model itself cannot store its categories, the manifest does: %s", problem)
        return raw
    return stored


def _document(categories: Categories, columns: int) -> bytes:
    """Return the categories as XGBoost stores them, in UBJSON."""
    entries, ends, order = [], [0], []
    for column in range(columns):
        texts = [str(value).encode() for value in categories.values.get(column, ())]
        offsets = np.cumsum([0, *map(len, texts)]) if texts else np.empty(0)
        data = np.frombuffer(b"".join(texts), np.int8)
        entries.append(ubjson.arrays({"offsets": offsets.astype(">i4"), "values": data}))
        ends.append(ends[-1] + len(texts))
        # XGBoost searches them in the order of their bytes, which are signed there.
        signed = [np.frombuffer(text, np.int8).tolist() for text in texts]
        order += sorted(range(len(texts)), key=signed.__getitem__)
    tail = {"feature_segments": np.array(ends, ">i4"), "sorted_idx": np.array(order, ">i4")}
    head = b"{" + ubjson.text("enc") + b"[#" + ubjson.length(len(entries))
    return head + b"".join(entries) + ubjson.arrays(tail)[1:]


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
