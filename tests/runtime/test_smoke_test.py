"""The smoke test finds what is wrong: each check is shown an answer that must not pass."""

from __future__ import annotations

import http.server
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import smoke_test
from sample import backends
from sample.backends import Docker, Local, MissingToolError, Report, StepError

ROWS = [[0.25], [0.75]]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with what the test has put into `answers`, by path."""

    answers: ClassVar[dict[str, tuple[int, str, bytes]]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        accept = self.headers.get("Accept", "")
        status, kind, body = self.answers.get(accept) or self.answers["*"]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server that answers as `Handler.answers` says."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A sample folder with one request of two rows."""
    (tmp_path / "one_row.csv").write_text("1,2\n")
    (tmp_path / "rows.csv").write_text("1,2\n3,4\n")
    entry = {"file": "rows.csv", "rows": "rows", "content_type": "text/csv"}
    (tmp_path / "payloads.json").write_text(json.dumps([entry]))
    (tmp_path / "expected.json").write_text(json.dumps({"rows": [0.25, 0.75]}))
    return tmp_path


@pytest.fixture
def report() -> Report:
    return Report(io.StringIO())


def answer(csv: bytes, scores: list[Any]) -> None:
    body = json.dumps({"predictions": [{"score": score} for score in scores]}).encode()
    Handler.answers = {
        "text/csv": (200, "text/csv; charset=utf-8", csv),
        "application/json": (200, "application/json", body),
    }


def test_right_answers_pass(port: int, sample: Path) -> None:
    answer(b"0.25\n0.7500000001\n", [0.25, 0.75])
    assert smoke_test.check_payloads(port, sample).startswith("2 requests, 4 rows")


@pytest.mark.parametrize(
    ("csv", "scores", "problem"),
    [
        (b"0.25\n0.75001\n", [0.25, 0.75], "1e-05 from XGBoost's own"),
        (b"0.25\n0.75\n", [0.25, 0.7], "0.05 from XGBoost's own"),
        (b"0.25\nnan\n", [0.25, 0.75], "inf from XGBoost's own"),
        (b"0.25\n", [0.25, 0.75], "got 1 rows"),
        (b"0.25,0.75\n0.75,0.25\n", [0.25, 0.75], "inf from XGBoost's own"),
    ],
)
def test_a_wrong_answer_fails(
    port: int, sample: Path, csv: bytes, scores: list[Any], problem: str
) -> None:
    answer(csv, scores)
    with pytest.raises(StepError, match=problem):
        smoke_test.check_payloads(port, sample)


def test_a_status_other_than_200_fails(port: int, sample: Path) -> None:
    Handler.answers = {"*": (500, "text/plain", b"oh")}
    with pytest.raises(StepError, match=r"rows\.csv got status 500: b'oh'"):
        smoke_test.check_payloads(port, sample)


def test_a_bad_request_that_is_accepted_fails(port: int, sample: Path) -> None:
    Handler.answers = {"*": (200, "text/csv", b"0.5\n")}
    with pytest.raises(StepError, match=r"letters: status 200 .*where 415 is due"):
        smoke_test.check_bad_requests(port, sample)


def test_the_right_status_without_the_words_of_the_contract_fails(port: int, sample: Path) -> None:
    Handler.answers = {"*": (415, "text/csv", b"no")}
    with pytest.raises(StepError, match="letters: status 415"):
        smoke_test.check_bad_requests(port, sample)


@pytest.mark.parametrize(
    ("found", "expected", "distance"),
    [(1.0, 1.0, 0.0), (1e6 + 1, 1e6, 1e-6), (0.5, 0.25, 0.25), ([1.0, 2.0], [1.0, 2.5], 0.2)],
)
def test_distances_are_relative_above_one(found: Any, expected: Any, distance: float) -> None:
    assert smoke_test.distance(found, expected) == pytest.approx(distance)


def make_model(folder: Path, *names: str) -> Path:
    (folder / "model").mkdir()
    for name in names:
        text = json.dumps({"objective": "binary:logistic", "engine": "onedal"})
        (folder / "model" / name).write_text(text)
    return folder


def test_a_complete_model_folder_passes_and_names_its_engine(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "xgboost-model", "manifest.json", "parity.json")
    log = ["[0]#011train-logloss:0.5#011validation-logloss:0.625"]
    found = smoke_test.check_model(folder, log)
    assert found == "binary:logistic, engine onedal, validation-logloss:0.625"


def test_a_missing_parity_report_fails(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "xgboost-model", "manifest.json")
    with pytest.raises(StepError, match=r"training left no parity\.json"):
        smoke_test.check_model(folder, [])


def test_a_log_without_metrics_fails(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "xgboost-model", "manifest.json", "parity.json")
    with pytest.raises(StepError, match="no metrics"):
        smoke_test.check_model(folder, ["trained"])


def test_a_command_that_fails_is_named_and_its_last_lines_are_kept(report: Report) -> None:
    code = "import sys; [print('line', n) for n in range(40)]; sys.exit(5)"
    with pytest.raises(StepError, match="ended with exit code 5: line 39"):
        backends.execute(report, [sys.executable, "-c", code])
    assert list(report.tail) == [f"line {n}" for n in range(25, 40)]


def test_a_log_has_a_line_when_a_step_starts_and_one_when_it_ends(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report.run("train", lambda: "50 rounds")
    report.table()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "... train"
    assert lines[1].startswith("ok: train (")
    assert "50 rounds" in lines[4]
    assert not any("\r" in line for line in lines)


class FakeBackend(Local):
    """A local backend whose training fails."""

    def prepare(self) -> str:
        return "nothing"

    def script(self, name: str) -> list[str]:
        return ["made"]

    def train(self) -> list[str]:
        self.report.output("UserError: num_round is missing")
        raise StepError("train ended with exit code 1")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the log and the work of the smoke test in a temporary folder."""
    monkeypatch.setattr(smoke_test, "LOG", tmp_path / "smoke-test.log")
    for module in (smoke_test, backends):
        monkeypatch.setattr(module, "WORK", tmp_path / "work")
    return tmp_path


def test_a_failing_step_is_reported_with_last_lines_what_was_kept_and_how_to_repeat(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke_test, "Local", FakeBackend)
    assert smoke_test.main(["--backend", "local"]) == smoke_test.FAILED
    out = capsys.readouterr().out
    assert "  | UserError: num_round is missing\n" in out
    assert "error: train: train ended with exit code 1\n" in out
    assert "note: kept smoke-test.log" in out
    assert "python3 smoke_test.py --backend local" in out
    assert "error: train:" in (scratch / "smoke-test.log").read_text()


@pytest.mark.usefixtures("scratch")
def test_a_machine_without_docker_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert smoke_test.main(["--backend", "docker"]) == smoke_test.TOOL_MISSING
    assert "error: build: the Docker daemon does not answer" in capsys.readouterr().out


def test_a_machine_without_a_python_that_fits_lacks_a_tool(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "succeeds", lambda *_: False)
    with pytest.raises(MissingToolError, match=r"no Python from 3\.11 to 3\.14"):
        Local(report, build=True).find_python()


def test_an_image_and_the_local_backend_exclude_each_other(report: Report) -> None:
    with pytest.raises(SystemExit):
        smoke_test.choose_backend(["--backend", "local", "--image", "x"], report)


def test_an_image_that_is_named_is_not_built(report: Report) -> None:
    backend = smoke_test.choose_backend(["--image", "team/x:1"], report)
    assert isinstance(backend, Docker)
    assert (backend.image, backend.build) == ("team/x:1", False)


@pytest.mark.parametrize(
    ("says", "buildkit", "option"),
    [
        ("github.com/docker/buildx v0.20.0", None, ["--load"]),
        ("github.com/docker/buildx v0.20.0", "0", []),
        ("buildah 1.40", None, []),
        ("", None, []),
    ],
)
def test_load_is_asked_of_buildx_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
    buildkit: str | None,
    option: list[str],
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '{says}'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    if buildkit:
        monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    assert backends.load_option() == option


def serve_once(listener: socket.socket, replies: list[bytes]) -> None:
    """Take a connection for each reply; say 100 Continue, read the body, send the reply."""
    for reply in replies:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.recv(65536)
            connection.sendall(reply)


def test_the_load_generator_counts_a_request_that_was_taken_and_not_answered(
    tmp_path: Path,
) -> None:
    (tmp_path / "body").write_text("1,2\n")
    good = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0.5\n"
    bad = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\nno"
    replies = [good, good, b"", bad, good]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/invocations"
        script = str(Path(backends.__file__).with_name("load.py"))
        command = [sys.executable, script, url, "text/csv", str(tmp_path / "body")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            serve_once(listener, replies)
            listener.close()
            lines = client.communicate(timeout=30)[0].splitlines()
    tally = json.loads(lines[1])
    assert lines[0] == "started"
    assert (tally["answered"], tally["lost"], tally["other"]) == (3, 1, {"503": 1})
    assert tally["distinct"] == 1
