"""Contributions (SHAP values) over HTTP: this project beside the same program through XGBoost.

With one client a request of many rows may use the other CPUs; with as many clients as CPUs it may
not, and the ratio is that of the engines alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import client, servers, workload
from benchmarks.paired import alternate, ratio
from benchmarks.serving import PROJECT, XGBOOST, contestant, report
from runtime.job import resources

ROWS = (1, 100)
LONG = 10  # rows of a request that takes so long that its answer is waited for
ASKED = {"SAGEMAKER_INFERENCE_OUTPUT": "contributions"}


def engine_of(server: servers.Server) -> str:
    """Return what the server's log says of the engine of contributions."""
    lines = server.log.read_text(encoding="utf-8").splitlines()
    found = [line.partition("contributions come from ")[2] for line in lines]
    return next((line for line in found if line), "xgboost")


def run(folder: Path, turns: int, seconds: int, python: str = sys.executable) -> dict[str, Any]:
    """Measure one client and as many as there are CPUs; return all figures.

    `python` trains, and runs the server with ACCELERATION=off: it may have an earlier XGBoost.
    """
    results: dict[str, Any] = {"client": client.client_name(), "turns": turns, "cases": {}}
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        train = "from benchmarks import workload; from pathlib import Path; from sys import argv\n"
        train += "workload.train_model(Path(argv[1]), int(argv[2]))"
        model = base / "model" / "xgboost-model"
        subprocess.run([python, "-c", train, str(model), str(workload.TREES)], check=True)
        off = [python, str(servers.PROGRAM / "serve")]
        started = {
            PROJECT: stack.enter_context(servers.serve(base, environ=ASKED)),
            XGBOOST: stack.enter_context(
                servers.serve(base, environ={**ASKED, "ACCELERATION": "off"}, command=off)
            ),
        }
        results["engine"] = engine_of(started[PROJECT])
        print(f"\ncontributions come from {results['engine']}")
        for rows in ROWS:
            body = workload.csv_body(base / f"{rows}.csv", rows)
            for clients in sorted({1, resources.cpu_count()}):
                runs = {
                    name: contestant(server, body, clients, seconds, finish=rows >= LONG)
                    for name, server in started.items()
                }
                figures = alternate(runs, turns)
                ratios = {
                    f"{what} / XGBoost": ratio(figures[PROJECT][key], figures[XGBOOST][key])
                    for what, key in (("speed", "requests/s"), ("CPU", "CPU s per 1,000"))
                }
                case = f"contributions of {rows:,} rows, {clients} clients"
                report(case, figures, ratios)
                spread = {name: asdict(found) for name, found in ratios.items()}
                results["cases"][case] = {"figures": figures, "ratios": spread}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2) + "\n"
    (folder / "explanations.json").write_text(text, encoding="utf-8")
    return results
