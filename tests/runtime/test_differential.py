"""The built-in algorithm beside ours, on a table of requests and jobs.

`differential/figures` holds what AWS's own code gives; `differential/record.py` took them. Requests
go to the application in this process, those of the configuration OVER_HTTP to a real server, and
with CONTRACT_IMAGE=NAME all of them to that image.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xgboost

import conftest
import settings
import training_job
from conftest import Response
from differential import recordio, serving_cases, training_cases, training_differences
from differential.serving_cases import SERVERS, Request
from locations import PROJECT
from predictor import create_app
from runtime.job.paths import Paths
from runtime.job.versions import xgboost_version
from runtime.training import pipeline

HERE = Path(__file__).resolve().parent / "differential"
SERVING: dict[str, Any] = json.loads((HERE / "figures" / "serving.json").read_text())
TRAINING: dict[str, Any] = json.loads((HERE / "figures" / "training.json").read_text())
OVER_HTTP = "binary"
PAIR = {"INPUT_FORMAT": "libsvm", "NUM_CLASSES": "1"}  # the defaults of the built-in
IN_PROCESS = pytest.mark.skipif(
    "CONTRACT_IMAGE" in os.environ, reason="jobs run in this process, not in the image"
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def rows_of_the_readme() -> list[str]:
    """Return the names of the rows of README's table of differences."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("## Differences from the built-in algorithm\n")
    table = rest.partition("\n## ")[0]
    return re.findall(r"^\| \*\*(.+?)\*\* \|", table, re.M)


def parsed(media_type: str, text: str) -> Any:
    """Return an answer's body as something to compare: how numbers are written does not count."""
    try:
        if media_type == "application/json":
            return json.loads(text)
        if media_type == "application/jsonlines":
            return [json.loads(line) for line in text.splitlines()]
        if media_type == "application/x-recordio-protobuf":
            return json.loads(text)
    except ValueError:
        pass  # a batch job of the built-in gets lines of text whatever it accepts
    text = text.removesuffix("\n")
    return [NUMBER.split(text), [json.loads(number) for number in NUMBER.findall(text)]]


def alike(one: Any, other: Any) -> bool:
    """Return whether two parsed bodies are equal, floats but for rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6) or (one != one) & (
            other != other
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def figure(answer: Response) -> dict[str, Any]:
    """Return our answer in the form of a figure."""
    media_type = (answer.headers["Content-Type"] or "").partition(";")[0]
    if answer.status != 200:
        return {"status": answer.status, "type": media_type, "says": answer.body.decode()}
    if answer.body.startswith(recordio.MAGIC.to_bytes(4, "little")):
        text = json.dumps(recordio.labels_of(answer.body))
    else:
        text = answer.body.decode()
    if len(text) > 4000:
        text = f"{len(text.splitlines())} lines"
    return {"status": 200, "type": media_type, "body": text}


def faults(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return in what our answer is not theirs. The texts of refusals are our own."""
    if ours["status"] != theirs["status"]:
        return [f"status {ours['status']}, not {theirs['status']}: {str(ours)[:300]}"]
    if ours["status"] != 200:
        says = theirs.get("says", "")
        return [] if says in ours["says"] else [f"{ours['says']!r} does not say {says!r}"]
    if ours["type"] != theirs["type"]:
        return [f"{ours['type']}, not {theirs['type']}"]
    if not alike(parsed(ours["type"], ours["body"]), parsed(theirs["type"], theirs["body"])):
        return [f"{ours['body'][:300]!r}, not {theirs['body'][:300]!r}"]
    return []


class InProcess:
    """The application without a server."""

    def __init__(self, base: Path, environ: dict[str, str]) -> None:
        (base / "models").mkdir()  # of many; the supervisor makes it for a server
        self.client = create_app(settings.load(environ), Paths(base)).test_client()

    def request(
        self, method: str, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> Response:
        """Ask as a server would be asked."""
        answer = self.client.open(path, method=method, data=body, headers=headers)
        found = http.client.HTTPMessage()
        for name, value in answer.headers.items():
            found[name] = value
        return Response(answer.status_code, found, answer.data)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Request], Response]]:
    """Return how to send a request to its server, which starts when it is first needed."""
    running: dict[str, conftest.Server | InProcess] = {}

    def start(name: str) -> conftest.Server | InProcess:
        server, base = SERVERS[name], tmp_path_factory.mktemp("opt_ml")
        environ = {"ACCELERATION": "off", "WEB_CONCURRENCY": "1", **PAIR, **server.environ}
        folders = {model: (model,) for model in server.models} if server.many else {}
        for folder, models in (folders or {"model": server.models}).items():
            (base / folder).mkdir()
            for index, model in enumerate(models):
                target = "xgboost-model" if len(models) == 1 else f"xgboost-model-{index}"
                shutil.copy(HERE / "models" / model, base / folder / target)
        environ |= {"SAGEMAKER_MULTI_MODEL": "true"} if server.many else {}
        started: conftest.Server | InProcess
        if name == OVER_HTTP or "CONTRACT_IMAGE" in os.environ:
            started = conftest.start_server(base, **environ)
            if server.ready:
                started.wait_until_ready(90)
            else:
                wait_until_answering(started)
        else:
            started = InProcess(base, environ)
        for model in folders:
            body = json.dumps({"model_name": model, "url": str(base / model)})
            assert started.request("POST", "/models", body).status == 200
        return started

    def send(request: Request) -> Response:
        if request.server not in running:
            running[request.server] = start(request.server)
        method, path = request.route.split()
        path = f"/models/{request.model}/invoke" if request.model else path
        given = {"Content-Type": request.content_type, "Accept": request.accept}
        headers = {key: value for key, value in given.items() if value is not None}
        return running[request.server].request(method, path, request.body, headers)

    yield send
    servers = [server for server in running.values() if isinstance(server, conftest.Server)]
    for server in servers:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
    for server in servers:
        server.stop()


def wait_until_answering(server: conftest.Server) -> None:
    """Wait for any answer of /ping: a model that cannot be served is answered with 503."""

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return bool(server.request("GET", "/ping", timeout=2).status)
        return False

    conftest.wait_until(answers, 90, server.output)


def expected(case: Request) -> dict[str, Any]:
    """Return what the case must be answered with: the built-in's figure, or ours of a difference.

    A body of None stands for any.
    """
    theirs = SERVING[case.id]
    if case.ours is None:
        return theirs
    ours = case.ours(theirs) if callable(case.ours) else case.ours
    return {"status": ours.status, "type": ours.media_type, "body": ours.body}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in serving_cases.CASES])
def test_a_request_is_answered_as_the_built_in_does(
    ask: Callable[[Request], Response], case: Request
) -> None:
    ours, wanted = figure(ask(case)), expected(case)
    if wanted.get("body", "") is None:
        wanted["body"] = ours.get("body")
    found = faults(ours, wanted)
    assert not found, found
    if case.exact:
        assert (ours["type"], ours.get("body")) == (wanted["type"], wanted["body"])
    if case.difference:
        same = SERVING[case.id] == wanted if case.exact else not faults(ours, SERVING[case.id])
        assert not same, f"no difference any more: {case.difference}"


def run(base: Path, case: training_cases.Job) -> dict[str, Any]:
    """Run a job with our training, and return how it ended in the form of a figure."""
    job = training_job.Job(base, dict(case.hyperparameters), environ=PAIR)
    for name, channel in case.channels.items():
        (base / "input" / "data" / name).mkdir(parents=True)
        for file, content in channel.files.items():
            job.put(name, file, content)
        config = {"TrainingInputMode": channel.mode, "S3DistributionType": channel.distribution}
        given = {} if channel.content_type is None else {"ContentType": channel.content_type}
        job.channels[name] = config | given
    outcome = job.run()
    if outcome.code:
        assert not list((base / "model").glob("*")), "a job that failed leaves no model"
        return {"verdict": job.failure.partition(":")[0], "says": job.failure}
    models = sorted(path.name for path in (base / "model").glob("xgboost-model*"))
    return {"verdict": "trained", "models": models, **last_metrics(outcome.log)}


def last_metrics(log: str) -> dict[str, Any]:
    """Return the metrics of the last line that has any."""
    lines = re.findall(r"^\[(\d+)\]((?:#011\S+:\S+)+)$", log, re.M)
    if not lines:
        return {}
    pairs = [pair.rpartition(":") for pair in lines[-1][1].split("#011")[1:]]
    return {
        "round": int(lines[-1][0]),
        "metrics": {name: float(value) for name, _, value in pairs},
    }


def unlike(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return in what a job of ours ended otherwise."""
    if ours["verdict"] != theirs["verdict"]:
        return [f"{ours['verdict']}, not {theirs['verdict']}: {str(ours)[:400]}"]
    if ours["verdict"] != "trained":
        return []
    found = [f"{key} {ours.get(key)}, not {theirs[key]}" for key in ("models", "round")
             if key in ours and ours[key] != theirs.get(key)]  # fmt: skip
    mine, others = ours.get("metrics", {}), theirs.get("metrics", {})
    return found + [
        f"{name} {mine.get(name)}, not {others.get(name)}"
        for name in sorted(mine.keys() | others.keys())
        if not math.isclose(mine.get(name, math.nan), others.get(name, math.nan), abs_tol=1e-3)
    ]


def check(case: str, ours: dict[str, Any]) -> None:
    """Assert that a case ended as with the built-in, or as the table of differences has it."""
    found = unlike(ours, TRAINING[case])
    difference = training_differences.BY_CASE.get(case)
    if difference is None:
        assert not found, found
    else:
        assert found, f"no difference any more: {difference.row}"
        assert ours["verdict"] == difference.verdict, ours


@IN_PROCESS
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in training_cases.JOBS])
def test_a_job_ends_as_with_the_built_in(tmp_path: Path, case: training_cases.Job) -> None:
    check(case.id, run(tmp_path, case))


# The built-in has XGBoost 3.2. Later versions draw other rows, columns and dropped trees with the
# same seed, and compute the leaves of absolute errors otherwise, so these end with other scores.
OTHER_SCORES = {"subsample=0.5", "rate_drop=1", "one_drop=1", "objective=reg:absoluteerror"} | {
    f"colsample_by{unit}=0.5" for unit in ("tree", "level", "node")
}


@IN_PROCESS
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id) for case in training_cases.CHOICES]
)
def test_hyperparameters_are_taken_as_by_the_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: training_cases.Choice
) -> None:
    monkeypatch.setattr(pipeline, "finish", lambda *arguments: 0)  # the outputs take longest
    ours = run(tmp_path, training_cases.as_job(case))
    ours.pop("models", None)
    if xgboost_version() > (3, 2) and case.id in OTHER_SCORES:
        assert ours["verdict"] == TRAINING[case.id]["verdict"]
        pytest.skip(f"XGBoost {xgboost.__version__} gives other scores than the built-in's 3.2")
    check(case.id, ours)


def test_every_difference_is_a_row_of_the_readme_and_every_row_has_a_case() -> None:
    named = {case.difference for case in serving_cases.CASES if case.difference}
    named |= {difference.row for difference in training_differences.DIFFERENCES}
    rows = rows_of_the_readme()
    assert sorted(named) == sorted(rows)
    assert len(set(rows)) == len(rows)


def test_the_figures_are_those_of_the_cases() -> None:
    jobs = [case.id for case in (*training_cases.JOBS, *training_cases.CHOICES)]
    assert sorted(TRAINING) == sorted(jobs)
    assert sorted(SERVING) == sorted(case.id for case in serving_cases.CASES)
    assert training_differences.BY_CASE.keys() <= set(jobs)
