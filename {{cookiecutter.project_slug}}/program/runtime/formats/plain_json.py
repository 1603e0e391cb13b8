"""The little of simdjson that is used here, by orjson: for a Python that simdjson has no wheel for.

The same numbers and the same refusals; slower, since each number becomes an object first.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

NUMBERS = {int, float}


class Array(list[Any]):
    """A JSON array, of numbers or of arrays of numbers."""

    def as_buffer(self, of_type: str) -> NDArray[np.float64]:
        """Return the numbers, one after the other, as float64 (`of_type` d). Raises TypeError."""
        nested = bool(self) and all(type(item) is list for item in self)
        flat = list(chain.from_iterable(self)) if nested else self
        if not set(map(type, flat)) <= NUMBERS:
            raise TypeError("something is not a number")
        return np.array(flat, of_type)


class Parser:
    """What simdjson's parser is asked for."""

    def parse(self, text: bytes) -> Any:
        """Return a document, or raise ValueError; its outermost arrays are of type Array."""
        document = orjson.loads(text)
        if isinstance(document, dict):
            return {
                key: Array(value) if type(value) is list else value
                for key, value in document.items()
            }
        return Array(document) if isinstance(document, list) else document
