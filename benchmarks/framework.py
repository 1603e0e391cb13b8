"""`python -m benchmarks.framework COMMAND`: one script, this project and another server paired.

COMMAND starts the other server, such as AWS's own framework mode, which you fetch and install
yourself. It finds the folder that SageMaker mounts in SAGEMAKER_BASE_DIR, its port in
SAGEMAKER_BIND_TO_PORT and the script in SAGEMAKER_PROGRAM and SAGEMAKER_SUBMIT_DIRECTORY, and must
stay in the foreground until SIGTERM. Both get the same model, script and bodies, and take turns.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
import urllib.request
from dataclasses import asdict
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import client, servers, workload
from benchmarks.paired import alternate, ratio
from benchmarks.serving import contestant, report

PROJECT, OTHER = "this project", "other server"
RESULT = Path(__file__).with_name("results") / "framework.json"
ROWS = (1, 100)
CLIENTS = (1, 8)
TOLERANCE = 1e-5  # of probabilities in float32
SCRIPT = '''"""model_fn alone: everything else is the default."""

import os

import xgboost


def model_fn(model_dir):
    """Load the model."""
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model"))
'''


def prepare(base: Path) -> dict[str, str]:
    """Write the model and its script below `base`; return the variables of both servers."""
    workload.train_model(base / "model" / "xgboost-model")
    code = base / "model" / "code"
    code.mkdir()
    (code / "serve.py").write_text(SCRIPT, encoding="utf-8")
    return {
        "SAGEMAKER_PROGRAM": "serve.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": str(code),
        "NUM_CLASSES": "2",  # the answers that an unrendered project lacks
        "INPUT_FORMAT": "csv",
    }


def predict(server: servers.Server, body: Path) -> tuple[np.ndarray, Message]:
    """Post `body` once; return the predictions, float64 [rows], and the headers of the answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/invocations",
        body.read_bytes(),
        {"Content-Type": "text/csv", "Accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return np.asarray(json.load(answer), dtype=np.float64), answer.headers


def check(started: dict[str, servers.Server], body: Path) -> str:
    """Return the engine of this project's answer, once both servers answer `body` alike.

    Raises RuntimeError when the predictions differ.
    """
    found, headers = predict(started[PROJECT], body)
    expected, _ = predict(started[OTHER], body)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=TOLERANCE):
        raise RuntimeError(f"the servers answer {body.name} differently: {found} and {expected}")
    return headers.get("X-Model-Engine", "unknown")


def measure(
    started: dict[str, servers.Server], folder: Path, turns: int, seconds: int
) -> dict[str, Any]:
    """Measure every number of rows with every number of clients; return figures and ratios."""
    cases: dict[str, Any] = {}
    for rows in ROWS:
        body = workload.csv_body(folder / f"{rows}.csv", rows)
        body.write_text(body.read_text("ascii").rstrip("\n"), "ascii")  # as AWS's decoder wants it
        engine = check(started, body)
        for clients in CLIENTS:
            runs = {
                name: contestant(server, body, clients, seconds) for name, server in started.items()
            }
            figures = alternate(runs, turns)
            ours, other = figures[PROJECT], figures[OTHER]
            ratios = {
                "speed / other": ratio(ours["requests/s"], other["requests/s"]),
                "CPU / other": ratio(ours["CPU s per 1,000"], other["CPU s per 1,000"]),
            }
            case = f"{rows:,} rows, {clients} clients, engine {engine}"
            report(case, figures, ratios)
            spread = {name: asdict(found) for name, found in ratios.items()}
            cases[case] = {"engine": engine, "figures": figures, "ratios": spread}
    return cases


def main() -> None:
    """Start both servers, measure, and write results/framework.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framework", description=__doc__)
    parser.add_argument("command", help="starts the other server")
    parser.add_argument("--turns", type=int, default=10, help="alternations (default 10)")
    parser.add_argument("--seconds", type=int, default=2, help="of one burst (default 2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        environ = prepare(base)
        command = shlex.split(arguments.command)
        with (
            servers.serve(base, environ=environ) as ours,
            servers.serve(base, environ=environ, command=command) as other,
        ):
            started = {PROJECT: ours, OTHER: other}
            cases = measure(started, base, arguments.turns, arguments.seconds)
    results = {"client": client.client_name(), "turns": arguments.turns, "cases": cases}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
