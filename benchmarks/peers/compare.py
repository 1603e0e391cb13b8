"""Measure this project beside the peers: check that all answer alike, then let them take turns."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import client, servers, workload
from benchmarks.paired import alternate, ratio
from benchmarks.peers import environments, tables
from benchmarks.peers.catalogue import OURS, Format, Peer
from sample import picture

POINTS = ((1, 1), (1, 8), (100, 8), (10_000, 8))  # rows, clients
TOLERANCE = 1e-5  # of probabilities in float32
CHECKS = 4  # per worker: any of them may answer
LARGE = 10_000  # rows, which a peer computes for so long that much is under way at the end
PAUSE = 0.1  # seconds after a burst: its last requests leave the CPUs before the next begins
PACKAGES = ("xgboost-cpu", "scikit-learn-intelex", "gunicorn", "flask")


@dataclass(frozen=True)
class Contestant:
    """A running server, and how it is asked."""

    name: str
    server: servers.Server
    format: Format
    path: str

    def predict(self, body: Path) -> tuple[NDArray[np.float64], str]:
        """Post `body` once; return the predictions, float64 [rows], and the engine, if named."""
        url = f"http://127.0.0.1:{self.server.port}{self.path}"
        headers = {"Content-Type": self.format.content_type}
        request = urllib.request.Request(url, body.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            engine = answer.headers.get("X-Model-Engine", "")
            return np.asarray(self.format.read(answer.read()), dtype=np.float64), engine

    def load(
        self, body: Path, clients: int, seconds: int, finish: bool
    ) -> Callable[[], dict[str, float]]:
        """Return a function that loads the server once and returns the figures of that burst.

        With `finish`, requests that are under way at its end are waited for and counted.
        """

        def run() -> dict[str, float]:
            before = self.server.cpu_seconds()
            found = client.burst(
                self.server.port,
                body,
                self.format.content_type,
                clients,
                seconds,
                finish=finish,
                path=self.path,
            )
            used = self.server.cpu_seconds() - before
            memory = self.server.memory_bytes()
            time.sleep(PAUSE)
            return {
                "requests/s": found.requests / found.seconds,
                "p50 ms": found.p50 * 1e3,
                "p99 ms": found.p99 * 1e3,
                "CPU s per 1,000": used / found.requests * 1e3,
                "memory MB": memory / 1e6,
            }

        return run


@contextmanager
def start(peer: Peer, model: Path, base: Path) -> Iterator[Contestant]:
    """Start a peer on the model, with a folder of its own below `base`; stop it at the end."""
    scratch = base / peer.folder
    scratch.mkdir()
    environ = {
        "PATH": f"{environments.make(peer)}:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "MODEL": str(model),
        "WORKERS": str(workers()),
        "SCRATCH": str(scratch),
    }
    command = [str(peer.place / "start")]
    with servers.serve(scratch, environ=environ, command=command, ping=peer.ping) as server:
        yield Contestant(peer.name, server, peer.format, peer.path)


@contextmanager
def started(base: Path, peers: Sequence[Peer]) -> Iterator[list[Contestant]]:
    """Train the model once; start this project and the peers on it, and stop them at the end."""
    model = base / "model" / "xgboost-model"
    workload.train_model(model)
    with ExitStack() as stack:
        server = stack.enter_context(servers.serve(base))
        project = Contestant(tables.PROJECT, server, OURS, "/invocations")
        yield [project, *(stack.enter_context(start(peer, model, base)) for peer in peers)]


def workers() -> int:
    """Return how many workers a peer gets: one per CPU, as this project has."""
    return len(os.sched_getaffinity(0))


def bodies(base: Path, rows: int, contestants: Sequence[Contestant]) -> dict[str, Path]:
    """Write the same rows in every contestant's format; return name -> file."""
    csv = workload.csv_body(base / f"{rows}.csv", rows).read_text("ascii")
    found = {}
    for contestant in contestants:
        found[contestant.name] = base / f"{rows}-{contestant.name}"
        found[contestant.name].write_text(contestant.format.write(csv), encoding="ascii")
    return found


def check(contestants: Sequence[Contestant], files: dict[str, Path]) -> str:
    """Return this project's engine once all of its peers' workers give its answers.

    Raises RuntimeError when one does not.
    """
    expected, engine = contestants[0].predict(files[contestants[0].name])
    for contestant in contestants[1:]:
        for _ in range(CHECKS * workers()):
            found, _ = contestant.predict(files[contestant.name])
            if found.shape != expected.shape:
                raise RuntimeError(
                    f"{contestant.name} answers {found.shape}, not {expected.shape}, predictions"
                )
            off = float(np.abs(found - expected).max())
            if not off <= TOLERANCE:
                raise RuntimeError(
                    f"{contestant.name} answers {len(expected)} rows with predictions up to "
                    f"{off:.2g} away from this project's; accepted: {TOLERANCE:g}"
                )
    return engine


def measure(
    base: Path, contestants: Sequence[Contestant], turns: int, seconds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Check all answers, then measure every point; yield case, figures and ratios."""
    written: dict[int, dict[str, Path]] = {}
    for rows in sorted({rows for rows, _ in POINTS}):
        written[rows] = bodies(base, rows, contestants)
        engine = check(contestants, written[rows])
        print(f"ok: all answer {rows:,} rows alike (this project by {engine})", flush=True)
    for rows, clients in POINTS:
        runs = {
            contestant.name: contestant.load(
                written[rows][contestant.name], clients, seconds, finish=rows >= LARGE
            )
            for contestant in contestants
        }
        figures = alternate(runs, turns)
        ours = figures[tables.PROJECT]["requests/s"]
        ratios = {
            name: asdict(ratio(ours, found["requests/s"]))
            for name, found in figures.items()
            if name != tables.PROJECT
        }
        yield tables.case_name(rows, clients), {"figures": figures, "ratios": ratios}


def versions(peers: Sequence[Peer]) -> dict[str, dict[str, str]]:
    """Return contestant -> package -> version."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    ours = {"Python": platform.python_version()}
    ours |= {name: importlib.metadata.version(name) for name in PACKAGES}
    ours["nginx"] = nginx.strip().partition("/")[2].split()[0]
    return {
        tables.PROJECT: ours,
        **{peer.name: environments.versions(peer) for peer in peers},
    }


def run(
    folder: Path, turns: int, seconds: int, peers: Sequence[Peer], publish: bool
) -> dict[str, Any]:
    """Measure this project beside `peers`; return the results.

    peers.json and peers.svg go into `folder`; with `publish` the table and the picture also go into
    the repository's README.md and docs/. Raises RuntimeError when a peer cannot be installed, does
    not start or answers otherwise than this project.
    """
    for peer in peers:
        environments.make(peer)
    cases: dict[str, Any] = {}
    results = {
        "machine": picture.machine(),
        "client": client.client_name(),
        "turns": turns,
        "seconds": seconds,
        "versions": versions(peers),
        "cases": cases,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, started(Path(name), peers) as contestants:
        for case, entry in measure(Path(name), contestants, turns, seconds):
            cases[case] = entry
            print("\n" + tables.case_table(case, entry), flush=True)
            text = json.dumps(results, indent=2) + "\n"  # now: a later point may fail
            (folder / "peers.json").write_text(text, encoding="utf-8")
    tables.draw(folder / "peers.svg", results)
    if publish:
        tables.publish(results)
    return results
