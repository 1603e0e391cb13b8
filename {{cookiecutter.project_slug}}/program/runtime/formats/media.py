"""Media types: which codec reads a Content-Type, which type answers an Accept header."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from runtime.formats import (
    delimited,
    delimited_files,
    json_lines,
    json_rows,
    libsvm,
    npy,
    parquet,
    recordio,
)
from runtime.formats.answers import ENCODERS
from runtime.formats.errors import AcceptError, MediaTypeError, printable, quoted
from runtime.formats.table import Reading, Rows, Schema, Table

TOKEN = r"[\w!#$%&'*+.^`|~-]+"  # RFC 9110
PARAMETER = re.compile(
    rf"""\s*;\s*(?:(?P<name>{TOKEN})=(?:(?P<token>{TOKEN})|(?P<text>"(?:[^"\\]|\\.)*"))|{TOKEN})?\s*""",
    re.ASCII,
)
CHARSETS = ("utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be")


@dataclass(frozen=True)
class MediaType:
    """A media type in lower case, and its parameters."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Codec:
    """One format: its short name, its media types, and its readers of requests and of files."""

    name: str
    types: tuple[str, ...]
    decode: Callable[[bytes, Schema], Rows]
    read: Callable[[BinaryIO, Reading], Iterator[Table]] | None = None
    line_of: Callable[[BinaryIO, int], int] | None = None  # from a row of a file to its line


CODECS = (
    Codec("csv", ("text/csv",), delimited.decode, delimited_files.read, delimited_files.line_of),
    Codec("libsvm", ("text/libsvm", "text/x-libsvm"), libsvm.decode, libsvm.read, libsvm.line_of),
    Codec("json", ("application/json",), json_rows.decode),
    Codec(
        "jsonlines",
        ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson"),
        json_lines.decode,
        json_lines.read,
        json_lines.line_of,
    ),
    Codec("npy", ("application/x-npy",), npy.decode),
    Codec(
        "parquet",
        ("application/x-parquet", "application/vnd.apache.parquet"),
        parquet.decode,
        parquet.read,
    ),
    Codec(
        "recordio-protobuf", ("application/x-recordio-protobuf",), recordio.decode, recordio.read
    ),
)
BY_TYPE = {name: codec for codec in CODECS for name in (codec.name, *codec.types)}
SHORT_NAMES = {codec.name: codec.types[0] for codec in CODECS}


@lru_cache(maxsize=64)
def parse_media_type(text: str) -> MediaType:
    """Parse `type/subtype; name=value`, whatever its case; a parameter without value is ignored.

    Raises MediaTypeError on parameters that are malformed or duplicates: which one would count?
    """
    head, semicolon, rest = text.partition(";")
    parameters: dict[str, str] = {}
    rest, end = semicolon + rest, 0
    while end < len(rest):
        found = PARAMETER.match(rest, end)
        name = found and (found["name"] or "").lower()
        if not found or name in parameters:
            raise MediaTypeError(
                f"cannot read the parameters of content type {quoted(text)}: separate "
                "name=value pairs with semicolons, each name once",
                content_type=text,
            )
        if name:
            parameters[name] = found["token"] or re.sub(r"\\(.)", r"\1", found["text"][1:-1])
        end = found.end()
    return MediaType(head.strip().lower(), parameters)


@lru_cache(maxsize=64)
def resolve(content_type: str | None, default_format: str) -> tuple[Codec, str]:
    """Return the codec of `content_type` (short names count), or of `default_format` if absent,
    and Python's name of the charset.

    Raises MediaTypeError on an unknown type, an unknown charset, and for csv on a `label_size`
    other than 1; other formats ignore it, as in the built-in algorithm.
    """
    media = parse_media_type(content_type or "")
    codec = BY_TYPE.get(media.type or default_format)
    if codec is None:
        known = sorted(name for name in BY_TYPE if "/" in name)
        raise MediaTypeError(
            f"cannot read content type {quoted(media.type)}; send one of {', '.join(known)}",
            expected=known,
            found=media.type,
            content_type=content_type,
        )
    label_size = media.parameters.get("label_size", "1")
    if label_size != "1" and codec is BY_TYPE["csv"]:
        raise MediaTypeError(
            f"cannot read label_size={printable(label_size)}: the label is column 1 alone",
            expected="1",
            found=label_size,
            content_type=content_type,
        )
    return codec, charset_of(media)


def charset_of(media: MediaType) -> str:
    """Return Python's name of the charset parameter. Raises MediaTypeError."""
    charset = media.parameters.get("charset", "utf-8")
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in CHARSETS:
        raise MediaTypeError(
            f"cannot read charset {quoted(charset)}; send UTF-8", expected=CHARSETS, found=charset
        )
    return name


@lru_cache(maxsize=64)
def negotiate(accept: str | None, default: str, types: tuple[str, ...] = tuple(ENCODERS)) -> str:
    """Return the media type of the answer: the one of `types` that `accept` likes best.

    `default`, itself a type or an Accept list, answers requests that accept anything, and breaks
    ties. Every type carries selected outputs as well as scores. Raises AcceptError.
    """
    # Only to answer requests: training need not import werkzeug.
    from werkzeug.datastructures import MIMEAccept
    from werkzeug.http import parse_accept_header

    best = parse_accept_header(plain_ranges(default), MIMEAccept).best_match(types)
    wanted = plain_ranges(accept or "") or plain_ranges(default)
    offers = sorted(types, key=lambda offer: offer != best)
    chosen = parse_accept_header(wanted, MIMEAccept).best_match(offers)
    if chosen is None:
        raise AcceptError(
            f"cannot answer as {quoted(wanted)}; accept one of {', '.join(types)}",
            expected=list(types),
            found=wanted,
        )
    return chosen


def plain_ranges(accept: str) -> str:
    """Return an Accept list with short names written out, and no parameters but q."""
    from werkzeug.http import parse_options_header

    ranges = []
    for part in accept.split(","):
        head, parameters = parse_options_header(part)
        name = SHORT_NAMES.get(head.lower(), head.lower())
        ranges.append(f"{name};q={parameters['q']}" if "q" in parameters else name)
    return ",".join(filter(None, ranges))
