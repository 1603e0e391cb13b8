"""Lines: what csv, libsvm and JSON Lines have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 17  # what a parser makes of it stays in the processor's cache: twice as fast
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMMA, NEWLINE = b",\n"
BLANK_LINES = re.compile(rb"\n *(?=\n|$)")
SAMPLE_LINES = 10


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


def first_lines(text: bytes) -> list[bytes]:
    """Return some lines at the start of `text`: enough to judge by, whatever its length."""
    return text[:BLOCK_BYTES].split(b"\n", SAMPLE_LINES)[:SAMPLE_LINES]


def without_blank_lines(text: bytes) -> bytes:
    """Return `text` without the lines that hold spaces alone."""
    return BLANK_LINES.sub(b"", b"\n" + text)[1:]


def blocks(stream: BinaryIO, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the stream in pieces of whole lines, about `size` bytes each."""
    rest: list[bytes] = []
    while chunk := stream.read(size):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, chunk[:cut]])
            rest = []
        rest.append(chunk[cut:])
    if any(rest):
        yield b"".join(rest)


def line_of_row(stream: BinaryIO, row: int, is_row: Callable[[bytes], bool]) -> int:
    """Return the line of a file, from 1, that holds its row number `row`, from 1: `is_row` says
    which lines hold one. Only faults need it, so that readers do not count lines."""
    line = 0
    for block in blocks(stream):
        for text in block.splitlines():
            line += 1
            row -= is_row(text)
            if not row:
                return line
    return line


def is_rectangle(text: bytes, width: int) -> bool:
    """Return whether every line of `text` has `width` cells, whatever they hold."""
    counts = delimiters_before(text)
    return bool((counts == (width - 1) * np.arange(1, len(counts) + 1)).all())


def ragged_row(text: bytes, width: int) -> int | None:
    """Return the first line of `text`, from 0, that has not `width` cells; None if all have."""
    counts = delimiters_before(text)
    wrong = counts != (width - 1) * np.arange(1, len(counts) + 1)
    return int(wrong.argmax()) if wrong.any() else None


def delimiters_before(text: bytes) -> NDArray[np.int64]:
    """Return how many commas stand before the end of each line, int64 [lines].

    A bit for each comma, then the commas before each newline: a few operations on whole arrays,
    where a look at the lines one by one costs as much as parsing the numbers.
    """
    characters = np.frombuffer(text, np.uint8)
    bits = np.zeros(len(characters) // 64 + 1, np.uint64)
    packed = np.packbits(characters == COMMA, bitorder="little")
    bits.view(np.uint8)[: len(packed)] = packed
    before = np.cumsum(np.bitwise_count(bits), dtype=np.int64)
    ends = np.append(np.flatnonzero(characters == NEWLINE), len(text))
    word, bit = ends >> 6, (ends & 63).astype(np.uint64)
    # All commas up to the newline's word, less those of that word that stand behind it.
    return np.asarray(before[word] - np.bitwise_count(bits[word] >> bit), np.int64)
