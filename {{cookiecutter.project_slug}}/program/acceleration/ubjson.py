"""A reader of UBJSON, the binary JSON that XGBoost saves models in.

Typed arrays come back as numpy views of the bytes, so a model of a million nodes costs no more
than its file. Source: https://ubjson.org and XGBoost's `src/common/json.cc` (big-endian).
"""

from __future__ import annotations

from typing import Any

import numpy as np

NUMBERS: dict[bytes, np.dtype[Any]] = {
    marker: np.dtype(code)
    for marker, code in zip(
        (b"i", b"U", b"I", b"l", b"L", b"d", b"D"),
        ("i1", "u1", ">i2", ">i4", ">i8", ">f4", ">f8"),
        strict=True,
    )
}
CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def parse(data: bytes) -> Any:
    """Return the value that `data` begins with. Raises ValueError when it is not UBJSON."""
    return _Reader(data).value()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        start, self.position = self.position, self.position + count
        if self.position > len(self.data):
            raise ValueError(f"the data ends at byte {len(self.data)}, inside a value")
        return self.data[start : self.position]

    def next_is(self, marker: bytes) -> bool:
        """Return whether the next byte is `marker`, and step over it if so."""
        found = self.data[self.position : self.position + 1] == marker
        self.position += found
        return found

    def text(self) -> str:
        """Return a length-prefixed string (keys of objects have no `S` marker)."""
        return self.take(int(self.value())).decode("utf-8")

    def value(self) -> Any:
        """Return the next value of any type."""
        marker = self.take(1)
        if marker in NUMBERS:
            dtype = NUMBERS[marker]
            return np.frombuffer(self.take(dtype.itemsize), dtype)[0].item()
        if marker in CONSTANTS:
            return CONSTANTS[marker]
        if marker == b"S":
            return self.text()
        if marker == b"[":
            return self.array()
        if marker != b"{":
            raise ValueError(f"unknown marker {marker!r} at byte {self.position - 1}")
        result: dict[str, Any] = {}
        while not self.next_is(b"}"):
            key = self.text()
            result[key] = self.value()
        return result

    def array(self) -> Any:
        """Return a list, or for a typed array a read-only numpy view."""
        if self.next_is(b"$"):
            dtype = NUMBERS[self.take(1)]
            self.take(1)  # "#"
            return np.frombuffer(self.take(int(self.value()) * dtype.itemsize), dtype)
        if self.next_is(b"#"):
            return [self.value() for _ in range(int(self.value()))]
        items = []
        while not self.next_is(b"]"):
            items.append(self.value())
        return items
