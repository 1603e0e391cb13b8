"""The Lambda handler, in-process: what it sends to the endpoint, and what it answers."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from typing import Any

import pytest
from botocore import exceptions

from locations import PROJECT

PATH = PROJECT / "deploy" / "lambda" / "handler.py"
BINARY = {
    "objective": "binary:logistic",
    "feature_names": ["age", "income"],
    "label_names": ["no", "yes"],
}


class Endpoint:
    """A stand-in for the client of the endpoint: keeps requests, answers with a body or raises."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.requests = answer, list[dict[str, Any]]()

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Body": io.BytesIO(self.answer.encode())}


class Function:
    """The handler with a manifest and an endpoint."""

    def __init__(self, manifest: dict[str, Any], answer: str | Exception) -> None:
        spec = importlib.util.spec_from_file_location("handler", PATH)
        assert spec
        assert spec.loader
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.endpoint = Endpoint(answer)
        self.module.manifest = lambda: manifest  # type: ignore[attr-defined]
        self.module.runtime = lambda: self.endpoint  # type: ignore[attr-defined]

    def __call__(self, body: Any, **event: Any) -> tuple[int, Any]:
        """Post a body; return status and document."""
        text = body if isinstance(body, str) else json.dumps(body)
        answer = self.module.handler({"body": text, **event}, None)
        assert answer["headers"] == {"Content-Type": "application/json"}
        return answer["statusCode"], json.loads(answer["body"])


@pytest.fixture(autouse=True)
def _endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_NAME", "demo")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def model_error(status: int, message: str) -> exceptions.ClientError:
    """Return what boto3 raises when the container answers with `status`."""
    error = {"Error": {"Code": "ModelError", "Message": "received"}, "OriginalMessage": message}
    return exceptions.ClientError(error | {"OriginalStatusCode": status}, "InvokeEndpoint")


def test_rows_by_name_go_to_the_endpoint_in_the_order_of_the_manifest() -> None:
    function = Function(BINARY, "0.93\n0.25\n")
    rows = [{"income": 5, "age": 61.5}, {"income": None}]
    assert function({"rows": rows}) == (
        200,
        {
            "predictions": [
                {"label": "yes", "probability": 0.93},
                {"label": "no", "probability": 0.25},
            ]
        },
    )
    (request,) = function.endpoint.requests
    assert request["Body"] == "61.5,5\nnan,nan\n"
    assert request["EndpointName"] == "demo"


def test_rows_as_lists_and_a_base64_body_are_understood() -> None:
    body = base64.b64encode(json.dumps({"rows": [[1, 2]]}).encode()).decode()
    status, document = Function(BINARY, "0.5\n")(body, isBase64Encoded=True)
    assert (status, document["predictions"][0]["label"]) == (200, "no")


@pytest.mark.parametrize(
    ("manifest", "answer", "expected"),
    [
        ({"objective": "reg:squarederror"}, "12.5\n", {"score": 12.5}),
        (
            {"objective": "multi:softprob", "label_names": ["a", "b", "c"]},
            "0.2,0.5,0.3\n",
            {"label": "b", "probability": 0.5, "probabilities": [0.2, 0.5, 0.3]},
        ),
        ({"objective": "multi:softmax"}, "2.0\n", {"label": 2}),
    ],
)
def test_each_number_of_classes_has_its_answer(
    manifest: dict[str, Any], answer: str, expected: dict[str, Any]
) -> None:
    assert Function(manifest, answer)({"rows": [[1, 2]]}) == (200, {"predictions": [expected]})


def test_every_fault_of_every_row_is_named_and_nothing_is_sent() -> None:
    function = Function(BINARY, "")
    rows = [{"age": "old"}, {"age": 1, "height": 2}, {"income": True, "age": 1e39}, [1]]
    status, document = function({"rows": rows})
    assert status == 400
    assert [(e["row"], e.get("feature")) for e in document["errors"]] == [
        (1, "age"),
        (2, "height"),
        (3, "age"),
        (3, "income"),
        (4, None),
    ]
    assert function.endpoint.requests == []


@pytest.mark.parametrize(
    "body", ["", "{", "[" * 100_000, "[]", '{"rows": 1}', '{"rows": []}', '{"row": [[1]]}']
)
def test_a_body_that_is_no_request_gives_400(body: str) -> None:
    assert Function(BINARY, "")(body)[0] == 400


def test_nan_and_infinity_are_no_numbers() -> None:
    assert Function(BINARY, "")('{"rows": [[NaN, Infinity]]}')[0] == 400


def test_a_row_that_misses_its_one_feature_is_a_row_all_the_same() -> None:
    function = Function({**BINARY, "feature_names": ["age"]}, "0.5\n0.5\n")
    assert len(function({"rows": [{"age": None}, {"age": 1}]})[1]["predictions"]) == 2
    assert function.endpoint.requests[0]["Body"] == "nan\n1\n"


def test_the_endpoint_is_given_up_before_the_function_is() -> None:
    spec = Function(BINARY, "").module.__spec__
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.runtime().meta.config
    seconds = (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
    limit = re.search(r"\n +Timeout: (\d+)", PATH.with_name("template.yaml").read_text())
    assert limit
    assert seconds < int(limit[1])


def test_too_many_rows_give_413() -> None:
    assert Function(BINARY, "")({"rows": [[1, 2]] * 1001})[0] == 413


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (model_error(415, "Loading csv data failed"), 415),
        (model_error(500, "internal"), 502),
        (exceptions.ReadTimeoutError(endpoint_url="x"), 504),
        (
            exceptions.ClientError(
                {"Error": {"Code": "ThrottlingException", "Message": ""}}, "InvokeEndpoint"
            ),
            429,
        ),
    ],
)
def test_a_failure_of_the_endpoint_has_its_status(problem: Exception, status: int) -> None:
    found, document = Function(BINARY, problem)({"rows": [[1, 2]]})
    assert found == status
    assert "internal" not in json.dumps(document)
