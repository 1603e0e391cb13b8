"""Errors that programs catch or raise."""

from __future__ import annotations


class ClientError(Exception):
    """A fault of the user's code or data."""


class UnsupportedFormatError(Exception):
    """A media type that no decoder or encoder knows: status 415, or 406 for an answer."""

    def __init__(self, content_type: str) -> None:
        self.message = f"Content type {content_type} is not supported by this framework."
        super().__init__(self.message)
