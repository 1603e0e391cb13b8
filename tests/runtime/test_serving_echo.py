"""Whatever text a client sends, wherever it may be repeated: short answers in JSON, no 5xx.

FORMAT_EXAMPLES sets how many texts each place sees (default 50).
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import settings as configuration
from conftest import save
from predictor import create_app
from runtime.job.artifact import Manifest
from runtime.job.paths import Paths

NAMES = tuple("abcde")
LONGEST_ANSWER = 20_000  # bytes
EXAMPLES = settings(
    max_examples=int(os.environ.get("FORMAT_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Everything that a JSON or UTF-8 parser may hand over: unpaired surrogates, NUL, other controls.
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.sampled_from(["\0", "\ud800", "\udfff\ud800", "\n", "\r\n", "\x1b[31m", "\u2028", "\x85"]),
    st.builds(lambda text: text * 5000, st.text(st.characters(exclude_categories=()), min_size=1)),
)
# What a header can hold in WSGI: latin-1, and no line break (HTTP ends the header there).
headers = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), min_size=1).map(
        lambda text: text * 500
    ),
)


class Answer(NamedTuple):
    """What a WSGI application returned."""

    status: int
    headers: dict[str, str]
    body: bytes


def call(app: Any, path: str, body: bytes = b"", method: str = "POST", **variables: str) -> Answer:
    """Call a WSGI application as a server does, past every check of a client library."""
    seen: list[tuple[int, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        seen.append((int(status.split()[0]), dict(headers)))

    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        **variables,
    }
    answer = b"".join(app(environ, start_response))
    return Answer(*seen[-1], answer)


def check(answer: Answer, logged: pytest.LogCaptureFixture, printed: str = "") -> None:
    """Check that an answer, and what was logged of it, are what a client and a log can read."""
    assert answer.status < 500, answer
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/json"
        document = json.loads(answer.body.decode("utf-8"))
        assert document["code"] == answer.status
        document["message"].encode("utf-8")
        assert len(answer.body) < LONGEST_ANSWER
    for record in logged.records:
        message = record.getMessage()
        assert message.isprintable(), message
        assert len(message) < LONGEST_ANSWER
    for line in printed.splitlines():
        json.loads(line)
        assert len(line) < LONGEST_ANSWER
    logged.clear()


@pytest.fixture(scope="module")
def app(booster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The application of a model with column names; a line of JSON per request."""
    base = tmp_path_factory.mktemp("opt_ml")
    Manifest(feature_names=NAMES).save(save(booster("reg:squarederror"), base / "model"))
    options = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCESS_LOG": "on"}
    return create_app(configuration.load(options), Paths(base))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The application of a multi-model endpoint."""
    base = tmp_path_factory.mktemp("opt_ml")
    (base / "models").mkdir()
    options = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "SAGEMAKER_MULTI_MODEL": "true"}
    return create_app(configuration.load(options), Paths(base))


def in_wsgi(text: str) -> str:
    """Return a path as WSGI hands it over: the bytes of a URL, whatever they are, as latin-1."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()  # escapes, for unpaired surrogates too


def as_raw_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


BODIES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "name of a column": ("application/json", lambda t: as_json({"instances": [{t: 1}]})),
    "one name more": (
        "application/json",
        lambda t: as_json({"instances": [dict.fromkeys(NAMES, 1) | {t: 1}]}),
    ),
    "name beside NaN": ("application/json", lambda t: b"[NaN," + as_json({t: 1}) + b"]"),
    "raw name": ("application/json", lambda t: as_raw_json({"instances": [{t: 1}]})),
    "value": ("application/json", lambda t: as_json([[1, 2, 3, 4, t]])),
    "value by name": ("application/json", lambda t: as_json([dict.fromkeys(NAMES, t)])),
    "large number": ("application/json", lambda t: as_json([[1, 2, 3, 4, 10 ** (len(t) % 4000)]])),
    "sparse keys": (
        "application/json",
        lambda t: (
            as_json({"instances": [{"keys": [10 ** (len(t) % 400)], "values": [t]}]})
            + b" " * (len(t) % 2)
        ),
    ),
    "sparse keys beside NaN": (
        "application/json",
        lambda t: (
            b'{"instances":[{"features":{"keys":[%d],"values":[NaN]}}]}' % 10 ** (len(t) % 400)
        ),
    ),
    "line": ("application/jsonlines", lambda t: as_json({t: 1}) + b"\n" + as_json([t])),
    "header": (
        "text/csv",
        lambda t: (t + ",b,c,d,e\n1,2,3,4,5\n").encode("utf-8", "surrogatepass"),
    ),
    "cell": ("text/csv", lambda t: f'1,2,"{t}",4,5\n'.encode("utf-8", "surrogatepass")),
    "cell of libsvm": ("text/libsvm", lambda t: f"0 1:{t} 2:1".encode("utf-8", "surrogatepass")),
    "index of libsvm": ("text/libsvm", lambda t: f"{t} {t}:1".encode("utf-8", "surrogatepass")),
    "npy": (
        "application/x-npy",
        lambda t: b"\x93NUMPY\x01\x00\xf0\x00" + as_raw_json({"descr": t}),
    ),
    "recordio": ("application/x-recordio-protobuf", lambda t: t.encode("utf-8", "surrogatepass")),
    "parquet": ("application/x-parquet", lambda t: b"PAR1" + as_raw_json(t) + b"PAR1"),
}


@pytest.mark.parametrize("place", BODIES)
@EXAMPLES
@given(text=texts)
def test_text_in_a_body(app: Any, caplog: pytest.LogCaptureFixture, place: str, text: str) -> None:
    content_type, write = BODIES[place]
    check(call(app, "/invocations", write(text), CONTENT_TYPE=content_type), caplog)


VARIABLES = [
    *("CONTENT_TYPE", "HTTP_ACCEPT", "HTTP_CONTENT_ENCODING", "HTTP_X_REQUEST_ID"),
    *("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES", "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID"),
    *("HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL", "QUERY_STRING", "HTTP_COOKIE", "HTTP_HOST"),
]


@pytest.mark.parametrize("variable", VARIABLES)
@EXAMPLES
@given(text=headers)
def test_text_in_a_header(
    app: Any, caplog: pytest.LogCaptureFixture, capfd: Any, variable: str, text: str
) -> None:
    for body in (b"1,2,3,4,5\n", b"1,2,x,4,5\n"):
        answer = call(app, "/invocations", body, **{"CONTENT_TYPE": "text/csv", variable: text})
        check(answer, caplog, capfd.readouterr().out)


@pytest.mark.parametrize(
    "form",
    [
        "{}/csv",
        "text/{}",
        "text/csv; charset={}",
        "text/csv; label_size={}",
        'text/csv; charset="{}"',
        "text/csv; {}=1",
        "application/json;q={}",
    ],
)
@pytest.mark.parametrize("variable", ["CONTENT_TYPE", "HTTP_ACCEPT"])
@EXAMPLES
@given(text=headers)
def test_text_in_a_part_of_a_media_type(
    app: Any, caplog: pytest.LogCaptureFixture, variable: str, form: str, text: str
) -> None:
    variables = {"CONTENT_TYPE": "text/csv", variable: form.format(text)}
    check(call(app, "/invocations", b"1,2,3,4,5\n", **variables), caplog)


@EXAMPLES
@given(text=texts)
def test_text_in_the_path(
    app: Any, models: Any, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    for served in (app, models):
        for method in ("GET", "POST", "DELETE", "PUT"):
            for path in ("/{}", "/models/{}", "/models/{}/invoke", "/invocations/{}"):
                answer = call(served, in_wsgi(path.format(text)), b"1", method)
                check(answer, caplog)


@EXAMPLES
@given(name=texts, url=texts, token=headers)
def test_text_in_a_request_to_load(
    models: Any, caplog: pytest.LogCaptureFixture, name: str, url: str, token: str
) -> None:
    for write in (as_json, as_raw_json):
        body = write({"model_name": name, "url": url})
        check(call(models, "/models", body), caplog)
        check(call(models, "/models", write({name: url})), caplog)
    check(call(models, "/models", method="GET", QUERY_STRING=f"next_page_token={token}"), caplog)


def test_a_defect_is_logged_under_a_clean_id_and_says_nothing(
    app: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str | None = None) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(app.extensions["scoring"], "get_model", fail)
    for _ in range(2):  # through Flask, past Flask
        answer = call(app, "/invocations", b"1", HTTP_X_REQUEST_ID="a\x1b\x00b" * 900)
        assert answer.status == 500
        document = json.loads(answer.body)
        assert b"secret" not in answer.body
        assert document["id"] in caplog.text
        assert document["id"].isprintable()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert all(record.getMessage().isprintable() and record.exc_info for record in errors)
