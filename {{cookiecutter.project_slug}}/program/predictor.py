"""The web application: its routes, and the service that holds the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, request

import acceleration
import settings as configuration
from container import resources
from container.failures import UserError
from container.health import Heartbeat
from container.paths import Paths
from formats.errors import AcceptError
from formats.media import negotiate
from inference import errors, invocation, models, monitor
from inference.errors import NoModelError, Reply
from settings import SettingError, Settings

Environ = dict[str, Any]
Start = Callable[..., Any]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

log = logging.getLogger(__name__)


class ScoringService:
    """Holds the model, or the reason why there is none, and answers requests with it."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self.settings, self.paths = settings, paths
        self.monitor = monitor.Monitor(settings)
        self.model: models.Model | None = None
        self.failure = ""
        self._check_settings()
        self._load()

    def _check_settings(self) -> None:
        try:
            negotiate(None, self.settings.default_accept, bool(self.settings.inference_output))
        except AcceptError as error:
            raise SettingError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error}") from None

    def _load(self) -> None:
        """Load the model. A broken one is a reason for 503s, not for dying again and again."""
        try:
            self.model = models.load(self.paths.model, self.settings)
        except (acceleration.ModelFileError, UserError) as error:
            self.failure = f"the model cannot be served: {error}"
            log.error("error: %s", self.failure)

    def get_model(self) -> models.Model:
        """Return the model. Raises NoModelError with the reason when loading it failed."""
        if self.model is None:
            raise NoModelError(self.failure)
        return self.model

    def predict(self, environ: Mapping[str, Any]) -> Reply:
        """Answer one request for predictions."""
        reply, trace = invocation.invoke(self.get_model, environ, self.settings)
        self.monitor.record(trace, environ)
        return reply

    def ping(self) -> Reply:
        """Test the model in this process: 200 with an empty body, or 503 and the reason."""
        finding = self.test()
        if finding:
            return errors.from_exception(NoModelError(finding))
        return Reply(200)

    def test(self) -> str:
        """Return what is wrong with the model in this process, or the empty string."""
        return self.model.self_test() if self.model else self.failure

    def execution_parameters(self) -> Reply:
        """Tell batch transform how much this container takes."""
        parameters = {
            "MaxConcurrentTransforms": self.settings.workers or resources.cpu_count(),
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": max(1, self.settings.max_content_length >> 20),
        }
        return Reply(200, orjson.dumps(parameters), "application/json")

    def start_worker(self) -> None:
        """Prepare a process that was just forked: warm up, then begin its heartbeat."""
        if self.model is not None:
            for engine in self.model.engines:
                acceleration.after_fork(engine)
        run = os.environ.get("SERVE_RUN")
        if run:
            Heartbeat(Path(run) / "beats", self.test).start()

    def forget_worker(self, pid: int) -> None:
        """Clean up after a worker that ended."""
        monitor.forget(pid)
        run = os.environ.get("SERVE_RUN")
        if run:
            (Path(run) / "beats" / str(pid)).unlink(missing_ok=True)


def respond(reply: Reply) -> Response:
    """Turn a reply into Flask's own."""
    return Response(
        reply.body,
        reply.status,
        headers=list(reply.headers),
        content_type=reply.content_type,
    )


def answer_first(service: ScoringService, rest: Start) -> Start:
    """Wrap a WSGI application: predictions are answered here, everything else by `rest`.

    Flask's dispatch costs more than the prediction of a row. The route below answers the same
    requests through the same function, wherever the application runs without this wrapper.
    """

    def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/invocations" or environ["REQUEST_METHOD"] != "POST":
            result: Iterable[bytes] = rest(environ, start_response)
            return result
        reply = service.predict(environ)
        headers = [("Content-Length", str(len(reply.body))), *reply.headers]
        if reply.content_type:
            headers.append(("Content-Type", reply.content_type))
        start_response(STATUS_LINES[reply.status], headers)
        return [reply.body]

    return application


def create_app(settings: Settings | None = None, paths: Paths | None = None) -> Flask:
    """Load the model and return the application that serves it."""
    service = ScoringService(settings or configuration.load(), paths or Paths.from_environment())
    app = Flask(__name__, static_folder=None)
    app.extensions["scoring"] = service

    @app.get("/ping")
    def ping() -> Response:
        return respond(service.ping())

    @app.post("/invocations")
    def invocations() -> Response:
        return respond(service.predict(request.environ))

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return respond(service.execution_parameters())

    @app.get("/metrics")
    def metrics() -> Response:
        return respond(monitor.exposition())

    @app.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        return respond(errors.from_exception(error))

    app.wsgi_app = answer_first(service, app.wsgi_app)  # type: ignore[method-assign]
    return app
