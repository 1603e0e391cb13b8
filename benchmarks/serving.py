"""Requests a second, latency and CPU of serving: this project, XGBoost, and the bare transport."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import client, servers, workload
from benchmarks.paired import Ratio, alternate, ratio
from sample import picture

PROJECT, XGBOOST = "this project", "ACCELERATION=off"
FLOOR = "bare constant"  # from gunicorn's own worker: what any application behind it pays
WORKER_FLOOR = "same, our worker"  # the same constant, but from this project's worker
ROWS = (1, 100, 10_000)
CLIENTS = (1, 8)

Figures = dict[str, dict[str, list[float]]]


def contestant(
    server: servers.Server, body: Path, clients: int, seconds: int, *, finish: bool = False
) -> Callable[[], dict[str, float]]:
    """Return a function that loads `server` once and returns the figures of that burst, which
    waits for the last answers with `finish`."""

    def run() -> dict[str, float]:
        before = server.cpu_seconds()
        load = client.burst(server.port, body, "text/csv", clients, seconds, finish=finish)
        used = server.cpu_seconds() - before
        return {
            "requests/s": load.requests / load.seconds,
            "p50 ms": load.p50 * 1e3,
            "p99 ms": load.p99 * 1e3,
            "CPU s per 1,000": used / load.requests * 1e3,
        }

    return run


def compare(figures: Figures) -> dict[str, Ratio]:
    """Return the ratios that matter: of speed and of CPU, against both floors and XGBoost."""
    speed, cpu = "requests/s", "CPU s per 1,000"
    project = figures[PROJECT]
    return {
        "speed / floor": ratio(project[speed], figures[FLOOR][speed]),
        "CPU / floor": ratio(project[cpu], figures[FLOOR][cpu]),
        "speed / own floor": ratio(project[speed], figures[WORKER_FLOOR][speed]),
        "CPU / own floor": ratio(project[cpu], figures[WORKER_FLOOR][cpu]),
        "speed / XGBoost": ratio(project[speed], figures[XGBOOST][speed]),
        "CPU / XGBoost": ratio(project[cpu], figures[XGBOOST][cpu]),
    }


def median(values: list[float]) -> float:
    """Return the middle value."""
    return sorted(values)[len(values) // 2]


def report(case: str, figures: Figures, ratios: dict[str, Ratio]) -> None:
    """Print one case as a table."""
    print(f"\n{case}")
    for name, values in figures.items():
        cells = "  ".join(f"{figure} {median(found):10,.3f}" for figure, found in values.items())
        print(f"  {name:<18} {cells}")
    for name, spread in ratios.items():
        print(f"  {name:<18} {spread}")


def run(folder: Path, turns: int, seconds: int) -> dict[str, Any]:
    """Measure every number of rows with every number of clients; return all figures."""
    results: dict[str, Any] = {"client": client.client_name(), "turns": turns, "cases": {}}
    results["machine"] = picture.machine()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workload.train_model(base / "model" / "xgboost-model")
        started = {
            PROJECT: stack.enter_context(servers.serve(base)),
            XGBOOST: stack.enter_context(servers.serve(base, environ={"ACCELERATION": "off"})),
        }
        for name, own in ((FLOOR, False), (WORKER_FLOOR, True)):
            program = servers.floor_program(base, own_worker=own)
            started[name] = stack.enter_context(servers.serve(base, program))
        for rows in ROWS:
            body = workload.csv_body(base / f"{rows}.csv", rows)
            for clients in CLIENTS:
                runs = {
                    name: contestant(server, body, clients, seconds)
                    for name, server in started.items()
                }
                figures = alternate(runs, turns)
                ratios = compare(figures)
                case = f"{rows:,} rows, {clients} clients"
                report(case, figures, ratios)
                spread = {name: asdict(found) for name, found in ratios.items()}
                results["cases"][case] = {"figures": figures, "ratios": spread}
    save(folder, results)
    return results


def save(folder: Path, results: dict[str, Any]) -> None:
    """Write serving.json and serving.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serving.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    chart = [
        (case, [(name, median(f["requests/s"])) for name, f in entry["figures"].items()])
        for case, entry in results["cases"].items()
    ]
    client_and_turns = f"client: {results['client']}; medians of {results['turns']} paired turns"
    notes = (results["machine"], f"{client_and_turns}, higher is better")
    picture.draw(
        folder / "serving.svg", "Serving CSV requests", notes, "requests per second", chart
    )
