"""Flask's own hooks work for every route, predictions included, and cost nothing while unused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import numpy as np
import pytest
import xgboost
from flask import Blueprint, Flask
from werkzeug.datastructures import WWWAuthenticate

import settings
from conftest import sample_rows, save, to_csv
from predictor import create_app
from runtime.formats.errors import ColumnsError
from runtime.job.paths import Paths

ROWS = sample_rows(6, seed=9)
BODY = to_csv(ROWS)


@pytest.fixture
def app(booster, opt_ml: Path) -> Flask:
    """The application of a small model."""
    save(booster("reg:squarederror"), opt_ml / "model")
    return create_app(settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}), Paths(opt_ml))


@pytest.fixture
def models(booster, opt_ml: Path) -> Flask:
    """The application of a multi-model endpoint with a model called `a`."""
    (opt_ml / "models").mkdir()
    folder = save(booster("reg:squarederror"), opt_ml / "a")
    config = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "SAGEMAKER_MULTI_MODEL": "true"}
    app = create_app(settings.load(config), Paths(opt_ml))
    app.extensions["scoring"].store.add(f'{{"model_name":"a","url":"{folder}"}}'.encode())
    return app


def post(app: Flask, body: bytes = BODY, path: str = "/invocations") -> Any:
    return app.test_client().post(path, data=body, content_type="text/csv")


def past_flask(app: Flask, path: str = "/invocations") -> list[bool]:
    """Return of three requests whether each was answered without a request context of Flask."""
    seen: list[bool] = []
    service = app.extensions["scoring"]
    get_model = service.get_model

    def spy(name: str | None = None) -> Any:
        seen.append(not flask.has_request_context())
        return get_model(name)

    service.get_model = spy
    assert [post(app, path=path).status_code for _ in range(3)] == [200] * 3
    return seen


def test_without_hooks_predictions_go_past_flask_after_the_first(app: Flask) -> None:
    assert past_flask(app) == [False, True, True]


def test_so_do_those_of_a_multi_model_endpoint(models: Flask) -> None:
    assert past_flask(models, "/models/a/invoke") == [False, True, True]


def test_both_ways_give_the_same_responses(app: Flask, booster) -> None:
    truth = booster("reg:squarederror").predict(xgboost.DMatrix(ROWS))
    for body in (BODY, b"1,2", b"x", b"", b"1,2,x,4,5"):
        through, past = post(app, body), post(app, body)
        app.shortcut = None  # as before the first request
        assert (through.status_code, through.data) == (past.status_code, past.data)
        headers = [{"Content-Length": "0", **answer.headers} for answer in (through, past)]
        assert headers[0] == headers[1]  # 204 may have a length of 0 or none
        if body is BODY:
            found = [float(line) for line in through.data.split()]
            np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6)


def registered(app: Flask, how: str) -> None:
    """Register something that Flask runs for every request."""
    view = app.view_functions["POST /invocations"]
    ways: dict[str, Callable[[], Any]] = {
        "before_request": lambda: app.before_request(lambda: None),
        "after_request": lambda: app.after_request(lambda response: response),
        "teardown_request": lambda: app.teardown_request(lambda error: None),
        "teardown_appcontext": lambda: app.teardown_appcontext(lambda error: None),
        "url_value_preprocessor": lambda: app.url_value_preprocessor(lambda *_: None),
        "errorhandler": lambda: app.register_error_handler(415, lambda error: "no"),
        "catch-all": lambda: app.register_error_handler(Exception, lambda error: "no"),
        "view": lambda: app.view_functions.update({"POST /invocations": lambda: view()}),
    }
    ways[how]()


HOOKS = [
    *("before_request", "after_request", "teardown_request", "teardown_appcontext"),
    *("url_value_preprocessor", "errorhandler", "catch-all", "view"),
]


@pytest.mark.parametrize("how", HOOKS)
def test_any_hook_brings_predictions_back_to_flask(app: Flask, how: str) -> None:
    registered(app, how)
    assert past_flask(app) == [False] * 3


def test_a_receiver_of_flasks_signals_does_too(app: Flask) -> None:
    def receiver(sender: Any, **_: Any) -> None:
        pass

    with flask.signals.request_finished.connected_to(receiver):
        assert past_flask(app) == [False] * 3


@pytest.mark.parametrize("many", [False, True])
def test_before_request_guards_every_route(many: bool, request: pytest.FixtureRequest) -> None:
    app = request.getfixturevalue("models" if many else "app")
    path = "/models/a/invoke" if many else "/invocations"

    @app.before_request
    def guard() -> Any:
        token = flask.request.headers.get("Authorization")
        return None if token == "Bearer secret" else ({"code": 401}, 401)

    client = app.test_client()
    for _ in range(2):
        assert post(app, path=path).status_code == 401
        assert client.get("/ping").status_code == 401
        answer = client.post(
            path, data=BODY, content_type="text/csv", headers={"Authorization": "Bearer secret"}
        )
        assert answer.status_code == 200


def test_abort_in_a_hook_is_answered_in_json(app: Flask) -> None:
    app.before_request(
        lambda: flask.abort(401, "who? \ud800", www_authenticate=WWWAuthenticate("bearer"))
    )
    answer = post(app)
    assert (answer.status_code, answer.json["code"]) == (401, 401)
    assert answer.json["message"].startswith("who?")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_abort_with_a_response_keeps_it(app: Flask) -> None:
    app.before_request(lambda: flask.abort(flask.Response("later", 429)))
    assert (post(app).status_code, post(app).data) == (429, b"later")


def test_after_request_sees_predictions_and_errors(app: Flask) -> None:
    seen: list[tuple[int, int | None]] = []

    @app.after_request
    def add(response: flask.Response) -> flask.Response:
        seen.append((response.status_code, response.content_length))
        response.headers["X-Owner"] = "here"
        return response

    answers = [post(app), post(app, b"1,2"), post(app, b"")]
    assert [answer.headers["X-Owner"] for answer in answers] == ["here"] * 3
    assert seen == [(answer.status_code, len(answer.data)) for answer in answers]
    assert [status for status, _ in seen] == [200, 400, 204]


def test_an_error_handler_of_the_owner_answers_for_predictions(app: Flask) -> None:
    @app.errorhandler(ColumnsError)
    def explain(error: ColumnsError) -> Any:
        return {"hint": f"send {error.expected} columns"}, error.status

    answer = post(app, b"1,2")
    assert (answer.status_code, answer.json) == (400, {"hint": "send 5 columns"})
    assert post(app, b"x").json["code"] == 415


def test_a_hook_may_read_the_body(app: Flask, booster) -> None:
    seen: list[bytes] = []
    app.before_request(lambda: seen.append(flask.request.get_data()))
    truth = booster("reg:squarederror").predict(xgboost.DMatrix(ROWS))
    found = [float(line) for line in post(app).data.split()]
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6)
    assert seen == [BODY]


def test_a_hook_never_reads_a_body_over_the_limit(app: Flask) -> None:
    app.before_request(lambda: (flask.request.get_data(), None)[1])
    answer = post(app, b"1" * (26214400 + 1))
    assert (answer.status_code, answer.json["code"]) == (413, 413)


def test_a_request_to_load_has_the_limit_of_bodies_too(models: Flask) -> None:
    answer = post(models, b"1" * (26214400 + 1), "/models")
    assert (answer.status_code, answer.json["code"]) == (413, 413)


def test_a_blueprint_answers_beside_the_shortcut(app: Flask) -> None:
    blueprint = Blueprint("owner", __name__)
    blueprint.before_request(lambda: None)  # of its own routes only
    blueprint.add_url_rule("/version", view_func=lambda: {"version": 3})
    app.register_blueprint(blueprint)
    assert past_flask(app) == [False, True, True]
    assert app.test_client().get("/version").json == {"version": 3}


def test_a_hook_that_comes_too_late_is_refused_aloud(app: Flask) -> None:
    assert past_flask(app)[-1]
    with pytest.raises(AssertionError, match="can no longer be called"):
        app.before_request(lambda: None)


def test_middleware_around_wsgi_app_sees_predictions(app: Flask) -> None:
    seen: list[str] = []
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ["PATH_INFO"])
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    assert [post(app).status_code for _ in range(2)] == [200, 200]
    assert seen == ["/invocations"] * 2
