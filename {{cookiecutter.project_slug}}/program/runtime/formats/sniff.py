"""What bytes look like, for the message about data that was declared to be something else.

Only faults ask: nothing is read otherwise than it was declared.
"""

from __future__ import annotations

import re

from runtime.formats.text import BYTE_ORDER_MARK

HEAD_BYTES = 4096  # enough to judge by
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "parquet"),
    (b"\x0a\x23\xd7\xce", "recordio-protobuf"),
    (b"\x93NUMPY", "npy"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
    (b"<", "HTML or XML"),
)
PAIRS = re.compile(rb"\S+[ \t]+(?:qid:\d+[ \t]+)?\d+:[^\s:,]+(?:[ \t]+\d+:[^\s:,]+)*")
CELLS = re.compile(rb"[^,;|\t ]*(?:[,;|\t]|  *)[^\n]*")


def guess(head: bytes, declared: str) -> str:
    """Return what the first bytes of data look like, or "" where that is `declared` or unknown."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return "" if name == declared else name
    lines = [line.strip() for line in head.removeprefix(BYTE_ORDER_MARK).splitlines()]
    lines = [line for line in lines if line][:2]
    if not lines:
        return ""
    first, second = lines[0], lines[-1] if len(lines) > 1 else b""
    if first[:1] in (b"{", b"["):
        several = first[-1:] in (b"}", b"]") and second[:1] == first[:1]
        likely = {"jsonlines"} if several else {"json"} if second else {"json", "jsonlines"}
    elif PAIRS.fullmatch(second or first):
        likely = {"libsvm"}
    elif CELLS.fullmatch(second or first) and any(character in b"0123456789" for character in head):
        likely = {"csv"}
    else:
        return ""
    return "" if declared in likely else min(likely)


def hint(head: bytes, declared: str) -> str:
    """Return the question for a message that `declared` cannot be read; often empty."""
    found = guess(head[:HEAD_BYTES], declared)
    if found == "gzip":
        return "; is this gzip? Send it with Content-Encoding: gzip"
    if not found:
        return ""
    named = {"csv": "CSV", "json": "JSON", "jsonlines": "JSON Lines", "parquet": "Parquet"}
    return f"; not {named.get(declared, declared)}: is this {named.get(found, found)}?"
