"""The web application: it loads the model, converts it with daal4py, and predicts.

load_model             a folder -> XGBoost's Boosters -> daal4py's models, where they are equal
ScoringService         get_model, predict: one request; ping and metrics
routes, create_app     the paths, and the place for your own
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, request

import settings as configuration
from runtime import acceleration
from runtime.formats.libsvm import index_rule
from runtime.inference import drift, invocation, loading, mlmodel, programs, scoring
from runtime.inference.errors import NoModelError, Response, StartError, UnknownModelError
from runtime.inference.handlers import Program
from runtime.inference.invocation import ServedModel
from runtime.inference.loading import ModelFolder
from runtime.inference.models import Model
from runtime.inference.monitor import Monitor, exposition, forget
from runtime.inference.store import ModelStore
from runtime.job import resources
from runtime.job.failures import UserError
from runtime.job.paths import Paths
from runtime.server import health
from runtime.server.web import WebApplication, unread
from settings import Settings

log = logging.getLogger(__name__)


def load_model(folder: Path, settings: Settings) -> Model:
    """Load a model folder, with one model file or several that answer together.

    Raises ModelFileError or UserError when the files are broken, StartError when they contradict
    the program or its settings.
    """
    started = time.monotonic()
    found = loading.read(folder, settings)
    converted = [convert(name, found, settings) for name in found.boosters]
    model = Model(converted, found.manifest, settings, found.categories, found.mlmodel)
    log.info("model loaded in %.2f s, engine %s", time.monotonic() - started, model.engine_name)
    log.info("libsvm requests: %s", index_rule(model.schema))
    return model


def convert(name: str, found: ModelFolder, settings: Settings) -> acceleration.Choice:
    """Convert a Booster with daal4py: oneDAL predicts several times faster than XGBoost.

    The result is kept where it gives XGBoost's predictions, on rows that are made to reach the
    model's splits and on rows of the training data; everywhere else XGBoost predicts. `reason` and
    `report` of what is returned say which, why, and what was compared.
    """
    try:
        return acceleration.choose(
            found.boosters[name],
            mode=settings.acceleration,
            missing=found.manifest.missing,
            probe_rows=found.probe_rows,
            best_iteration=settings.best_iteration and not mlmodel.takes_all_rounds(found.mlmodel),
            explain="contributions" in settings.inference_output,
        )
    except acceleration.AccelerationError as error:  # of ACCELERATION=require
        raise StartError(f"{name}: {error}") from None
    except acceleration.ModelFileError as error:
        raise acceleration.ModelFileError(f"{found.path}: {error}") from None


class ScoringService:
    """Holds the model, or the reason why there is none, or many models; answers with them.

    `run` is the folder that the processes of one server share; None outside of a server.
    """

    def __init__(self, settings: Settings, paths: Paths, run: Path | None = None) -> None:
        self.settings, self.run = settings, run
        self.monitor = Monitor(settings)
        self.model: ServedModel | None = None
        self.store: ModelStore | None = None
        self.drift: drift.Drift | None = None
        self.failure = ""
        self.program: Program | None = None
        invocation.check(settings)
        if settings.multi_model:
            self.program = programs.bring(settings, paths)
            self.store = ModelStore(run / "models" if run else paths.models, settings, self.load)
            return
        try:
            self.program = programs.bring(settings, paths)
            self.model = self.load(paths.model)
            self.drift = drift.watch(self.model.model, settings, run)
            if self.drift:
                self.model = scoring.watched(self.model, self.drift.offer)
            if run:
                loading.keep_reports(self.model.model.reports, run)
        except (acceleration.ModelFileError, UserError, OSError) as error:
            # A reason to answer 503 with, not for a process that dies again and again.
            self.failure = f"the model cannot be served: {error}"
            log.error("error: %s", self.failure)

    def load(self, folder: Path) -> ServedModel:
        """Load a model folder, and choose the steps of its requests: decode, predict, encode."""
        if self.program:
            return self.program.serve(folder, load_model)
        model = load_model(folder, self.settings)
        served = invocation.steps_of(model, self.settings)
        if model.mlmodel is None:
            return served
        return scoring.steps_of(served, model, model.mlmodel, self.settings)

    def get_model(self, name: str | None = None) -> ServedModel:
        """Return the model, or the one called `name` of a multi-model endpoint.

        Raises NoModelError with the reason when loading failed, UnknownModelError.
        """
        if self.store and name is not None:
            return self.store.get(name)
        if self.store or name is not None:
            raise UnknownModelError("models of a multi-model endpoint answer /models/NAME/invoke")
        if self.model is None:
            raise NoModelError(self.failure)
        return self.model

    def predict(self, environ: dict[str, Any], name: str | None = None) -> Response:
        """Answer the request of a WSGI environment, by the model called `name` if there are many.

        Raises FormatError, which carries its HTTP status, when the request is wrong.
        """
        trace = invocation.trace_of(environ)
        try:
            model = self.get_model(name)
            response = invocation.answer(model, environ, self.settings.max_content_length, trace)
            trace.status = response.status
            return response
        except Exception as error:
            trace.fail(error)
            environ["HTTP_X_REQUEST_ID"] = trace.request_id  # for the response, if it is ours
            raise
        finally:
            self.monitor.record(trace, environ)

    def ping(self) -> Response:
        """Test the model in this process: 200 with an empty body, or 503 and the reason."""
        if finding := self.test():
            raise NoModelError(finding)
        return Response(200)

    def test(self) -> str:
        """Return what is wrong with the model in this process, or the empty string."""
        self.flush()
        if self.store:
            self.store.sweep()
            self.monitor.observe(len(self.store.registry.ready()), None)
            return ""
        if self.model is None:
            self.monitor.observe(0, None)
            return self.failure
        self.monitor.observe(1, self.model.model)
        return self.model.model.self_test()

    def execution_parameters(self) -> Response:
        """Tell batch transform how much this container takes."""
        parameters = {
            "MaxConcurrentTransforms": self.settings.workers or resources.cpu_count(),
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": max(1, self.settings.max_content_length >> 20),
        }
        return Response(200, orjson.dumps(parameters), "application/json")

    def metrics(self) -> Response:
        """Return the metrics of all workers; those of the others are at most a second old."""
        self.flush()
        return exposition(self.drift)

    def flush(self) -> None:
        """Write what was counted since the last time to where all workers write."""
        self.monitor.flush()
        if self.drift:
            self.drift.flush()

    def start_worker(self) -> None:
        """Prepare a process that was just forked: warm up, then begin its heartbeat."""
        if self.model is not None:
            for engine in self.model.model.engines:
                acceleration.after_fork(engine)
        if self.run:
            health.Heartbeat(self.run / "beats", self.test).start()

    def forget_worker(self, pid: int) -> None:
        """Clean up after a worker that ended."""
        forget(pid)
        if self.run:
            health.forget(self.run / "beats", pid)


def routes(service: ScoringService) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return method, path and answer of each route."""
    table: list[tuple[str, str, Callable[..., Response]]] = [
        ("GET", "/ping", service.ping),
        ("POST", "/invocations", lambda: service.predict(unread())),
        ("GET", "/execution-parameters", service.execution_parameters),
        ("GET", "/metrics", service.metrics),
    ]
    if store := service.store:
        table += [
            ("GET", "/models", lambda: store.list(request.query_string)),
            ("POST", "/models", lambda: store.add(request.get_data())),
            ("GET", "/models/<path:name>", store.describe),
            ("DELETE", "/models/<path:name>", store.remove),
            ("POST", "/models/<path:name>/invoke", lambda name: service.predict(unread(), name)),
        ]
    return table


def create_app(settings: Settings | None = None, paths: Paths | None = None) -> Flask:
    """Load the model and return the application that serves it.

    Register your own hooks, error handlers, routes and blueprints on `app`, here or in wsgi.py:
    all of Flask's work for every route. Predictions go past Flask while there is no hook, because
    its dispatch takes longer than the prediction of a row.
    """
    run = os.environ.get("SERVE_RUN")
    service = ScoringService(
        settings or configuration.load(),
        paths or Paths.from_environment(),
        Path(run) if run else None,
    )
    app = WebApplication(
        __name__,
        service.predict,
        many=service.store is not None,
        limit=service.settings.max_content_length,
    )
    app.extensions["scoring"] = service
    for method, path, answer in routes(service):
        app.add_view(method, path, answer)
    return app
