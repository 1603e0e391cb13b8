"""Read UBJSON, the form of XGBoost's models, with every length checked. https://ubjson.org/"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEEPEST = 32  # levels of arrays and objects; models have a dozen
NUMBERS: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype(">i1"),
    b"U": np.dtype(">u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def read(data: bytes | bytearray) -> Any:
    """Return the value that `data` holds: dictionaries, lists, texts, numbers, and arrays.

    Raises ValueError where it is not UBJSON, or something follows.
    """
    reader = _Reader(data)
    value = reader.value()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the end")
    return value


def length(count: int) -> bytes:
    """Return a length, written as XGBoost does: in 64 bits."""
    return b"L" + count.to_bytes(8, "big")


def text(key: str) -> bytes:
    """Return a key of an object."""
    return length(len(key.encode())) + key.encode()


def arrays(entries: dict[str, NDArray[Any]]) -> bytes:
    """Return an object of arrays of numbers, big-endian, of 8 or 32 bits."""
    kinds = {1: b"i", 4: b"l"}
    parts = [
        text(key) + b"[$" + kinds[array.itemsize] + b"#" + length(len(array)) + array.tobytes()
        for key, array in entries.items()
    ]
    return b"{" + b"".join(parts) + b"}"


def locate(data: bytes | bytearray, path: Sequence[str]) -> tuple[int, int, Any]:
    """Return where in `data` the value under the keys of `path` starts and ends, and the value.

    What comes after it is not read. Raises KeyError when it is not there, ValueError as `read`.
    """
    reader = _Reader(data)
    for key in path:
        if bytes(reader.take(1)) != b"{":
            raise KeyError(key)
        while reader.text() != key:
            reader.value(1)
            if reader.peek() == b"}":
                raise KeyError(key)
    start = reader.at
    value = reader.value(1)
    return start, reader.at, value


class _Reader:
    """A position in the bytes, and what to take from there."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.at = memoryview(data), 0

    def take(self, count: int) -> memoryview:
        """Return the next bytes. Raises ValueError past the end."""
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError(f"{count} bytes at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def peek(self) -> bytes:
        """Return the next byte, and stay; nothing at the end."""
        return bytes(self.data[self.at : self.at + 1])

    def number(self, kind: bytes) -> Any:
        """Return the next number, whose type was read already."""
        if kind not in NUMBERS:
            raise ValueError(f"{kind!r} at {self.at - 1} is not the type of a number")
        form = NUMBERS[kind]
        taken = self.take(form.itemsize)
        if form.kind == "f":
            return np.frombuffer(taken, form)[0].item()
        return int.from_bytes(taken, "big", signed=form.kind == "i")  # most are lengths

    def length(self) -> int:
        """Return the next length, type first."""
        count = self.number(bytes(self.take(1)))
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"{count!r} at {self.at} is not a length")
        return count

    def text(self) -> str:
        """Return the next text, length first."""
        return str(self.take(self.length()), "utf-8", "replace")

    def value(self, depth: int = 0) -> Any:
        """Return the next value."""
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels at {self.at}")
        kind = bytes(self.take(1))
        if kind == b"{":
            return self.object(depth)
        if kind == b"[":
            return self.array(depth)
        if kind == b"S":
            return self.text()
        return CONSTANTS[kind] if kind in CONSTANTS else self.number(kind)

    def object(self, depth: int) -> dict[str, Any]:
        """Return an object, whose brace was read already."""
        found = {}
        while self.peek() != b"}":
            key = self.text()
            found[key] = self.value(depth + 1)
        self.take(1)
        return found

    def array(self, depth: int) -> Any:
        """Return a list, or of numbers of one type an array; the bracket was read already."""
        if self.peek() == b"$":
            self.take(1)
            kind, mark = bytes(self.take(1)), bytes(self.take(1))
            if kind not in NUMBERS or mark != b"#":
                raise ValueError(f"an array of {kind!r} at {self.at}")
            count = self.length()
            return np.frombuffer(self.take(count * NUMBERS[kind].itemsize), NUMBERS[kind])
        if self.peek() == b"#":
            self.take(1)
            return [self.value(depth + 1) for _ in range(self.length())]
        found = []
        while self.peek() != b"]":
            found.append(self.value(depth + 1))
        self.take(1)
        return found
