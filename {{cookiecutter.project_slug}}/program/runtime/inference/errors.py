"""What a request can fail with, and the JSON object that every failure is answered with.

Each error carries its HTTP status as a class attribute:

    FormatError                 runtime.formats.errors: the data of a request or a training file
    ├── ColumnsError      400
    ├── AcceptError       406
    ├── MediaTypeError    415
    ├── DecodeError       415
    └── ServingError            this module: everything else about a request
        ├── BadModelError       400
        ├── UnknownModelError   404
        ├── LoadedModelError    409
        ├── BodyTooLargeError   413
        ├── NoModelError        503
        └── OutOfMemoryError    507

Werkzeug's HTTPException (an unknown route, a wrong method, `abort(401)`) keeps the status of its
own. Whatever else is raised is a defect of this program: 500, and a traceback in the log.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import orjson
from werkzeug.exceptions import HTTPException

from runtime.formats.errors import (
    LONGEST_MESSAGE,
    AcceptError,
    ColumnsError,
    FormatError,
    MediaTypeError,
    echo,
    printable,
)

FIELDS = ("row", "column", "expected", "found", "content_type")
HTTP, DEFECT = "http", "defect"  # causes of what is no FormatError

log = logging.getLogger(__name__)


class StartError(Exception):
    """The server must not start: its configuration and its model contradict each other."""


class ServingError(FormatError):
    """A request cannot be answered, for a reason that is not in its data."""

    status = 500


class BadModelError(ServingError):
    """What the client asked to load is not a model."""

    status = 400


class UnknownModelError(ServingError):
    """The multi-model endpoint has no model of this name."""

    status = 404


class LoadedModelError(ServingError):
    """The multi-model endpoint has a model of this name already."""

    status = 409


class BodyTooLargeError(ServingError):
    """The body, or what it decompresses to, is over MAX_CONTENT_LENGTH."""

    status = 413


class NoModelError(ServingError):
    """No model can answer at the moment; the message says why."""

    status = 503


class OutOfMemoryError(ServingError):
    """The model would not fit beside those that are loaded: unload one first."""

    status = 507


# What metrics call each error: as few words as are worth an alarm of their own.
NAMES: dict[type[FormatError], str] = {
    ColumnsError: "columns",
    AcceptError: "accept",
    MediaTypeError: "media_type",
    BadModelError: "bad_model",
    UnknownModelError: "unknown_model",
    LoadedModelError: "loaded_model",
    BodyTooLargeError: "too_large",
    NoModelError: "no_model",
    OutOfMemoryError: "out_of_memory",
    FormatError: "body",  # DecodeError, and what an owner derives from either
}
CAUSES = (*NAMES.values(), HTTP, DEFECT)


class Response(NamedTuple):
    """An HTTP response: status, body, its media type, further headers."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def status_of(error: Exception) -> int:
    """Return the HTTP status of an exception; 500 for a defect."""
    if isinstance(error, FormatError):
        return error.status
    if isinstance(error, HTTPException):
        return error.code or 500
    return 500


def cause_of(error: Exception) -> str:
    """Return what metrics call an exception: one of CAUSES, whatever its message says."""
    if isinstance(error, FormatError):
        return next(NAMES[kind] for kind in type(error).__mro__ if kind in NAMES)
    return HTTP if isinstance(error, HTTPException) else DEFECT


def from_exception(error: Exception, request_id: str = "") -> Response:
    """Return the response to a request that failed: a JSON object that explains it. Never raises.

    Of a defect the response has the request's id only; the log has its traceback under that id.
    """
    status = status_of(error)
    headers: tuple[tuple[str, str], ...] = ()
    document: dict[str, Any] = {"code": status}
    if isinstance(error, FormatError):
        document["message"] = printable(error.message, LONGEST_MESSAGE)
        fields = {key: getattr(error, key) for key in FIELDS}
        document |= {key: echo(value) for key, value in fields.items() if value is not None}
    elif isinstance(error, HTTPException):
        document["message"] = printable(str(error.description), LONGEST_MESSAGE)
        headers = tuple(header for header in error.get_headers() if header[0] != "Content-Type")
    else:
        request_id = printable(request_id)
        log.error("request %s failed", request_id, exc_info=error)
        document |= {"message": "internal error; see the log", "id": request_id}
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=repr)
    return Response(status, body, "application/json", headers)
