"""A new owner's day: the examples of the README in a rendered project, from tests to answers."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from rendering import PROJECT, ROOT, WINDOWS, files_of, run_module, serving

pytestmark = [
    pytest.mark.rendered,
    pytest.mark.skipif(WINDOWS, reason="the programs of a container run on Linux and macOS"),
    pytest.mark.xdist_group("owner"),  # one smoke test for all
]
BLOCK = re.compile(r"```python\n# (program/\w+\.py)\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Return file and code of the examples under "Make it yours"."""
    text = (ROOT / PROJECT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Make it yours\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


@pytest.fixture(scope="module")
def owned(project: Path, project_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every example of the README in it, and the packages it needs in .venv."""
    owned = tmp_path_factory.mktemp("owned") / project.name
    shutil.copytree(project, owned)
    for name, code in examples():
        with (owned / name).open("a", encoding="utf-8") as file:
            file.write("\n\n" + code)
    (owned / ".venv").symlink_to(project_python.parents[1])
    digest = hashlib.sha256((owned / "requirements.txt").read_bytes()).hexdigest()
    (owned / ".venv" / "smoke-test.stamp").write_text(digest)
    return owned


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


def test_only_files_of_the_owner_were_edited(owned: Path, project: Path) -> None:
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


def test_answers_show_the_threshold_the_names_and_the_media_types(
    owned: Path, proved: Path
) -> None:
    variables = {
        "SAGEMAKER_BASE_DIR": str(proved),
        "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,label_name,probability",
    }
    row = (proved / "sample/one_row.csv").read_text().strip()
    pairs = " ".join(f"c{i}={cell}" for i, cell in enumerate(row.split(",")))
    answers = []
    with serving(owned, owned / ".venv/bin/python", **variables) as port:
        for kind, body in (("text/csv", row), ("text/x-pairs", pairs)):
            headers = {"Content-Type": kind, "Accept": "application/json"}
            url = f"http://127.0.0.1:{port}/invocations"
            request = urllib.request.Request(url, body.encode(), headers)
            answers.append(json.load(urllib.request.urlopen(request))["predictions"][0])
    assert answers[0] == answers[1]
    label = int(answers[0]["probability"] > 0.3)
    assert answers[0]["predicted_label"] == label
    assert answers[0]["label_name"] == ("good", "bad")[label]
