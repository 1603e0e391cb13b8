"""Lines: what csv, libsvm and JSON Lines have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 17  # what a parser makes of it stays in the processor's cache: twice as fast
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines_of(text: bytes) -> bytes:
    """Return `text` with \\n between its lines, without byte order mark and empty ends."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.lstrip(b"\n").rstrip(b"\n ")


def first_line(text: bytes) -> bytes:
    """Return `text` up to its first newline."""
    end = text.find(b"\n")
    return text if end < 0 else text[:end]


def blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the stream in pieces of whole lines, about `size` bytes each."""
    rest = b""
    while chunk := stream.read(size):
        rest += chunk
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
