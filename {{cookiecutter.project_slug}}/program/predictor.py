"""The web application: its routes, and the service that holds the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, request

import settings as configuration
from runtime import acceleration
from runtime.inference import errors, invocation, loading, models, monitor
from runtime.inference.errors import NoModelError, Reply, UnknownModelError
from runtime.inference.store import ModelStore
from runtime.job import resources
from runtime.job.failures import UserError
from runtime.job.paths import Paths
from runtime.server import health
from settings import Settings

STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

Environ = dict[str, Any]
Start = Callable[..., Any]

log = logging.getLogger(__name__)


class ScoringService:
    """Holds the model, or the reason why there is none, or many models; answers with them."""

    def __init__(self, settings: Settings, paths: Paths, run: Path | None = None) -> None:
        self.settings, self.run = settings, run
        self.monitor = monitor.Monitor(settings)
        self.model: models.Model | None = None
        self.store: ModelStore | None = None
        self.failure = ""
        invocation.check(settings)
        if settings.multi_model:
            self.store = ModelStore(run / "models" if run else paths.models, settings)
        else:
            self._load(paths.model)

    def _load(self, folder: Path) -> None:
        """Load the model. A broken one is a reason for 503s, not for dying again and again."""
        try:
            self.model = loading.load(folder, self.settings)
        except (acceleration.ModelFileError, UserError, OSError) as error:
            self.failure = f"the model cannot be served: {error}"
            log.error("error: %s", self.failure)

    def get_model(self, name: str | None = None) -> models.Model:
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

    def predict(self, environ: Mapping[str, Any], name: str | None = None) -> Reply:
        """Answer one request for predictions, by the model called `name` if there are many."""
        reply, trace = invocation.invoke(self.get_model, name, environ, self.settings)
        self.monitor.record(trace, environ)
        return reply

    def ping(self) -> Reply:
        """Test the model in this process: 200 with an empty body, or 503 and the reason."""
        finding = self.test()
        return errors.from_exception(NoModelError(finding)) if finding else Reply(200)

    def test(self) -> str:
        """Return what is wrong with the model in this process, or the empty string."""
        self.monitor.flush()
        if self.store:
            self.store.sweep()
            self.monitor.observe(len(self.store.registry.ready()), None)
            return ""
        self.monitor.observe(int(self.model is not None), self.model)
        return self.model.self_test() if self.model else self.failure

    def execution_parameters(self) -> Reply:
        """Tell batch transform how much this container takes."""
        parameters = {
            "MaxConcurrentTransforms": self.settings.workers or resources.cpu_count(),
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": max(1, self.settings.max_content_length >> 20),
        }
        return Reply(200, orjson.dumps(parameters), "application/json")

    def metrics(self) -> Reply:
        """Return the metrics of all workers; those of the others are at most a second old."""
        self.monitor.flush()
        return monitor.exposition()

    def start_worker(self) -> None:
        """Prepare a process that was just forked: warm up, then begin its heartbeat."""
        if self.model is not None:
            for engine in self.model.engines:
                acceleration.after_fork(engine)
        if self.run:
            health.Heartbeat(self.run / "beats", self.test).start()

    def forget_worker(self, pid: int) -> None:
        """Clean up after a worker that ended."""
        monitor.forget(pid)
        if self.run:
            health.forget(self.run / "beats", pid)


def respond(reply: Reply) -> Response:
    """Turn a reply into Flask's own."""
    headers = list(reply.headers)
    return Response(reply.body, reply.status, headers, content_type=reply.content_type)


def invoked_model(path: str) -> str | None:
    """Return which of many models a path asks to predict; None if none."""
    if not (path.startswith("/models/") and path.endswith("/invoke")):
        return None
    name = path[len("/models/") : -len("/invoke")]
    return name.encode("latin-1").decode("utf-8", "replace")  # as WSGI wants it


def answer_first(service: ScoringService, rest: Start) -> Start:
    """Wrap a WSGI application: predictions are answered here, everything else by `rest`.

    Flask's dispatch costs more than the prediction of a row. The routes of `create_app` answer
    the same requests through the same function, wherever they run without this wrapper.
    """

    many = service.store is not None

    def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        name = invoked_model(path) if many else None
        if environ["REQUEST_METHOD"] != "POST" or (path != "/invocations" and name is None):
            result: Iterable[bytes] = rest(environ, start_response)
            return result
        reply = service.predict(environ, name)
        headers = [("Content-Length", str(len(reply.body))), *reply.headers]
        if reply.content_type:
            headers.append(("Content-Type", reply.content_type))
        start_response(STATUS_LINES[reply.status], headers)
        return [reply.body]

    return application


def routes(service: ScoringService) -> list[tuple[str, str, Callable[..., Reply]]]:
    """Return method, path and answer of each route."""
    table: list[tuple[str, str, Callable[..., Reply]]] = [
        ("GET", "/ping", service.ping),
        ("POST", "/invocations", lambda: service.predict(request.environ)),
        ("GET", "/execution-parameters", service.execution_parameters),
        ("GET", "/metrics", service.metrics),
    ]
    if store := service.store:
        table += [
            ("GET", "/models", lambda: store.list(request.args.get("next_page_token", ""))),
            ("POST", "/models", lambda: store.add(request.get_data())),
            ("GET", "/models/<path:name>", store.describe),
            ("DELETE", "/models/<path:name>", store.remove),
            (
                "POST",
                "/models/<path:name>/invoke",
                lambda name: service.predict(request.environ, name),
            ),
        ]
    return table


def create_app(settings: Settings | None = None, paths: Paths | None = None) -> Flask:
    """Load the model and return the application that serves it."""
    run = os.environ.get("SERVE_RUN")
    service = ScoringService(
        settings or configuration.load(),
        paths or Paths.from_environment(),
        Path(run) if run else None,
    )
    app = Flask(__name__, static_folder=None)
    app.extensions["scoring"] = service
    app.url_map.merge_slashes = False  # the name of a model may hold two
    for method, path, answer in routes(service):
        view = partial(lambda answer, **values: respond(answer(**values)), answer)
        app.add_url_rule(path, f"{method} {path}", view, methods=[method])
    app.register_error_handler(Exception, lambda error: respond(errors.from_exception(error)))
    app.wsgi_app = answer_first(service, app.wsgi_app)  # type: ignore[method-assign]
    return app
