"""An HTTP API before the endpoint: checks features by name, answers with label and probability.

    POST {"rows": [{"age": 61, "income": null}]}
    200  {"predictions": [{"label": "yes", "probability": 0.93}]}
    400  {"errors": [{"row": 1, "feature": "age", "message": "must be a number, not 'old'"}]}

`manifest.json` of the model lies beside this file (or where MANIFEST says): it names the features.
A row may be a list in the manifest's order. A missing or null feature is a missing value.
Standard library and boto3, which Lambda's runtime has.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

MAX_ROWS = 1000
Event = dict[str, Any]

log = logging.getLogger(__name__)


class RequestError(Exception):
    """What is wrong with a request: the status, and errors as data."""

    def __init__(self, status: int, errors: list[Event]) -> None:
        super().__init__(errors)
        self.status, self.errors = status, errors


@cache
def manifest() -> Event:
    """Return the model's manifest."""
    path = Path(os.environ.get("MANIFEST") or Path(__file__).with_name("manifest.json"))
    document: Event = json.loads(path.read_text(encoding="utf-8"))
    return document


@cache
def runtime() -> Any:
    """Return the client of the endpoint; it gives up before API Gateway does."""
    patient = Config(connect_timeout=2, read_timeout=25, retries={"total_max_attempts": 1})
    return boto3.client("sagemaker-runtime", config=patient)


def rows_of(event: Event) -> list[Any]:
    """Return the rows of an API event's JSON body. Raises RequestError."""
    body = event.get("body") or ""
    try:
        text = base64.b64decode(body) if event.get("isBase64Encoded") else body
        rows = json.loads(text)["rows"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RequestError(400, [{"message": 'the body must be JSON: {"rows": [...]}'}]) from None
    if not isinstance(rows, list) or not rows:
        raise RequestError(400, [{"message": "rows must be a list of at least one row"}])
    if len(rows) > MAX_ROWS:
        raise RequestError(413, [{"message": f"{len(rows)} rows; at most {MAX_ROWS} a request"}])
    return rows


def fault(value: Any) -> str:
    """Return what is wrong with a feature's value, or the empty string."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and abs(value) < 3.4e38):
        return ""
    return f"must be a finite number, not {value!r}"


def cells_of(number: int, row: Any, names: list[str] | None) -> tuple[list[Any], list[Event]]:
    """Return a row's values in the model's order, and what is wrong with them."""
    if isinstance(row, dict) and names:
        unknown = [
            {"feature": key, "message": "is not a feature of the model"}
            for key in row
            if key not in names
        ]
        found = {name: row.get(name) for name in names}
        errors = unknown + [
            {"feature": k, "message": fault(v)} for k, v in found.items() if fault(v)
        ]
        return list(found.values()), [{"row": number, **error} for error in errors]
    width = len(names) if names else manifest().get("num_columns")
    if not isinstance(row, list) or (width and len(row) != width):
        wanted = f"a list of {width or 'the'} values" + (" or an object" if names else "")
        return [], [{"row": number, "message": f"must be {wanted}"}]
    errors = [{"feature": i, "message": fault(v)} for i, v in enumerate(row, 1) if fault(v)]
    return row, [{"row": number, **error} for error in errors]


def prediction(scores: list[float]) -> Event:
    """Return the answer for one row of the endpoint's scores, by the model's objective."""
    objective, names = manifest().get("objective") or "", manifest().get("label_names")

    def label(index: int) -> Any:
        return names[index] if names and index < len(names) else index

    if objective == "binary:logistic":
        return {"label": label(int(scores[0] > 0.5)), "probability": scores[0]}
    if objective == "multi:softprob":
        best = max(range(len(scores)), key=scores.__getitem__)
        return {"label": label(best), "probability": scores[best], "probabilities": scores}
    if objective in ("multi:softmax", "binary:hinge"):
        return {"label": label(int(scores[0]))}
    return {"score": scores[0]}


def predict(rows: list[Any]) -> list[Event]:
    """Return a prediction for each row. Raises RequestError for rows and for the endpoint's no."""
    checked = [cells_of(n, row, manifest().get("feature_names")) for n, row in enumerate(rows, 1)]
    if errors := [error for _, found in checked for error in found]:
        raise RequestError(400, errors)
    lines = (",".join("nan" if v is None else repr(v) for v in cells) for cells, _ in checked)
    request = {"ContentType": "text/csv", "Accept": "text/csv", "Body": "\n".join(lines) + "\n"}
    try:
        answer = runtime().invoke_endpoint(EndpointName=os.environ["ENDPOINT_NAME"], **request)
    except exceptions.ClientError as problem:
        status = problem.response.get("OriginalStatusCode", 0)
        if 400 <= status < 500:
            text = problem.response.get("OriginalMessage", "")
            raise RequestError(status, [{"message": text}]) from None
        throttled = "Throttl" in problem.response["Error"]["Code"]
        log.exception("the endpoint failed")
        message = "too many requests" if throttled else "the model cannot answer"
        raise RequestError(429 if throttled else 502, [{"message": message}]) from None
    except exceptions.BotoCoreError:
        log.exception("the endpoint did not answer")
        raise RequestError(504, [{"message": "the model did not answer in time"}]) from None
    found = [json.loads(f"[{line}]") for line in answer["Body"].read().decode().splitlines()]
    return [prediction(scores) for scores in found]


def handler(event: Event, context: object) -> Event:
    """Answer one event of an HTTP API (payload format 1.0 or 2.0)."""
    try:
        status, document = 200, {"predictions": predict(rows_of(event))}
    except RequestError as problem:
        status, document = problem.status, {"errors": problem.errors}
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(document)}
