"""Flask, with a shortcut for predictions while nobody but the program sees requests.

Flask's dispatch of a request costs more than the prediction of a row. What it does beyond calling
the view is to run what was registered with it: `before_request`, `after_request`, error handlers,
signals. Predictions take the shortcut as long as there is nothing of the kind.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

import flask
from flask import Flask, signals

from runtime.inference import errors
from runtime.inference.errors import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
SIGNALS = (
    signals.appcontext_popped,
    signals.appcontext_pushed,
    signals.appcontext_tearing_down,
    signals.got_request_exception,
    signals.request_finished,
    signals.request_started,
    signals.request_tearing_down,
)


class WebApplication(Flask):
    """A Flask application whose views return our Response, or raise an exception.

    `predict(environ, name)` answers predictions, of the model called `name` if there are `many`.
    A body has at most `limit` bytes.
    """

    def __init__(
        self, name: str, predict: Callable[..., Response], *, many: bool, limit: int
    ) -> None:
        super().__init__(name, static_folder=None)
        self.config["MAX_CONTENT_LENGTH"] = limit  # of bodies that Flask reads
        self.url_map.merge_slashes = False  # the name of a model may hold two
        self.predict, self.many = predict, many
        self.views: dict[str, Callable[..., flask.Response]] = {}
        self.shortcut: bool | None = None  # decided by the first request
        self.register_error_handler(Exception, respond_to_error)

    def add_view(self, method: str, path: str, answer: Callable[..., Response]) -> None:
        """Let `answer`, called with the path's variables, answer a route."""
        endpoint = f"{method} {path}"
        self.views[endpoint] = lambda **values: to_flask(answer(**values))
        self.add_url_rule(path, endpoint, self.views[endpoint], methods=[method])

    def has_hooks(self) -> bool:
        """Return whether an owner has registered what Flask runs for every request."""
        registries = (
            self.before_request_funcs,
            self.after_request_funcs,
            self.teardown_request_funcs,
            self.url_value_preprocessors,
        )
        by_code = self.error_handler_spec[None].values()
        handlers = [handler for by_class in by_code for handler in by_class.values()]
        return (
            any(registry.get(None) for registry in registries)
            or bool(self.teardown_appcontext_funcs)
            or handlers != [respond_to_error]
            or any(self.view_functions[endpoint] != view for endpoint, view in self.views.items())
            or any(signal.receivers for signal in SIGNALS)
        )

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request: a prediction here, if it may be, and everything else through Flask."""
        if self.shortcut is None:
            # Flask refuses new hooks from its first request on, so that this stays true.
            self.shortcut = not self.has_hooks()
        elif self.shortcut and environ["REQUEST_METHOD"] == "POST":
            path = environ["PATH_INFO"]
            name = invoked_model(path) if self.many else None
            if name is not None or path == "/invocations":
                try:
                    response = self.predict(environ, name)
                except Exception as error:
                    response = errors.from_exception(error, environ.get("HTTP_X_REQUEST_ID", ""))
                headers = [("Content-Length", str(len(response.body))), *response.headers]
                if response.content_type:
                    headers.append(("Content-Type", response.content_type))
                start_response(status_line(response.status), headers)
                return [response.body]
        return super().wsgi_app(environ, start_response)


def status_line(status: int) -> str:
    """Return status and reason; a program's output_fn may return a status that has none."""
    return STATUS_LINES.get(status) or f"{status} UNKNOWN"  # as Werkzeug has it


def invoked_model(path: str) -> str | None:
    """Return which of many models a path asks to predict; None if none."""
    if not (path.startswith("/models/") and path.endswith("/invoke")):
        return None
    name = path[len("/models/") : -len("/invoke")]
    return name.encode("latin-1").decode("utf-8", "replace")  # as WSGI wants it


def unread() -> WSGIEnvironment:
    """Return the environment of Flask's request with its whole body, even if a hook has read it."""
    environ = flask.request.environ
    body = getattr(flask.request, "_cached_data", None)  # werkzeug's, of get_data and get_json
    return environ if body is None else environ | {"wsgi.input": io.BytesIO(body)}


def respond_to_error(error: Exception) -> flask.Response:
    """Turn whatever a view, a hook or Flask itself raised into JSON."""
    request_id = flask.request.environ.get("HTTP_X_REQUEST_ID", "")
    return to_flask(errors.from_exception(error, request_id))


def to_flask(response: Response) -> flask.Response:
    """Return Flask's form of a response."""
    answer = flask.Response(response.body, response.status, list(response.headers))
    del answer.headers["Content-Type"]  # Flask's default is HTML, of empty bodies too
    if response.content_type:
        answer.content_type = response.content_type
    return answer
