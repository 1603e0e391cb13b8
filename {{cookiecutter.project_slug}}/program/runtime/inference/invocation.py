"""One request, straight down: read, decode, predict, select, encode."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from runtime.formats import Answer, Rows, Scores, Selected, decode, encode
from runtime.formats.errors import AcceptError
from runtime.formats.media import negotiate
from runtime.inference import errors, outputs, spread
from runtime.inference.body import read_body
from runtime.inference.errors import Reply
from runtime.inference.models import Model
from settings import SettingError, Settings

EMPTY = Reply(204)


def check(settings: Settings) -> None:
    """Raise SettingError when no request could be answered with these settings."""
    try:
        negotiate(None, settings.default_accept)
    except AcceptError as error:
        raise SettingError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error}") from None


@dataclass(slots=True)
class Trace:
    """What is measured of one request: rows, seconds of each step it came to, how it ended."""

    request_id: str
    inference_id: str
    status: int = 0
    rows: int = 0
    decode: float = 0.0
    predict: float = 0.0
    encode: float = 0.0
    engine: str = ""
    message: str = ""


def answer(model: Model, rows: Rows, keys: tuple[str, ...]) -> Answer:
    """Return the plain predictions, or the columns of the selected keys."""
    if keys:
        return Selected(keys, outputs.select(model.score(rows), keys))
    values = model.features(rows)
    if 0 < model.spread_rows <= len(values):
        return Scores(spread.predict(model.predict, values))
    return Scores(model.predict(values))


def _respond(model: Model, environ: Mapping[str, Any], settings: Settings, trace: Trace) -> Reply:
    trace.engine = model.engine_name
    body = read_body(environ, settings.max_content_length)
    if not body:
        return EMPTY
    start = perf_counter()
    rows = decode(body, environ.get("CONTENT_TYPE"), model.schema, settings.input_format)
    decoded = perf_counter()
    trace.rows, trace.decode = len(rows.values), decoded - start
    keys = settings.inference_output
    media_type = negotiate(environ.get("HTTP_ACCEPT"), settings.default_accept)
    if not trace.rows:
        return EMPTY
    content = answer(model, rows, keys)
    predicted = perf_counter()
    trace.predict = predicted - decoded
    text = encode(content, media_type)
    trace.encode = perf_counter() - predicted
    return Reply(200, text, media_type, (("X-Model-Engine", trace.engine),))


def invoke(
    find: Callable[[str | None], Model],
    name: str | None,
    environ: Mapping[str, Any],
    settings: Settings,
) -> tuple[Reply, Trace]:
    """Answer the request in a WSGI environment with the model that `find` gives for `name`.

    Never raises.
    """
    trace = Trace(
        environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex,
        environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID", ""),
    )
    try:
        reply = _respond(find(name), environ, settings, trace)
    except Exception as error:
        reply = errors.from_exception(error, trace.request_id)
        trace.message = str(error)
    trace.status = reply.status
    return reply, trace
