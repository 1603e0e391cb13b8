"""MLflow's scoring protocol, for models that come as MLmodel folders.

A request in one of MLflow's forms (formats.dataframes) is answered as MLflow's scoring server
answers: `{"predictions": [...]}`, with what the `predict` of the object returns that was logged. Of
a Booster these are scores, of a classifier classes. Every other request to such a model, and every
request to other models, is what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from runtime.formats import Rows, negotiate
from runtime.formats.answers import to_predictions
from runtime.formats.categories import Unseen
from runtime.formats.dataframes import FORMS, ScoringError, Signature, decode
from runtime.formats.errors import FormatError, listed
from runtime.formats.json_rows import check_nesting, is_named, load
from runtime.formats.media import resolve
from runtime.formats.text import BYTE_ORDER_MARK
from runtime.inference.errors import Response
from runtime.inference.invocation import ServedModel
from runtime.inference.mlmodel import MLmodel, MLmodelError
from runtime.inference.models import Model, Predictions
from runtime.inference.outputs import estimator_classes
from runtime.job.artifact import Manifest
from settings import Settings

JSON = "application/json"
Watch = Callable[[Any, Any], None]
MARGIN = "output_margin"  # the parameter of `predict` that requests may set

log = logging.getLogger(__name__)


class Scoring(NamedTuple):
    """The rows of a request of MLflow's protocol, and whether margins are asked for."""

    rows: Rows
    margin: bool

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        return self.rows.unseen


class Scored(NamedTuple):
    """What is answered to a request of MLflow's protocol, and the scores that it is made of."""

    outputs: Any
    scores: Any = None


@dataclass(frozen=True)
class Steps:
    """The steps of requests to an MLflow model; `usual` ones do what is not MLflow's."""

    usual: ServedModel
    model: Model
    described: MLmodel
    signature: Signature | None
    settings: Settings

    def decode(self, body: bytes, content_type: str | None) -> Any:
        """Return a request of MLflow's protocol as Scoring, another one as usual."""
        document = self._document(body, content_type)
        if document is None:
            return self.usual.decode(body, content_type)
        margin = wants_margin(self.described.defaults, document.get("params"))
        return Scoring(decode(document, self.model.schema, self.signature), margin)

    def predict(self, data: Any) -> Any:
        """Return what the `predict` of the logged object returns, or the keys' predictions."""
        if not isinstance(data, Scoring):
            return self.usual.predict(data)
        if data.margin:
            return Scored(Predictions(self.model, self.model.features(data.rows)).margins)
        scores = self.usual.predict(data.rows)
        if self.described.is_classifier and not self.settings.inference_output:
            return Scored(estimator_classes(scores, self.model.objective), scores)
        return Scored(scores, scores)

    def select(self, predictions: Any) -> Any:
        """Select as usual; margins that are asked for are no predictions to select from."""
        if not isinstance(predictions, Scored):
            return self.usual.select(predictions)
        if isinstance(predictions.outputs, np.ndarray):
            return predictions
        return Scored(self.usual.select(predictions.outputs))

    def encode(self, outputs: Any, accept: str | None) -> tuple[bytes, str] | Response:
        """Return `{"predictions": [...]}`, unless another type is what the client accepts."""
        if not isinstance(outputs, Scored):
            return self.usual.encode(outputs, accept)
        if negotiate(accept, self.settings.default_accept or JSON) != JSON:
            return self.usual.encode(outputs.outputs, accept)
        return to_predictions(outputs.outputs), JSON

    def count(self, data: Any) -> int:
        """Return the rows of a request; MLflow answers one without rows too."""
        if isinstance(data, Scoring):
            return max(1, len(data.rows.values))
        return self.usual.count(data)

    def _document(self, body: bytes, content_type: str | None) -> dict[str, Any] | None:
        """Return the document of a request of MLflow's protocol; None of any other."""
        codec, charset = resolve(content_type, self.settings.input_format)
        if codec.name != "json":
            return None
        try:
            body = body if charset == "utf-8" else body.decode(charset).encode()
            body = body.removeprefix(BYTE_ORDER_MARK)
            check_nesting(body, self.model.schema)
            document = load(body)
        except (FormatError, UnicodeDecodeError):  # the usual decoder says what is wrong
            return None
        if not isinstance(document, dict) or document.keys().isdisjoint(FORMS):
            return None
        rows = document.get("instances")
        first = rows[0] if isinstance(rows, list) and rows else None
        return None if isinstance(first, dict) and not is_named(first) else document


def steps_of(
    usual: ServedModel, model: Model, described: MLmodel, settings: Settings
) -> ServedModel:
    """Return the model with steps that know MLflow's protocol besides the `usual` ones.

    Tries the example of a request that was saved with the model, and logs how it went. Raises
    MLmodelError where the signature is not that of the model, or needs what is not supported.
    """
    try:
        wants_margin(described.defaults, {})
    except ScoringError as problem:
        raise MLmodelError(f"the signature of MLmodel: {problem}") from None
    steps = Steps(usual, model, described, aligned(described, model), settings)
    served = replace(
        usual,
        decode=steps.decode,
        predict=steps.predict,
        select=steps.select,
        encode=steps.encode,
        count=steps.count,
    )
    try_example(served, described)
    return served


def watched(served: ServedModel, watch: Watch) -> ServedModel:
    """Return the model with what watches the rows and scores of its requests, of MLflow's too."""
    if not isinstance(getattr(served.decode, "__self__", None), Steps):
        return replace(served, watch=watch)

    def step(data: Any, predictions: Any) -> None:
        if isinstance(data, Scoring):
            watch(data.rows, predictions.scores)
        else:
            watch(data, predictions)

    return replace(served, watch=step)


def wants_margin(defaults: dict[str, Any], given: Any) -> bool:
    """Return whether the parameters of a request, or the signature's defaults, ask for margins.

    What the signature does not name is ignored, as MLflow does. Raises ScoringError for a parameter
    that is not supported.
    """
    if not defaults:
        return False
    if not isinstance(given or {}, dict):
        raise ScoringError("params must be an object")
    values = defaults | {name: value for name, value in (given or {}).items() if name in defaults}
    active = [name for name, value in values.items() if value and name != MARGIN]
    if active:
        raise ScoringError(f"the parameter {active[0]!r} is not supported; {MARGIN} is")
    return bool(values.get(MARGIN))


def aligned(described: MLmodel, model: Model) -> Signature | None:
    """Return the signature in the order of the model's columns, which take its names where they
    have none.

    The columns of a model that was trained here are those of its manifest, before
    features.transform. Raises MLmodelError where those of another model are not the signature's.
    """
    signature, schema = described.signature, model.schema
    if signature is None:
        return None
    named = signature[0].name is not None
    by_name = {str(column.name): column for column in signature}
    names = schema.feature_names or (tuple(by_name) if named else None)
    fits = len(signature) == schema.num_features
    if fits and not named:
        return signature
    if fits and names and by_name.keys() == set(names):
        model.schema = replace(schema, feature_names=names)
        return tuple(by_name[name] for name in names)
    if model.manifest != Manifest():
        log.info("the signature of MLmodel is not used: requests have the columns of the manifest")
        return None
    raise MLmodelError(
        f"the signature of MLmodel has {len(signature)} columns ({listed(by_name)}); the model has "
        f"{schema.num_features} ({listed(schema.feature_names or ['without names'])})"
    )


def try_example(served: ServedModel, described: MLmodel) -> None:
    """Answer the example of a request that was saved with the model; log how it went."""
    if described.example is None:
        return
    try:
        data = served.decode(described.example, JSON)
        served.encode(served.select(served.predict(data)), JSON)
        log.info("the input example of the model is answered: %d rows", served.count(data))
    except Exception as problem:
        log.warning("the input example of the model cannot be answered: %s", problem)
