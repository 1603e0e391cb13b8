"""The peers of the benchmarks: pinned, asked for the same rows, checked before being measured."""

from __future__ import annotations

import json
import os
import re
import threading
import xml.etree.ElementTree
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import servers, workload
from benchmarks.peers import catalogue, compare, environments, tables
from benchmarks.peers.catalogue import PEERS, Peer

PIN = re.compile(r"[a-z0-9-]+==[\w.]+( ; \S.*)?")
FIGURES = ("requests/s", "p50 ms", "p99 ms", "CPU s per 1,000", "memory MB")


def requirements(path: Path) -> list[str]:
    """Return the lines of a requirements file without comments."""
    lines = path.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_peer_is_pinned_with_all_that_it_installs() -> None:
    folders = {path.parent for path in catalogue.HERE.glob("*/app.py")}
    assert folders == {peer.place for peer in PEERS}
    for peer in PEERS:
        locked = requirements(peer.place / "requirements.txt")
        assert [line for line in locked if not PIN.fullmatch(line)] == []
        asked = requirements(peer.place / "requirements.in")
        names = {line.split("==")[0] for line in locked}
        assert {re.split("==|;", line)[0] for line in asked} <= names, peer.name
        assert set(peer.packages) <= names
        assert os.access(peer.place / "start", os.X_OK)


def test_every_body_holds_the_same_rows(tmp_path: Path) -> None:
    csv = workload.csv_body(tmp_path / "body.csv", 3).read_text("ascii")
    rows = np.loadtxt(csv.splitlines(), delimiter=",")
    assert catalogue.CSV.write(csv) == catalogue.TEXT.write(csv) == catalogue.OURS.write(csv) == csv
    np.testing.assert_array_equal(json.loads(catalogue.ROWS.write(csv))["rows"], rows)
    (tensor,) = json.loads(catalogue.TENSOR.write(csv))["inputs"]
    assert (tensor["shape"], tensor["datatype"]) == ([3, workload.FEATURES], "FP32")
    np.testing.assert_array_equal(tensor["data"], rows.ravel())


@pytest.fixture
def constant() -> Iterator[list[bytes]]:
    """A server on the port in the first item, which answers whatever the second item is."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answer = [str(server.server_port).encode(), b""]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answer
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"[0.25, 0.5]", ""),
        (b"[0.25, 0.500009]", ""),
        (b"[0.25, 0.51]", "LitServe answers 2 rows with predictions up to 0.01 away from"),
        (b"[0.25, NaN]", "LitServe answers 2 rows with predictions up to nan away from"),
        (b"[0.25]", r"LitServe answers \(1,\), not \(2,\), predictions"),
    ],
    ids=["equal", "close", "different", "missing", "too few"],
)
def test_a_peer_with_other_answers_is_not_measured(
    tmp_path: Path, constant: list[bytes], answer: bytes, complaint: str
) -> None:
    constant[1] = answer
    running = servers.Server(int(constant[0]), os.getpid(), 0.0, tmp_path)
    (peer,) = (peer for peer in PEERS if peer.folder == "litserve")
    contestant = compare.Contestant(peer.name, running, peer.format, peer.path)

    class Project(compare.Contestant):
        def predict(self, body: Path) -> tuple[np.ndarray, str]:
            return np.array([0.25, 0.5]), "onedal"

    project = Project(tables.PROJECT, running, catalogue.OURS, "/invocations")
    body = workload.csv_body(tmp_path / "body.csv", 2)
    files = {tables.PROJECT: body, peer.name: body}
    if complaint:
        with pytest.raises(RuntimeError, match=complaint):
            compare.check([project, contestant], files)
    else:
        assert compare.check([project, contestant], files) == "onedal"


def results() -> dict[str, Any]:
    """Results of one point, three turns, one peer of half the speed."""

    def figures(speed: float) -> dict[str, list[float]]:
        return {name: [speed * turn for turn in (1, 2, 4)] for name in FIGURES}

    case = {
        "figures": {tables.PROJECT: figures(1000.0), "LitServe": figures(2.0)},
        "ratios": {"LitServe": {"median": 500.0, "low": 499.0, "high": 501.0}},
    }
    return {
        "machine": "a processor, 2 CPUs; 2026-11-26",
        "client": "wrk",
        "turns": 3,
        "seconds": 2,
        "versions": {tables.PROJECT: {"gunicorn": "27.0.1"}, "LitServe": {"litserve": "0.2.19"}},
        "cases": {tables.case_name(1, 8): case},
    }


def test_the_table_and_the_picture_are_written_between_the_markers(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in (tables.README, tables.DETAILS):
        text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
        (tmp_path / name).write_text(text, encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        tables.publish(results(), tmp_path)
    assert (
        (tmp_path / tables.README).read_text("utf-8")
        == f"""before
{tables.BEGIN}

| this project / peer | 1 row, 8 clients |
|---|---|
| LitServe | 500.00 (499.00 to 501.00) |
| this project, requests/s | 2,000 |

![requests per second of all servers](docs/peers.svg)

{tables.END}
after
"""
    )
    details = (tmp_path / tables.DETAILS).read_text("utf-8")
    assert "a processor, 2 CPUs; 2026-11-26. The client, wrk," in details
    assert "- LitServe: litserve 0.2.19" in details
    assert "| LitServe | 4.00 | 4.00 | 4.00 | 4.00 | 4.00 | 500.00 (499.00 to 501.00) |" in details
    assert details.startswith("before\n")
    assert details.endswith("after\n")
    tree = xml.etree.ElementTree.parse(tmp_path / tables.PICTURE)
    assert len([item for item in tree.iter() if item.tag.endswith("circle")]) == 2


def test_a_page_without_the_markers_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{tables.END}\n{tables.BEGIN}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="end of peers -->"):
        tables.replace(page, "text")
    assert page.read_text("utf-8") == f"{tables.END}\n{tables.BEGIN}\n"


def test_the_published_pages_have_the_markers() -> None:
    for name in (tables.README, tables.DETAILS):
        text = (tables.ROOT / name).read_text("utf-8")
        assert text.count(tables.BEGIN) == text.count(tables.END) == 1
        assert text.index(tables.BEGIN) < text.index(tables.END)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_a_peer_answers_as_the_booster_does(tmp_path: Path, peer: Peer) -> None:
    if not (environments.folder(peer) / "ready").exists():
        pytest.skip(
            f"{peer.name} is not installed: python -m benchmarks.peers --only {peer.folder}"
        )
    model = tmp_path / "model" / "xgboost-model"
    booster = workload.train_model(model, trees=20)
    rows, _ = workload.table(3)
    expected = booster.inplace_predict(rows.astype(float).round(6).astype(np.float32))
    with compare.start(peer, model, tmp_path) as contestant:
        files = compare.bodies(tmp_path, 3, [contestant])
        found, _ = contestant.predict(files[peer.name])
    np.testing.assert_allclose(found, expected, rtol=0, atol=compare.TOLERANCE)
