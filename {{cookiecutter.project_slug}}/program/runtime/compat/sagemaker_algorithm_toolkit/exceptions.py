"""The three kinds of error of SageMaker's algorithms."""

from __future__ import annotations


class BaseToolkitError(Exception):
    """A failure with a message, and the exception behind it."""

    def __init__(self, message: str | None = None, caused_by: BaseException | None = None) -> None:
        self.message = message or str(caused_by or "unknown error occurred")
        if caused_by is not None:
            self.message += f" (caused by {type(caused_by).__name__})"
        self.caused_by = caused_by
        super().__init__(self.message)


class AlgorithmError(BaseToolkitError):
    """A defect of the program."""


class UserError(BaseToolkitError):
    """Input that the user can correct."""


class PlatformError(BaseToolkitError):
    """The environment failed."""
