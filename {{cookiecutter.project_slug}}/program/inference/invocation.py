"""One request, straight down: read, decode, predict, select, encode."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from formats import Answer, Rows, Scores, Selected, decode, encode
from formats.errors import AcceptError, DecodeError, FormatError
from formats.media import negotiate
from inference import errors, outputs
from inference.body import read_body
from inference.errors import Reply
from inference.models import Model, Scored
from settings import SettingError, Settings

EMPTY = Reply(204)

log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Raise SettingError when no request could be answered with these settings."""
    try:
        negotiate(None, settings.default_accept)
    except AcceptError as error:
        raise SettingError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error}") from None


@dataclass(slots=True)
class Trace:
    """What is measured of one request: seconds of each step, rows, and how it ended."""

    request_id: str
    inference_id: str
    status: int = 0
    rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    engine: str = ""
    message: str = ""


def _trace(environ: Mapping[str, Any]) -> Trace:
    return Trace(
        environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex,
        environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID", ""),
    )


def _decode(body: bytes, content_type: str | None, model: Model, settings: Settings) -> Rows:
    """Decode, and blame the body for whatever a decoder did not foresee: it never gives a 500."""
    try:
        return decode(body, content_type, model.schema, settings.input_format)
    except FormatError:
        raise
    except Exception as error:
        log.exception("unexpected while decoding %s", content_type)
        message = f"Loading data failed: {type(error).__name__}: {error}"
        raise DecodeError(message, content_type=content_type) from error


def answer(scored: Scored, keys: tuple[str, ...]) -> Answer:
    """Return the plain predictions, or the columns of the selected keys."""
    return Selected(keys, outputs.select(scored, keys)) if keys else Scores(scored.predictions)


def _respond(
    find: Callable[[], Model], environ: Mapping[str, Any], settings: Settings, trace: Trace
) -> Reply:
    model = find()
    trace.engine = model.engine_name
    body = read_body(environ, settings.max_content_length)
    if not body:
        return EMPTY
    start = perf_counter()
    rows = _decode(body, environ.get("CONTENT_TYPE"), model, settings)
    decoded = perf_counter()
    trace.rows, trace.seconds["decode"] = len(rows.values), decoded - start
    keys = settings.inference_output
    media_type = negotiate(environ.get("HTTP_ACCEPT"), settings.default_accept)
    if not trace.rows:
        return EMPTY
    content = answer(model.score(rows), keys)
    predicted = perf_counter()
    trace.seconds["predict"] = predicted - decoded
    text = encode(content, media_type)
    trace.seconds["encode"] = perf_counter() - predicted
    return Reply(200, text, media_type, (("X-Model-Engine", trace.engine),))


def invoke(
    find: Callable[[], Model], environ: Mapping[str, Any], settings: Settings
) -> tuple[Reply, Trace]:
    """Answer the request in a WSGI environment with the model that `find` gives. Never raises."""
    trace = _trace(environ)
    try:
        reply = _respond(find, environ, settings, trace)
    except Exception as error:
        reply = errors.from_exception(error, trace.request_id)
        trace.message = str(error)
    trace.status = reply.status
    return reply, trace
