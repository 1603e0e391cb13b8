"""Framework mode of serving: functions that the deployer's program brings, in AWS's five names.

    model_fn      folder -> model                          default: this project's own loading
    input_fn      body, content type -> data               default: csv, libsvm, recordio-protobuf
    predict_fn    data, model -> predictions               default: the model's predict
    output_fn     predictions, accept -> answer            default: csv, json, npy
    transform_fn  model, body, content type, accept        in place of the three before

They replace the steps of a request (see invocation.py). With the default predict_fn a model of
XGBoost goes through the same check as this project's own, and oneDAL answers where it passes; a
predict_fn or transform_fn of the program is left to whatever it calls.

https://sagemaker.readthedocs.io/en/stable/frameworks/xgboost/using_xgboost.html#deploy-open-source-xgboost-models
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from runtime import acceleration
from runtime.formats import Rows, decode
from runtime.formats.errors import AcceptError, MediaTypeError
from runtime.formats.media import parse_media_type
from runtime.formats.table import MAX_CELLS
from runtime.inference.errors import Response, StartError
from runtime.inference.invocation import ServedModel, unchanged, unseen_categories
from runtime.inference.models import Model, OwnModel
from runtime.inference.outputs import estimator_classes
from runtime.job.artifact import Manifest
from runtime.job.failures import UserError
from settings import Settings

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
READ = ("text/csv", "text/libsvm", "text/x-libsvm", "application/x-recordio-protobuf")
AS_TEXT = (JSON, CSV)  # bodies of these types are given to functions as str

Function = Callable[..., Any]
Body = str | bytes
Load = Callable[[Path, Settings], Model]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """The functions of a program; None where it has none of that name."""

    settings: Settings
    model_fn: Function | None = None
    input_fn: Function | None = None
    predict_fn: Function | None = None
    output_fn: Function | None = None
    transform_fn: Function | None = None

    def serve(self, folder: Path, load: Load) -> ServedModel:
        """Load a model folder; return the model with the steps of its requests.

        `load` is this project's own loading. Raises UserError when model_fn fails.
        """
        found = load(folder, self.settings) if self.model_fn is None else self._load(folder)
        if self.transform_fn:
            return self._transforming(self.transform_fn, found)
        if self.predict_fn is None and (model := accelerated(found, self.settings)):
            return self._accelerated(model, found)
        log.info("predict_fn answers: what it calls is not accelerated")
        own = OwnModel()
        read = self.input_fn or read_matrix
        predict = self.predict_fn or predict_default
        return ServedModel(
            own,
            decode=partial(self._read, own, read),
            predict=lambda data: own.alone(predict, data, found),
            select=unchanged,
            encode=partial(self._write, own),
            headers=own.headers,
            count=rows_of,
        )

    def _load(self, folder: Path) -> Any:
        assert self.model_fn is not None
        try:
            return self.model_fn(str(folder))
        except Exception as problem:
            log.exception("model_fn failed")
            raise UserError(f"model_fn failed: {type(problem).__name__}: {problem}") from problem

    def _transforming(self, function: Function, found: Any) -> ServedModel:
        log.info("transform_fn answers: what it calls is not accelerated")
        own = OwnModel()

        def write(request: tuple[Body, str], accept: str | None) -> Response:
            result = own.alone(function, found, *request, self._accept(accept))
            return response_of(result, self._accept(accept), own.headers)

        def read(body: bytes, content_type: str | None) -> tuple[Body, str]:
            return self._body(body, content_type), content_type or JSON

        return ServedModel(own, read, unchanged, unchanged, write, own.headers, rows_of)

    def _accelerated(self, model: Model, found: Any) -> ServedModel:
        """Return a model of XGBoost with the default predict_fn, through its fastest engine."""
        log.info("the default predict_fn answers, through %s", model.engine_name)
        finish = labels_of(found, model)
        if self.input_fn is None:
            own_features = model.features if found is model else (lambda rows: rows.values)
            return ServedModel(
                model,
                decode=partial(read_rows, model),
                predict=lambda rows: finish(model.predict(own_features(rows))),
                select=unchanged,
                encode=partial(self._write, model),
                headers=model.headers,
                count=lambda rows: len(rows.values),
                heed=unseen_categories(model, self.settings),
            )

        def predict(data: Any) -> Any:
            values = dense(data, model.schema.num_features)
            if values is None:  # with a margin of its own, or other than the model's columns
                booster = found if hasattr(found, "save_raw") else found.get_booster()
                with model.lock:
                    return finish(booster.predict(data, validate_features=False))
            return finish(model.predict(values))

        return ServedModel(
            model,
            decode=partial(self._read, model, self.input_fn),
            predict=predict,
            select=unchanged,
            encode=partial(self._write, model),
            headers=model.headers,
            count=rows_of,
        )

    def _body(self, body: bytes, content_type: str | None) -> Body:
        if self.settings.multi_model or (content_type or JSON) not in AS_TEXT:
            return body
        return body.decode(errors="replace")

    def _accept(self, accept: str | None) -> str:
        default = self.settings.default_accept or JSON
        return default if not accept or accept == "*/*" else accept

    def _read(self, model: Any, function: Function, body: bytes, content_type: str | None) -> Any:
        """Call input_fn; a type that it does not know is a 415."""
        given = self._body(body, content_type)
        try:
            with model.lock:
                return function(given, content_type or JSON)
        except unsupported() as problem:
            raise MediaTypeError(str(problem), content_type=content_type) from None

    def _write(self, model: Any, predictions: Any, accept: str | None) -> Response:
        """Call output_fn, or write one of the known types; another type is a 406."""
        wanted = self._accept(accept)
        try:
            if self.output_fn is None:
                body, wanted = encoded(predictions, wanted)
                return response_of((body, wanted), wanted, model.headers)
            with model.lock:
                result = self.output_fn(predictions, wanted)
        except unsupported() as problem:
            raise AcceptError(str(problem), found=wanted) from None
        return response_of(result, wanted, model.headers)


def accelerated(found: Any, settings: Settings) -> Model | None:
    """Return what model_fn gave with the engine that the check chose; None if XGBoost cannot
    predict with it. Raises StartError where ACCELERATION=require and oneDAL differs."""
    if isinstance(found, Model):
        return found
    is_booster = hasattr(found, "save_raw")
    if not is_booster and not hasattr(found, "get_booster"):
        return None
    booster = found if is_booster else found.get_booster()
    try:  # Booster.predict uses all rounds, scikit-learn's wrapper those up to the best
        choice = acceleration.choose(
            booster, mode=settings.acceleration, best_iteration=not is_booster, explain=False
        )
    except acceleration.AccelerationError as error:
        raise StartError(f"the model of model_fn: {error}") from None
    return Model([choice], Manifest(index_base=0), replace(settings, short_rows="missing"))


def labels_of(found: Any, model: Model) -> Function:
    """Return what turns scores into what the estimator's own predict returns."""
    if not hasattr(found, "n_classes_"):
        return unchanged
    return partial(estimator_classes, objective=model.objective)


def read_rows(model: Model, body: bytes, content_type: str | None) -> Rows:
    """Return the rows of the media types that the default input_fn knows."""
    found = parse_media_type(content_type or JSON).type
    if found not in READ:
        expected = list(READ)
        message = f"the program has no input_fn: send one of {', '.join(READ)}"
        raise MediaTypeError(message, expected=expected, found=found)
    return decode(body, content_type, model.schema, "csv")


def read_matrix(body: Body, content_type: str) -> Any:
    """Return a request as the default input_fn does, as a DMatrix."""
    encoder = importlib.import_module("sagemaker_xgboost_container.encoder")
    return encoder.decode(body, content_type)


def predict_default(data: Any, model: Any) -> Any:
    """Return predictions as the default predict_fn does."""
    return model.predict(data, validate_features=False)


def dense(data: Any, columns: int) -> Any:
    """Return what input_fn made as float32 [rows, columns], NaN where missing; None where XGBoost
    itself must look at it."""
    if hasattr(data, "num_nonmissing"):  # a DMatrix
        too_large = data.num_row() * columns > MAX_CELLS
        if too_large or data.get_base_margin().size or data.num_col() > columns:
            return None
        rows = data.get_data()
        values = np.full((data.num_row(), columns), np.nan, np.float32)
        coordinates = rows.tocoo()
        values[coordinates.row, coordinates.col] = coordinates.data
        return values
    values = np.ascontiguousarray(data, np.float32)
    return values if values.ndim == 2 and values.shape[1] == columns else None


def rows_of(data: Any) -> int:
    """Return the rows of what input_fn returned, for the metrics; 1 where nobody knows."""
    if hasattr(data, "num_row"):
        return max(1, int(data.num_row()))
    shape = getattr(data, "shape", None)
    return max(1, int(shape[0])) if shape else 1


def encoded(predictions: Any, accept: str) -> tuple[Body, str]:
    """Return predictions as the default output_fn does, and the media type. Raises AcceptError."""
    encoders = importlib.import_module("sagemaker_containers._encoders")
    chosen = parse_accept_header(accept, MIMEAccept).best_match([JSON, CSV, NPY])
    if chosen is None:
        expected = [JSON, CSV, NPY]
        raise AcceptError(f"the program has no output_fn for {accept}", expected=expected)
    return encoders.encode(predictions, chosen), chosen


def unsupported() -> type[Exception]:
    """Return the error of a media type that the toolkits' functions do not know."""
    errors = importlib.import_module("sagemaker_containers._errors")
    known: type[Exception] = errors.UnsupportedFormatError
    return known


def response_of(result: Any, accept: str, headers: tuple[tuple[str, str], ...]) -> Response:
    """Return the response that output_fn or transform_fn means: a response of Flask's, a body and
    its media type, or a body alone."""
    if hasattr(result, "get_data"):
        others = tuple(
            (k, v) for k, v in result.headers if k not in {"Content-Type", "Content-Length"}
        )
        return Response(
            result.status_code, result.get_data(), result.content_type, others + headers
        )
    body, media_type = result if isinstance(result, tuple) else (result, accept)
    content = body.encode() if isinstance(body, str) else bytes(body)
    is_text = media_type.startswith("text/") and "charset" not in media_type
    return Response(
        200, content, f"{media_type}; charset=utf-8" if is_text else media_type, headers
    )
