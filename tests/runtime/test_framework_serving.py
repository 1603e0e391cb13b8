"""Framework mode of serving: the answers of AWS's own code to the same scripts and requests, and
the ways in which a program fails. The expected answers were recorded by framework/record.py.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xgboost

import settings
from conftest import Response, Server, start_server, wait_until
from framework_job import SCRIPTS, Request, requests, serving_model
from predictor import create_app
from runtime.job.paths import Paths
from runtime.job.versions import xgboost_version

EXPECTED = json.loads((SCRIPTS / "expected.json").read_text(encoding="utf-8"))["answers"]
LISTED = {  # AWS's code answers 500 to what its own documents call 415 and 406
    ("loading", "an unknown type"): 415,
    ("loading", "an unknown answer"): 406,
    ("functions", "an unknown type"): 415,
    ("functions", "an unknown answer"): 406,
}
Serve = Callable[..., Server]


def put(folder: Path, script: str | dict[str, str], model: xgboost.Booster | None = None) -> Path:
    """Write a model folder with a program in code/."""
    code = folder / "code"
    code.mkdir(parents=True)
    (folder / "xgboost-model.ubj").write_bytes((model or serving_model()).save_raw("ubj"))
    if isinstance(script, str):
        shutil.copy(SCRIPTS / script / "serve.py", code)
    else:
        for name, text in script.items():
            (code / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def served(launch: Serve, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Server]:
    """Return a function that starts a server with a recorded program, once for the module."""
    known: dict[str, Server] = {}

    def start(script: str) -> Server:
        if script not in known:
            base = tmp_path_factory.mktemp("served")
            put(base / "model", script)
            known[script] = launch(base, SAGEMAKER_PROGRAM="serve.py", WEB_CONCURRENCY="1")
        return known[script]

    return start


@pytest.fixture
def serve(tmp_path: Path):
    """Return a function that starts a server with a program; stop it at the end."""
    servers = []

    def start(
        script: str | dict[str, str],
        ready: bool = True,
        model: xgboost.Booster | None = None,
        **environ: str,
    ) -> Server:
        put(tmp_path / "model", script, model)
        given = {"SAGEMAKER_PROGRAM": "serve.py", "WEB_CONCURRENCY": "1", **environ}
        servers.append(start_server(tmp_path, **given))
        return servers[-1].wait_until_ready() if ready else servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(server: Server, request: Request, path: str = "/invocations") -> Response:
    return server.request("POST", path, request.body, request.headers)


NUMBER = re.compile(rb"-?\d+\.\d+(?:e-?\d+)?")


def assert_same(found: bytes, expected: bytes) -> None:
    """Compare byte for byte; later XGBoosts than the built-in's sum contributions otherwise."""
    if xgboost_version() == (3, 2) and "CONTRACT_IMAGE" not in os.environ:
        assert found == expected
        return
    if found.startswith(b"\x93NUMPY"):
        arrays = [np.load(io.BytesIO(body)) for body in (found, expected)]
        np.testing.assert_allclose(*arrays, rtol=1e-5, atol=1e-7)
        return
    assert NUMBER.sub(b"x", found) == NUMBER.sub(b"x", expected)
    np.testing.assert_allclose(
        [float(number) for number in NUMBER.findall(found)],
        [float(number) for number in NUMBER.findall(expected)],
        rtol=1e-5,
    )


@pytest.mark.parametrize("script", sorted(EXPECTED))
def test_answers_are_those_of_aws_byte_for_byte(
    served: Callable[[str], Server], script: str
) -> None:
    server = served(script)
    for request, (status, media_type, body, name) in zip(
        requests(script), EXPECTED[script], strict=True
    ):
        assert request.name == name
        answer = ask(server, request)
        if (script, name) in LISTED:
            assert (status, answer.status) == (500, LISTED[script, name]), name
            continue
        assert (answer.status, answer.headers["Content-Type"]) == (status, media_type), name
        assert_same(answer.body, base64.b64decode(body))
    assert server.request("GET", "/ping").status == 200


def engine_of(server: Server) -> str:
    answer = server.post(b"1,2,3,4,5,6")
    assert answer.status == 200, answer.body
    return answer.headers["X-Model-Engine"]


def test_model_fn_alone_is_accelerated_and_custom_functions_are_not(serve: Serve) -> None:
    pytest.importorskip("daal4py")
    server = serve("loading", ACCELERATION="require")
    assert engine_of(server) == "onedal"
    server.wait_for("the default predict_fn answers, through onedal")
    if "CONTRACT_IMAGE" not in os.environ:  # the file is in the container there
        (path,) = re.findall(r"what was compared: (\S+)", server.output())
        report = json.loads(Path(path).read_text())
        assert report["engine"] == "onedal"
        assert report["largest_difference"] == 0


def test_a_predict_fn_is_left_to_xgboost_and_the_log_says_so(
    served: Callable[[str], Server],
) -> None:
    server = served("functions")
    assert engine_of(server) == "program"
    server.wait_for("predict_fn answers: what it calls is not accelerated")


OWN_INPUT = """
import numpy, xgboost
from sagemaker_xgboost_container import encoder
def model_fn(model_dir):
    return xgboost.Booster(model_file=f"{model_dir}/xgboost-model.ubj")
def input_fn(body, content_type):
    data = encoder.decode(body, "text/csv")
    if content_type == "text/x-margin":
        data.set_base_margin(numpy.full(data.num_row(), 7.0))
    return data
"""


def test_an_input_fn_before_the_default_predict_fn_is_accelerated(serve: Serve) -> None:
    """A matrix with a margin of its own goes to XGBoost itself."""
    pytest.importorskip("daal4py")
    server = serve({"serve.py": OWN_INPUT}, ACCELERATION="require")
    assert engine_of(server) == "onedal"
    rows = np.array([[1, 2, np.nan, 4, 5, 6], [0.5, np.nan, 1, 1, 1, 1]], np.float32)
    body = b"1,2,,4,5,6\n0.5,,1,1,1,1"
    expected = serving_model().predict(xgboost.DMatrix(rows))
    np.testing.assert_allclose(server.post(body).json(), expected, rtol=1e-6)
    margin = server.post(body, "text/x-margin").json()
    np.testing.assert_allclose(margin, expected - 0.5 + 7, rtol=1e-5)


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_a_scikit_learn_classifier_answers_its_labels(
    serve: Serve, tmp_path: Path, objective: str
) -> None:
    pytest.importorskip("daal4py")
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(300, 4)).round(2)
    labels = (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0)
    options = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1, "objective": objective}
    classifier = xgboost.XGBClassifier(**options).fit(rows, labels)
    (tmp_path / "saved.json").write_bytes(classifier.get_booster().save_raw("json"))
    classifier.save_model(tmp_path / "saved.json")
    source = (
        "import json, numpy, xgboost\n"
        f"PATH = {str(tmp_path / 'saved.json')!r}\n"
        "def model_fn(model_dir):\n"
        "    model = xgboost.XGBClassifier()\n"
        "    model.load_model(PATH)\n"
        "    return model\n"
        "def input_fn(body, content_type): return numpy.array(json.loads(body))\n"
    )
    server = serve({"serve.py": source}, ACCELERATION="require")
    answer = server.post(json.dumps(rows[:50].tolist()).encode(), "application/json")
    assert answer.json() == classifier.predict(rows[:50]).tolist()
    assert answer.headers["X-Model-Engine"] == "onedal"


def test_functions_may_answer_with_a_status_of_their_own(serve: Serve) -> None:
    source = (
        "import flask\n"
        "def model_fn(model_dir): return 1\n"
        "def transform_fn(model, body, content_type, accept):\n"
        "    if body == 'bytes': return b'\\x00\\x01', 'application/octet-stream'\n"
        "    return flask.Response('no', 422, {'X-Own': 'yes'}, mimetype='text/plain')\n"
    )
    server = serve({"serve.py": source})
    answer = server.post(b"x")
    assert (answer.status, answer.body, answer.headers["X-Own"]) == (422, b"no", "yes")
    answer = server.post(b"bytes")
    assert (answer.status, answer.body) == (200, b"\x00\x01")
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_program_may_be_named_like_a_module_of_this_server(serve: Serve) -> None:
    source = (SCRIPTS / "loading" / "serve.py").read_text()
    server = serve({"predictor.py": source}, SAGEMAKER_PROGRAM="predictor.py")
    assert server.post(b"1,2,3,4,5,6").status == 200


def failing(server: Server, text: str) -> None:
    """Wait for the reason, and see that /ping and requests have it."""
    server.wait_for(text)

    def said() -> bool:
        with contextlib.suppress(OSError):
            answer = server.request("GET", "/ping", timeout=5)
            assert answer.status == 503
            return text in answer.json()["message"]
        return False

    wait_until(said, 40, server.output)
    assert server.post(b"1").status == 503


FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "import": (
        {"serve.py": "import no_such_package"},
        "serve.py cannot be imported: ModuleNotFoundError",
    ),
    "model_fn": (
        {"serve.py": "def model_fn(d): raise ValueError('no file')"},
        "model_fn failed: ValueError",
    ),
    "exclusive": (
        {"serve.py": "model_fn = transform_fn = predict_fn = print"},
        "transform_fn excludes predict_fn",
    ),
    "no model_fn": ({"serve.py": "predict_fn = print"}, "serve.py has no model_fn"),
    "no program": ({"other.py": ""}, "SAGEMAKER_PROGRAM=serve.py is not in"),
    "requirements": (
        {"serve.py": "", "requirements.txt": "--no-index\nno-such-package==1"},
        "No matching distribution found for no-such-package==1",
    ),
}
OUTSIDE = list(FAULTS) if "CONTRACT_IMAGE" in os.environ else ["model_fn"]


@pytest.fixture
def _modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the program that is imported in this process, and where it was found."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in sys.modules.keys() - before:
        if name.endswith("serve"):
            del sys.modules[name]


@pytest.mark.skipif("CONTRACT_IMAGE" in os.environ, reason="looks into the application")
@pytest.mark.usefixtures("_modules")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_program_that_cannot_serve_is_a_reason_in_place_of_a_model(
    tmp_path: Path, fault: str
) -> None:
    files, reason = FAULTS[fault]
    put(tmp_path / "model", files)
    chosen = settings.load({**os.environ, "SAGEMAKER_PROGRAM": "serve.py"})
    client = create_app(chosen, Paths(tmp_path)).test_client()
    for answer in (client.get("/ping"), client.post("/invocations", data=b"1")):
        assert answer.status_code == 503
        assert reason in answer.json["message"]


@pytest.mark.parametrize("fault", OUTSIDE)
def test_a_program_that_cannot_serve_is_a_503_with_its_reason(serve: Serve, fault: str) -> None:
    files, reason = FAULTS[fault]
    failing(serve(files, ready=False), reason)


def test_an_error_of_a_function_is_a_500_and_stays_in_the_log(serve: Serve) -> None:
    source = "def model_fn(d): return 1\ndef predict_fn(data, model): raise KeyError('secret')\n"
    server = serve({"serve.py": source})
    answer = server.post(b"1,2")
    assert answer.status == 500
    assert b"secret" not in answer.body
    server.wait_for("KeyError: 'secret'")
    assert server.request("GET", "/ping").status == 200


def test_code_in_a_model_alone_does_not_run(serve: Serve, tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\nmodel_fn = None\n"
    server = serve({"serve.py": source}, SAGEMAKER_PROGRAM="")
    assert server.post(b"1,2,3,4,5,6").headers["Content-Type"] == "text/csv"
    assert not (tmp_path / "ran").exists()


def test_code_may_be_forbidden(serve: Serve) -> None:
    server = serve("loading", ready=False, ALLOW_CODE="never")
    assert server.process is not None
    assert server.process.wait(60) == 1
    server.wait_for("ALLOW_CODE=never")


def test_many_models_take_the_same_functions(serve: Serve, tmp_path: Path) -> None:
    code = tmp_path / "program"
    put(code, "functions")
    server = serve(
        {},
        SAGEMAKER_MULTI_MODEL="true",
        SAGEMAKER_SUBMIT_DIRECTORY=str(code / "code"),
    )
    for name in ("one", "two"):
        put(tmp_path / name, {})
        document = {"model_name": name, "url": str(tmp_path / name)}
        assert server.request("POST", "/models", json.dumps(document)).status == 200
    request = next(r for r in requests("functions") if r.name == "csv to csv")
    expected = next(e for e in EXPECTED["functions"] if e[3] == "csv to csv")
    for name in ("one", "two"):
        answer = ask(server, request, f"/models/{name}/invoke")
        assert_same(answer.body, base64.b64decode(expected[2]))
