"""Errors as data: the one table from cause to status, and the one way to an error's answer."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import orjson
from werkzeug.exceptions import HTTPException

from runtime.formats.errors import (
    AcceptError,
    ColumnsError,
    DecodeError,
    FormatError,
    MediaTypeError,
)

FIELDS = ("row", "column", "expected", "found", "content_type")

log = logging.getLogger(__name__)


class StartError(Exception):
    """The server must not start: its configuration and its model contradict each other."""


class BodyTooLargeError(FormatError):
    """The body, or what it decompresses to, is over MAX_CONTENT_LENGTH."""


class NoModelError(FormatError):
    """No model can answer at the moment; the message says why."""


class UnknownModelError(FormatError):
    """The multi-model endpoint has no model of this name."""


class LoadedModelError(FormatError):
    """The multi-model endpoint has a model of this name already."""


class BadModelError(FormatError):
    """What the client asked to load is no model."""


class OutOfMemoryError(FormatError):
    """The model would not fit beside those that are loaded: unload one first."""


STATUS: dict[type[Exception], int] = {
    ColumnsError: 400,
    BadModelError: 400,
    UnknownModelError: 404,
    AcceptError: 406,
    LoadedModelError: 409,
    BodyTooLargeError: 413,
    MediaTypeError: 415,
    DecodeError: 415,
    NoModelError: 503,
    OutOfMemoryError: 507,
}


class Reply(NamedTuple):
    """An HTTP answer: status, body, its media type, further headers."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def from_exception(error: Exception, request_id: str = "") -> Reply:
    """Turn an exception into the answer of its status, with a JSON object that explains it.

    What the table does not hold is a defect of this program: status 500, with a traceback in the
    log under the request's id, and nothing of it in the answer.
    """
    headers: tuple[tuple[str, str], ...] = ()
    document: dict[str, Any]
    if isinstance(error, FormatError):
        status = STATUS[type(error)]
        document = {"code": status, "message": error.message}
        document |= {key: getattr(error, key) for key in FIELDS if getattr(error, key) is not None}
    elif isinstance(error, HTTPException):
        status = error.code or 500
        document = {"code": status, "message": error.description}
        headers = tuple((key, value) for key, value in error.get_headers() if key == "Allow")
    else:
        log.error("request %s failed", request_id, exc_info=error)
        status = 500
        document = {"code": status, "message": "internal error; the log has it", "id": request_id}
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    return Reply(status, body, "application/json", headers)
