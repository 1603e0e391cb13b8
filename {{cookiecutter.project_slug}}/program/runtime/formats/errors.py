"""What can be wrong with bytes that claim to be data. Serving and training both report it.

Messages repeat what somebody else wrote: cells, column names, media types. `printable` and `quoted`
are the one way in, so that any message is short, one line, and can be encoded and logged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

LONGEST_ECHO = 100  # characters of somebody else's text in a message
LONGEST_MESSAGE = 1000
MOST_LISTED = 20


def printable(text: str, limit: int = LONGEST_ECHO) -> str:
    """Return `text`, cut after `limit` characters, with escapes for what cannot be printed:
    control characters, line breaks, unpaired surrogates. The result can always be encoded."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    if cut.isprintable():
        return cut
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in cut
    )


def quoted(value: object) -> str:
    """Return somebody else's text (bytes count as UTF-8) in quotes: bounded, escaped, one line."""
    text = text_of(value) if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= LONGEST_ECHO else text[: LONGEST_ECHO - 3] + "...")


def text_of(value: bytes) -> str:
    """Return the beginning of bytes as text, escapes for what is not UTF-8."""
    return value[: 4 * LONGEST_ECHO + 4].decode("utf-8", "backslashreplace")


def listed(names: Iterable[object]) -> str:
    """Return names of somebody else's, separated by commas; the first ones of many."""
    every = list(names)
    text = ", ".join(printable(str(name)) for name in every[:MOST_LISTED])
    more = len(every) - MOST_LISTED
    return f"{text} and {more} more" if more > 0 else text


def echo(value: object) -> object:
    """Return `value` as an answer or a log can carry it: texts printable, lists and numbers short.

    Numbers within 64 bits stay numbers.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bytes):
        return printable(text_of(value))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "an integer beyond 64 bits"
    if isinstance(value, list | tuple):
        return [echo(item) for item in value[:MOST_LISTED]]
    return value


@dataclass
class FormatError(Exception):
    """A fault in data: what, and where it applies the row, the column, the limit, the finding.

    `row` and `column` count from 1, as people and spreadsheets do. Texts are made printable.
    """

    status: ClassVar[int] = 415  # the HTTP status of a request that fails with it

    message: str
    row: int | None = None
    column: int | str | None = None
    expected: object = None
    found: object = None
    content_type: str | None = None

    def __post_init__(self) -> None:
        self.message = printable(self.message, LONGEST_MESSAGE)
        for name in ("column", "expected", "found", "content_type"):
            setattr(self, name, echo(getattr(self, name)))

    def __str__(self) -> str:
        return self.message

    def located(self) -> str:
        """Return the message after its row and column, where it has them."""
        places = (("row", self.row), ("column", self.column))
        where = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        return f"{where}: {self.message}" if where else self.message


class MediaTypeError(FormatError):
    """The media type, or a parameter of it, is not one that can be read."""


class DecodeError(FormatError):
    """The bytes are not what the media type says."""


class NotANumberError(DecodeError):
    """A cell or a whole column holds something else than numbers, such as strings."""


class ColumnsError(FormatError):
    """The rows decode, but their columns (count or names) are not the model's."""

    status = 400


class AcceptError(FormatError):
    """No media type of the Accept header can be written."""

    status = 406
