"""One request, straight down: bytes -> decode -> predict -> select -> encode -> bytes.

The four steps are chosen when a model is loaded (`steps_of`, which asks custom.py), never per
request. What replaces one of them for every request of a model makes another `ServedModel` with
`dataclasses.replace`:

    decode    body, Content-Type -> data        here the Rows of the model's columns
    predict   data -> predictions               here a float array, or Predictions
    select    predictions -> outputs            here what formats.encode can write
    encode    outputs, Accept -> body, media type   or a whole Response

No step knows of HTTP. One that raises a FormatError is answered with that error's status.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

import custom
from runtime.formats import Outputs, Rows, decode, negotiate
from runtime.formats.answers import BATCH_ENCODERS, ENCODERS, MULTI_MODEL_ENCODERS
from runtime.formats.categories import Categories, Unseen
from runtime.formats.errors import (
    LONGEST_MESSAGE,
    AcceptError,
    ColumnsError,
    DecodeError,
    printable,
    quoted,
)
from runtime.formats.media import parse_media_type
from runtime.inference import outputs
from runtime.inference.body import read_body
from runtime.inference.errors import Response, cause_of, status_of
from runtime.inference.models import Model, OwnModel, Predictions
from settings import OUTPUT_KEYS, SettingError, Settings

EMPTY = Response(204)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and the steps of every request to it."""

    model: Model | OwnModel
    decode: Callable[[bytes, str | None], Any]
    predict: Callable[[Any], Any]
    select: Callable[[Any], Any]
    encode: Callable[[Any, str | None], tuple[bytes, str] | Response]
    headers: tuple[tuple[str, str], ...]  # of every prediction
    count: Callable[[Any], int]  # the rows of what `decode` returned; none is answered with 204
    heed: Callable[[Sequence[Unseen]], None] | None = None  # what Rows hold that is no category
    watch: Callable[[Any, Any], None] | None = None  # data and predictions of what was answered


@dataclass(slots=True)
class Trace:
    """What is measured of one request: rows, seconds of each step it came to, how it ended."""

    request_id: str
    inference_id: str
    status: int = 0
    rows: int = 0
    unseen: int = 0  # cells that hold no category of their column
    decode: float = 0.0
    predict: float = 0.0
    encode: float = 0.0
    engine: str = ""
    cause: str = ""  # of an error: one of errors.CAUSES
    message: str = ""

    def fail(self, error: Exception) -> None:
        """Note how the request failed."""
        self.status, self.cause = status_of(error), cause_of(error)
        self.message = printable(str(error), LONGEST_MESSAGE)


def trace_of(environ: Mapping[str, Any]) -> Trace:
    """Begin the trace of the request in a WSGI environment."""
    return Trace(
        environ.get("HTTP_X_REQUEST_ID") or uuid.uuid4().hex,
        environ.get("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID", ""),
    )


def answer(served: ServedModel, environ: Mapping[str, Any], limit: int, trace: Trace) -> Response:
    """Answer the request in a WSGI environment, whose body has at most `limit` bytes.

    Raises FormatError when the request is wrong, and whatever else a step raises.
    """
    trace.engine = served.model.engine_name
    body = read_body(environ, limit)
    if not body:
        return EMPTY
    start = perf_counter()
    data = served.decode(body, environ.get("CONTENT_TYPE"))
    decoded = perf_counter()
    trace.rows, trace.decode = served.count(data), decoded - start
    if not trace.rows:
        return EMPTY
    if served.heed and data.unseen:
        trace.unseen = sum(column.count for column in data.unseen)
        served.heed(data.unseen)
    predictions = served.predict(data)
    selected = served.select(predictions)
    predicted = perf_counter()
    trace.predict = predicted - decoded
    written = served.encode(selected, environ.get("HTTP_ACCEPT"))
    trace.encode = perf_counter() - predicted
    if served.watch:
        served.watch(data, predictions)
    if isinstance(written, Response):
        return written
    text, media_type = written
    return Response(200, text, media_type, served.headers)


def steps_of(model: Model, settings: Settings) -> ServedModel:
    """Return the model with its steps, as the settings and custom.py want them.

    Raises StartError where custom.py cannot work with the model.
    """
    if custom.postprocess:
        model.rehearse()
    keys = settings.inference_output
    return ServedModel(
        model,
        decode=decoder(model, settings.input_format),
        predict=partial(predictions_of, model) if keys else scores_of(model),
        select=partial(outputs.select, keys=keys) if keys else unchanged,
        encode=encoder(settings),
        headers=model.headers,
        count=lambda rows: len(rows.values),
        heed=unseen_categories(model, settings),
    )


def scores_of(model: Model) -> Callable[[Rows], Any]:
    """Return the step that gives `Booster.predict` of rows."""
    own = custom.postprocess is not None

    def step(rows: Rows) -> Any:
        values = model.features(rows)
        scores = model.predict(values)
        return model.postprocessed(scores, values) if own else scores

    return step


def decoder(model: Model, default_format: str) -> Callable[[bytes, str | None], Rows]:
    """Return the step that reads a body, in a format of the template or one of custom.py."""

    def step(body: bytes, content_type: str | None) -> Rows:
        return decode(body, content_type, model.schema, default_format)

    def own(body: bytes, content_type: str | None) -> Rows:
        name = parse_media_type(content_type or "").type
        function = custom.decoders.get(name)
        if function is None:
            return step(body, content_type)
        try:
            values = np.ascontiguousarray(function(body), np.float32)
        except (ValueError, TypeError) as error:
            raise DecodeError(f"{name}: {error}") from None
        if values.ndim != 2 or values.shape[1] != model.schema.num_features:
            raise ColumnsError(
                f"custom.decoders[{name!r}] returned an array of shape {values.shape}; the model "
                f"has {model.schema.num_features} columns"
            )
        return Rows(values, model.schema.feature_names)

    return own if custom.decoders else step


def unseen_categories(
    model: Model, settings: Settings
) -> Callable[[Sequence[Unseen]], None] | None:
    """Return what is done about values that are no category of their column; None for a model that
    has none.

    Each column is logged once per process, since a client that sends one such value sends many;
    metrics count all. With UNSEEN_CATEGORIES=refuse it raises DecodeError instead.
    """
    categories, refuse = model.schema.categories, settings.unseen_categories == "refuse"
    if categories is None:
        return None
    logged: set[int] = set()
    header = [(1, name) for name in map(categories.name_of, categories.values)]

    def heed(found: Sequence[Unseen]) -> None:
        if [(unseen.row, unseen.value) for unseen in found] == header:
            raise DecodeError("row 1 holds the names of the columns; send no header row", row=1)
        if refuse:
            raise refusal(min(found, key=lambda unseen: (unseen.row, unseen.position)), categories)
        for unseen in found:
            if unseen.position not in logged:
                logged.add(unseen.position)
                log.warning(
                    "column %r: %s is no category of the model and is taken as missing; later ones "
                    "are only counted: unseen_categories_total of /metrics",
                    categories.name_of(unseen.position),
                    quoted(unseen.value),
                )

    return heed


def refusal(unseen: Unseen, categories: Categories) -> DecodeError:
    """Return the fault of a value that is no category of its column."""
    fault = DecodeError(
        f"{quoted(unseen.value)} is not one of the categories that the model was trained with",
        row=unseen.row,
        column=categories.name_of(unseen.position),
        found=unseen.value,
    )
    fault.message = fault.located()
    return fault


def predictions_of(model: Model, rows: Rows) -> Predictions:
    """Return what selected outputs are made of."""
    return Predictions(model, model.features(rows))


def unchanged(predictions: Any) -> Any:
    """Select nothing: the predictions are the outputs."""
    return predictions


def encoder(settings: Settings) -> Callable[[Outputs, str | None], tuple[bytes, str]]:
    """Return the step that writes outputs in the media type that an Accept header likes best."""
    table, default = ENCODERS, default_accept(settings)
    if settings.batch and not settings.inference_output:
        table = BATCH_ENCODERS
    elif as_built_in(settings) and not settings.inference_output:
        table = MULTI_MODEL_ENCODERS
    table = table | custom.encoders
    offers = tuple(table)

    def step(outputs: Outputs, accept: str | None) -> tuple[bytes, str]:
        media_type = negotiate(accept, default, offers)
        return table[media_type](outputs), media_type

    return step


def default_accept(settings: Settings) -> str:
    """Return the media type, or the Accept list, of requests that accept anything."""
    return settings.default_accept or ("application/json" if as_built_in(settings) else "text/csv")


def as_built_in(settings: Settings) -> bool:
    """Return whether several models answer in the forms of the built-in's multi-model endpoint."""
    return settings.multi_model and settings.multi_model_answers == "built-in"


def check(settings: Settings) -> None:
    """Warn of output keys that are unknown. Raise SettingError when no request could be answered
    with these settings."""
    unknown = [key for key in settings.inference_output if key not in OUTPUT_KEYS]
    if unknown:
        log.warning(
            "SAGEMAKER_INFERENCE_OUTPUT: unknown keys are answered with null (nan in csv): %s; "
            "the known ones are %s",
            ", ".join(map(repr, unknown)),
            ", ".join(OUTPUT_KEYS),
        )
    try:
        negotiate(None, default_accept(settings), (*ENCODERS, *custom.encoders))
    except AcceptError as error:
        raise SettingError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error}") from None
