"""A new owner's day: the examples of the README in a rendered project, from tests to answers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from rendering import PROJECT, ROOT, WINDOWS, files_of, render, run_module

pytestmark = [
    pytest.mark.rendered,
    pytest.mark.skipif(WINDOWS, reason="the programs of a container run on Linux and macOS"),
]
BLOCK = re.compile(r"```python\n# (program/\w+\.py)\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Return file and code of the examples under "Make it yours"."""
    text = (ROOT / PROJECT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Make it yours\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


@pytest.fixture(scope="module")
def owned(template: Path, project_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every example of the README in it, and the packages it needs in .venv."""
    project = render(template, tmp_path_factory.mktemp("owned") / "out")
    for name, code in examples():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("\n\n" + code)
    (project / ".venv").symlink_to(project_python.parents[1])
    digest = hashlib.sha256((project / "requirements.txt").read_bytes()).hexdigest()
    (project / ".venv" / "smoke-test.stamp").write_text(digest)
    return project


def test_there_is_an_example_of_every_name_in_custom() -> None:
    code = "".join(code for name, code in examples() if name == "program/custom.py")
    names = set(re.findall(r"^(?:def )?(\w+)(?: = |\()", code, re.MULTILINE))
    source = (ROOT / PROJECT / "program/custom.py").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+): .* = ", source, re.MULTILINE)) | {"LINK"} <= names
    assert "program/features.py" in dict(examples())


def test_the_owners_tests_pass_with_every_example(project_python: Path, owned: Path) -> None:
    last = run_module(project_python, owned, "pytest", "-p", "no:cacheprovider", "-rs")
    assert " passed" in last
    assert "custom.py has no" not in last


def test_only_files_of_the_owner_were_edited(template: Path, owned: Path, project: Path) -> None:
    changed = {
        name
        for name in files_of(project)
        if (owned / name).read_bytes() != (project / name).read_bytes()
    }
    assert changed == {"program/features.py", "program/custom.py"}


@pytest.fixture(scope="module")
def proved(owned: Path) -> Path:
    """The folder /opt/ml that the smoke test left."""
    done = subprocess.run(
        ["python3", "smoke_test.py", "--backend", "local"],
        cwd=owned,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return owned / "build/smoke/ml"


def test_the_manifest_shows_the_column_the_objective_and_the_metric(proved: Path) -> None:
    manifest = json.loads((proved / "model/manifest.json").read_text())
    assert manifest["objective"] == "binary:logistic"
    assert "validation-missed" in manifest["metrics"] or "train-missed" in manifest["metrics"]
    assert len(manifest["custom_version"]) == 64
    parity = json.loads((proved / "model/parity.json").read_text())
    assert parity["features"] == manifest["num_columns"] + 1
    assert parity["engine"].startswith("onedal") or parity["versions"]["machine"] != "x86_64"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_answers_show_the_threshold_the_names_and_the_media_types(
    owned: Path, proved: Path
) -> None:
    port, bin_ = free_port(), owned / ".venv/bin"
    environment = {
        **os.environ,
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(owned / "program"),
        "SAGEMAKER_BASE_DIR": str(proved),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,label_name,probability",
    }
    url = f"http://127.0.0.1:{port}"
    row = (proved / "sample/one_row.csv").read_text().strip()
    log = (owned / "serve.log").open("wb")
    server = subprocess.Popen(
        [bin_ / "python", owned / "program/serve"], env=environment, stdout=log, stderr=log
    )
    try:
        for _ in range(600):
            assert server.poll() is None, (owned / "serve.log").read_text()
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=2)
                break
            except OSError:
                time.sleep(0.1)
        pairs = " ".join(f"c{i}={cell}" for i, cell in enumerate(row.split(",")))
        answers = []
        for kind, body in (("text/csv", row), ("text/x-pairs", pairs)):
            headers = {"Content-Type": kind, "Accept": "application/json"}
            request = urllib.request.Request(f"{url}/invocations", body.encode(), headers)
            answers.append(json.load(urllib.request.urlopen(request))["predictions"][0])
        assert answers[0] == answers[1]
        label = int(answers[0]["probability"] > 0.3)
        assert answers[0]["predicted_label"] == label
        assert answers[0]["label_name"] == ("good", "bad")[label]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)
        log.close()
