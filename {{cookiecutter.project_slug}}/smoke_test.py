#!/usr/bin/env python3
"""Prove this project: build, train on sample data, serve, and check every answer.

    python3 smoke_test.py                        with Docker where it answers, otherwise local
    python3 smoke_test.py --backend docker       the image
    python3 smoke_test.py --backend local        the same programs in a virtual environment, .venv
    python3 smoke_test.py --image NAME           an image that exists already

Standard library only, Python 3.9 and up. The log is smoke-test.log; sample data, model and payloads
stay in build/smoke/ml. Exit codes: 0 all was proved, 1 a step failed, 3 a tool is missing (the
Docker daemon, or a Python from 3.11 to 3.14).
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from sample.backends import (
    WORK,
    Docker,
    Local,
    MissingToolError,
    Report,
    StepError,
    expect_exit,
    succeeds,
    wait_until,
)

ROOT = Path(__file__).resolve().parent
LOG = ROOT / "smoke-test.log"
PASSED, FAILED, TOOL_MISSING, INTERRUPTED = 0, 1, 3, 130
TOLERANCE = 1e-6  # between an answer and XGBoost's own; relative where that is above 1
LOAD_SECONDS = 1.0  # of requests before SIGTERM

CSV, JSON = {"Content-Type": "text/csv"}, {"Content-Type": "application/json"}


Backend = Union[Docker, Local]


def ask(
    port: int, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, str, bytes]:
    """Send one request; return status, content type and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()
    finally:
        connection.close()


def check_model(folder: Path, trained: list[str]) -> str:
    """Check the files that training left; return what was trained and which engine serves it."""
    names = {path.name for path in (folder / "model").iterdir()}
    missing = {"xgboost-model", "manifest.json", "parity.json"} - names
    if missing:
        raise StepError(f"training left no {', '.join(sorted(missing))}; there is {sorted(names)}")
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    json.loads((folder / "model" / "parity.json").read_text())
    metrics = re.findall(r"#011([^\s#:]+:[^\s#]+)", "\n".join(trained))
    if not metrics:
        raise StepError("the training log has no metrics of the form [round]#011name:value")
    return f"{manifest['objective']}, engine {manifest['engine']}, {metrics[-1]}"


def wait_for_ping(backend: Backend, port: int) -> str:
    """Wait until the server says that its model answers."""

    def ping() -> int | None:
        try:
            status, _, body = ask(port, "GET", "/ping", {}, b"")
        except (OSError, http.client.HTTPException):
            return None
        return 200 if status == 200 and not body else None

    wait_until(ping, backend.exit_code)
    return "/ping answers 200"


def scores(content_type: str, body: bytes) -> list[Any]:
    """Return the scores of an answer, one per row, each a number or a list of numbers."""
    if content_type == "application/json":
        return [row["score"] for row in json.loads(body)["predictions"]]
    rows = [[float(cell) for cell in line.split(b",")] for line in body.split(b"\n") if line]
    return [row[0] if len(row) == 1 else row for row in rows]


def distance(found: Any, expected: Any) -> float:
    """Return how far two scores are apart, relative to the expected one where that is above 1."""
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return max(map(distance, found, expected))
    if isinstance(found, list) or isinstance(expected, list):
        return float("inf")
    gap = float(abs(found - expected) / max(1.0, abs(expected)))
    return float("inf") if math.isnan(gap) else gap  # max() would drop a NaN


def check_payloads(port: int, sample: Path) -> str:
    """Post every sample request, for CSV and for JSON; compare the answers with XGBoost's own."""
    expected = json.loads((sample / "expected.json").read_text())
    index = json.loads((sample / "payloads.json").read_text())
    worst, rows = 0.0, 0
    for entry in index:
        body, truth = (sample / entry["file"]).read_bytes(), expected[entry["rows"]]
        for accept in ("text/csv", "application/json"):
            headers = {"Content-Type": entry["content_type"], "Accept": accept}
            status, kind, answer = ask(port, "POST", "/invocations", headers, body)
            if status != 200:
                raise StepError(f"{entry['file']} got status {status}: {answer[:300]!r}")
            found = scores(kind, answer)
            if kind != accept or len(found) != len(truth):
                raise StepError(f"{entry['file']} got {len(found)} rows of {kind} for {len(truth)}")
            worst = max(worst, *map(distance, found, truth))
            rows += len(found)
            if not worst <= TOLERANCE:
                raise StepError(f"{entry['file']}: an answer is {worst:.2g} from XGBoost's own")
    return f"{2 * len(index)} requests, {rows} rows, at most {worst:.1g} from XGBoost's own"


def bad_requests(row: bytes) -> Sequence[tuple[str, str, str, dict[str, str], bytes, int, str]]:
    """Return what is wrong, method, path, headers, body, the status that is due, and what the
    answer must say. `row` is a row that the model takes, in CSV."""
    post = ("POST", "/invocations")
    huge = {**CSV, "Content-Length": str(10**12)}
    return (
        ("letters", *post, CSV, b"a,b,c\n", 415, "Loading csv data failed"),
        ("broken JSON", *post, JSON, b'{"instances": [', 415, ""),
        ("too few columns", *post, CSV, b"1,2\n", 400, ""),
        ("too many columns", *post, CSV, b"1," * 999 + b"1\n", 400, ""),
        ("an unknown type", *post, {"Content-Type": "image/png"}, row, 415, ""),
        ("an unknown Accept", *post, {**CSV, "Accept": "image/png"}, row, 406, ""),
        ("an empty body", *post, CSV, b"", 204, ""),
        ("a body over the limit", *post, huge, b"", 413, ""),
        ("the wrong method", "GET", "/invocations", {}, b"", 405, ""),
        ("an unknown path", "GET", "/nothing", {}, b"", 404, ""),
    )


def check_bad_requests(port: int, sample: Path) -> str:
    """Send what is wrong; every answer must have the status that it deserves."""
    requests = bad_requests((sample / "one_row.csv").read_bytes())
    for what, method, path, headers, body, status, text in requests:
        found, _, answer = ask(port, method, path, headers, body)
        if found != status or text.encode() not in answer:
            raise StepError(f"{what}: status {found} {answer[:200]!r}, where {status} is due")
    return f"{len(requests)} requests answered with the status that each deserves"


def check_stop(backend: Backend) -> str:
    """Send SIGTERM while clients ask: no request that was taken is lost, and the exit code is 0."""
    url = f"http://127.0.0.1:{backend.inner_port}/invocations"
    with backend.load(url, "text/csv", f"{backend.sample}/many_rows.csv") as client:
        assert client.stdout is not None
        if client.stdout.readline().strip() != "started":
            raise StepError("sample/load.py did not start")
        time.sleep(LOAD_SECONDS)
        backend.terminate()
        expect_exit(backend)
        tally = json.loads(client.stdout.readline() or "{}")
    if not tally or tally["lost"] or tally["other"] or tally["distinct"] != 1:
        raise StepError(f"of the requests under way at SIGTERM not all were answered: {tally}")
    return f"{tally['answered']} requests answered, none lost, exit code 0"


class Proof:
    """The steps in their order, and what one leaves for the next."""

    def __init__(self, backend: Backend, report: Report) -> None:
        self.backend, self.report = backend, report
        self.trained: list[str] = []
        self.port = 0
        self.sample = WORK / "ml" / "sample"

    def run(self) -> None:
        """Run every step. Raises StepError at the first that does not hold."""
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        backend, report = self.backend, self.report
        report.run("build" if backend.name == "docker" else "install", backend.prepare)
        report.run("make sample data", lambda: backend.script("make_sample.py")[-1])
        report.run("train", self.train)
        report.run("check model", self.check_model)
        report.run("serve", self.serve)
        report.run("check answers", lambda: check_payloads(self.port, self.sample))
        report.run("check refusals", lambda: check_bad_requests(self.port, self.sample))
        report.run("stop under load", lambda: check_stop(backend))
        if isinstance(backend, Docker):
            report.run("serve restricted", backend.serve_strictly)

    def train(self) -> str:
        """Run the training job."""
        self.trained = self.backend.train()
        return "exit code 0" + (", without network" if self.backend.name == "docker" else "")

    def check_model(self) -> str:
        """Ask XGBoost itself for the answers, and check what training left."""
        self.backend.script("expected.py")
        return check_model(self.backend.fetch(), self.trained)

    def serve(self) -> str:
        """Start the server and wait for its model to answer."""
        self.port = self.backend.serve()
        return wait_for_ping(self.backend, self.port)


def explain(report: Report, error: Exception, backend: Backend) -> int:
    """Say what failed, the last lines, what was kept, and the command that repeats it; return the
    exit code."""
    for line in report.tail:
        print("  | " + line)
    text = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
    report.say(f"error: {report.step}: {text}")
    kept = f"{LOG.name}, build/smoke"
    if isinstance(backend, Docker) and report.step != "build":
        kept += f", image {backend.image}"
    report.say(f"note: kept {kept}")
    report.say(f"note: to repeat it: python3 smoke_test.py --backend {backend.name}")
    return TOOL_MISSING if isinstance(error, MissingToolError) else FAILED


def project_name() -> str:
    """Return the name in pyproject.toml, which names the image."""
    found = re.search(r'^name = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return found[1] if found else ROOT.name


def choose_backend(arguments: Sequence[str] | None, report: Report) -> Backend:
    """Return the backend that the command line names, or that this machine has."""
    parser = argparse.ArgumentParser(description="build, train, serve, and check every answer")
    parser.add_argument("--backend", choices=("docker", "local"))
    parser.add_argument("--image", help="test this image, without building")
    parser.add_argument("--skip-build", action="store_true", help="use the image or .venv as it is")
    options = parser.parse_args(arguments)
    if options.image and options.backend == "local":
        parser.error("--image needs --backend docker")
    build = not (options.skip_build or options.image)
    docker = options.backend == "docker" or options.image
    if docker or (options.backend is None and succeeds(["docker", "info"], 10)):
        return Docker(report, options.image or f"{project_name()}:latest", build)
    return Local(report, build)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove the project; return the exit code."""
    with LOG.open("w", encoding="utf-8") as log:
        report = Report(log)
        backend = choose_backend(arguments, report)
        try:
            try:
                Proof(backend, report).run()
            finally:
                backend.clean()
        except KeyboardInterrupt:
            report.say(f"error: {report.step}: interrupted")
            return INTERRUPTED
        except Exception as error:  # whatever it is: say it in a line, with what to do
            return explain(report, error, backend)
        report.table()
        report.say(f"ok: proved with {backend.name}; the log is {LOG.name}")
        return PASSED


if __name__ == "__main__":
    sys.exit(main())
