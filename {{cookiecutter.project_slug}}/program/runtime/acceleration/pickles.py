"""Take XGBoost's model out of a pickle, without running what the pickle says.

A pickle is a program: it names functions and calls them. Here every name stands for an inert object
that only keeps its state, so nothing is imported, called or looked up, whatever the pickle holds.
What is taken from it in the end are the bytes that XGBoost itself serialised.
Source: https://docs.python.org/3/library/pickle.html#restricting-globals
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

FIRST_BYTE = b"\x80"  # of every pickle since protocol 2
BOOSTER = ("xgboost.core", "Booster")
ESTIMATORS = {
    ("xgboost.sklearn", f"XGB{kind}")
    for kind in ("Model", "Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
}


class UnreadablePickleError(Exception):
    """A pickle without a model of XGBoost. The message goes on from "found a pickle"."""


@dataclass(frozen=True)
class Pickled:
    """XGBoost's own serialised bytes, and what means missing to the estimator around them."""

    buffer: bytearray
    missing: float | None = None


class _Inert:
    """An object as data. The methods are those that a pickle may use to fill an object."""

    origin = ("", "")
    state: Any = None

    def __new__(cls, *arguments: Any, **named: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Forget an item of a list or a set."""

    add = append


def _bytearray(*arguments: Any) -> bytearray:
    """Build bytes only: a number would ask for memory."""
    match arguments:
        case (bytes() | bytearray() as data,):
            return bytearray(data)
        case (str() as text, "latin-1" | "latin1"):
            return bytearray(text, "latin-1")
    raise pickle.UnpicklingError("it has bytes of an unknown form")


BYTES = {  # how pickles of protocol 2 and later write them
    ("builtins", "bytearray"),
    ("__builtin__", "bytearray"),
    ("_codecs", "encode"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name: a type of its own, and never what the name means."""
        if (module, name) in BYTES:
            return _bytearray
        return type("Inert", (_Inert,), {"origin": (module, name)})


def read(data: bytes) -> Pickled:
    """Return the model of a pickled Booster or estimator. Raises UnreadablePickleError."""
    try:
        found = _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UnreadablePickleError(
            f"that cannot be read ({reason!a}): it is damaged, or written by joblib; load it where "
            "it was written, and save its model with get_booster().save_model"
        ) from None
    missing = None
    if _origin(found) in ESTIMATORS:
        state = _state(found)
        missing, found = state.get("missing"), state.get("_Booster")
        if missing is not None and not isinstance(missing, int | float):
            raise UnreadablePickleError(
                "of an estimator whose parameter `missing` is not a plain number: save it with "
                "get_booster().save_model, and write `missing` into manifest.json beside it"
            )
        if found is None:
            raise UnreadablePickleError("of an estimator that was never fitted")
    if _origin(found) != BOOSTER:
        name = ".".join(_origin(found))[:100]
        raise UnreadablePickleError(
            f"of {name!a}, not of XGBoost: if it holds a model of XGBoost, save that alone with "
            "get_booster().save_model"
        )
    buffer = _state(found).get("handle")
    if not isinstance(buffer, bytearray | bytes) or not buffer:
        raise UnreadablePickleError("of a Booster without a model: train it, then save_model")
    return Pickled(bytearray(buffer), missing)


def _origin(found: Any) -> tuple[str, str]:
    """Return module and name of what a pickle held."""
    return found.origin if isinstance(found, _Inert) else ("builtins", type(found).__name__)


def _state(found: _Inert) -> dict[Any, Any]:
    return found.state if isinstance(found.state, dict) else {}
