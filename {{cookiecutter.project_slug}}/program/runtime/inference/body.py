"""The body of a request: read within the limit, and decompressed within it too."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from runtime.formats.errors import DecodeError, MediaTypeError, quoted
from runtime.inference.errors import BodyTooLargeError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
FIRST_PIECE_BYTES, PIECE_BYTES = 1 << 10, 1 << 16  # of a member: small ones have little behind them
MOST_MEMBERS = 100_000


def too_large(limit: int, found: object) -> BodyTooLargeError:
    """Return the error of a body over the limit."""
    message = "the body is larger than MAX_CONTENT_LENGTH"
    return BodyTooLargeError(message, expected=limit, found=found)


def inflate(body: bytes, limit: int) -> bytes:
    """Decompress gzip (several members too) or zlib, at most `limit` bytes.

    The body goes in by pieces: zlib copies what follows a member, which for many small members
    would be the whole rest each time. Raises DecodeError, BodyTooLargeError.
    """
    view, position, left = memoryview(body), 0, limit
    parts: list[bytes] = []
    members = 0
    while position < len(body):
        machine, size = zlib.decompressobj(GZIP_OR_ZLIB), FIRST_PIECE_BYTES
        members += 1
        if members > MOST_MEMBERS:
            raise DecodeError(f"the gzip body has more than {MOST_MEMBERS} members")
        while not machine.eof:
            piece = view[position : position + size]
            if not piece:
                raise DecodeError("the gzip body ends in the middle")
            try:
                part = machine.decompress(piece, left + 1)
            except zlib.error as problem:
                message = f"Content-Encoding says gzip, but the body is not: {problem}"
                raise DecodeError(message) from None
            left -= len(part)
            if left < 0:
                raise too_large(limit, f"more than {limit} after decompression")
            parts.append(part)
            position += len(piece) - len(machine.unused_data)
            size = PIECE_BYTES
    return b"".join(parts)


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return the request's body from a WSGI environment, decompressed.

    A declared length over the limit is refused before anything is read. Raises BodyTooLargeError,
    MediaTypeError for an unknown Content-Encoding, and DecodeError for a broken one or a body that
    ends early.
    """
    declared = environ.get("CONTENT_LENGTH")
    if declared:
        length = int(declared)
        if length > limit:
            raise too_large(limit, length)
        body: bytes = environ["wsgi.input"].read(length)
        if len(body) < length:
            raise DecodeError(f"the body ended after {len(body)} of {length} bytes")
    elif environ.get("wsgi.input_terminated"):  # chunked: the server ends the stream
        try:
            body = environ["wsgi.input"].read(limit + 1)
        except Exception as error:  # of chunks, whatever the server calls it
            raise DecodeError(f"the chunked body cannot be read: {error}") from None
        if len(body) > limit:
            raise too_large(limit, f"more than {limit}")
    else:
        return b""
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        message = f"cannot read Content-Encoding {quoted(encoding)}; send gzip, deflate or identity"
        raise MediaTypeError(message, expected=["gzip", "deflate", "identity"], found=encoding)
    return inflate(body, limit)
