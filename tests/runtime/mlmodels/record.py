"""Ask MLflow's own scoring server, and write figures.json: `python record.py WORK`.

The application is the one that `mlflow models serve` runs, in an environment of make.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from cases import REQUESTS, body_of
from make import HERE, VERSIONS, environment


def ask(folder: Path, major: int) -> dict[str, Any]:
    """Return what the models that MLflow's version `major` saved answer to every request."""
    import logging

    import mlflow.pyfunc
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    logging.disable()
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if f"mlflow_version: {major}." not in (path / "MLmodel").read_text():
            continue
        application = scoring_server.init(mlflow.pyfunc.load_model(str(path)))
        with TestClient(application, raise_server_exceptions=False) as client:
            answers = {name: post(client, request) for name, request in REQUESTS.items()}
        found[path.name] = answers
    return found


def post(client: Any, request: Any) -> Any:
    """Return the answer to a request: its document, or the status that refuses it."""
    headers = {"Content-Type": "application/json"}
    answer = client.post("/invocations", content=body_of(request), headers=headers)
    return answer.json() if answer.status_code == 200 else {"status": answer.status_code}


def main(work: Path) -> None:
    """Ask the models of each version, and write the answers."""
    folder = work / "asked"
    with tarfile.open(HERE / "models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    figures: dict[str, Any] = {"versions": list(VERSIONS.values()), "answers": {}}
    for major in VERSIONS:
        command = [environment(work, major), __file__, str(major), folder]
        text = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE)
        figures["answers"] |= json.loads(text.stdout.splitlines()[-1])
    write(figures)


def write(figures: dict[str, Any]) -> None:
    """Write figures.json with a line per answer."""
    models = []
    for name, answers in sorted(figures["answers"].items()):
        lines = [f"{json.dumps(case)}: {json.dumps(answers[case])}" for case in sorted(answers)]
        models.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    head = f'{{"versions": {json.dumps(figures["versions"])},\n"answers": {{\n'
    (HERE / "figures.json").write_text(head + ",\n".join(models) + "\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] in {"2", "3"}:
        print(json.dumps(ask(Path(sys.argv[2]), int(sys.argv[1]))))
    else:
        main(Path(sys.argv[1]).resolve())
