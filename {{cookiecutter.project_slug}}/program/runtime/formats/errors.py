"""What can be wrong with bytes that claim to be data. Serving and training both report it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class FormatError(Exception):
    """A fault in data: what, and where it applies the row, the column, the limit, the finding.

    `row` and `column` count from 1, as people and spreadsheets do.
    """

    status: ClassVar[int] = 415  # the HTTP status of a request that fails with it

    message: str
    row: int | None = None
    column: int | str | None = None
    expected: object = None
    found: object = None
    content_type: str | None = None

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


class ColumnsError(FormatError):
    """The rows decode, but their columns (count or names) are not the model's."""

    status = 400


class AcceptError(FormatError):
    """No media type of the Accept header can be written."""

    status = 406
