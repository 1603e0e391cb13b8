"""Updates of a project whose owner has worked in it: what is theirs never conflicts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from conftest import unavailable
from rendering import DEFAULT_SLUG, PROJECT, WINDOWS, user_config

pytestmark = pytest.mark.skipif(WINDOWS, reason="the paths of clones differ there")
THRESHOLD = "THRESHOLD: float | None = None\n"
RATIO = "    rows = np.column_stack([rows, rows[:, :1] / rows[:, 1:2]])\n"
RETURN = "    return rows, names\n"
SETTING = '        "ACCELERATION",\n        "auto",\n'
NEXT_SETTING = '    log_level: str = setting(\n        "LOG_LEVEL",\n        "INFO",\n'
RUNTIME_FILE, RUNTIME_LINE = "program/runtime/job/paths.py", '"""The /opt/ml tree of a SageMaker'


def run(folder: Path, *command: str | Path) -> str:
    """Run a command with a git and an updater that know nothing of this machine's user."""
    nobody = {"NAME": "Nobody", "EMAIL": "nobody@example.com"}
    identity = {
        f"GIT_{who}_{key}": v for who in ("AUTHOR", "COMMITTER") for key, v in nobody.items()
    }
    config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    cookiecutter = {"COOKIECUTTER_CONFIG": str(user_config(folder.parent / "user"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **identity, **config, **cookiecutter},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


class Cruft:
    """cruft, as README has it."""

    @staticmethod
    def create(folder: Path, template: Path) -> None:
        answers = json.dumps({"validate": "none"})
        command = ["create", template, "--no-input", "--extra-context", answers]
        run(folder, sys.executable, "-m", "cruft", *command)
        # As a project that was proved when it was made has it: comparing must not prove again.
        edit(folder / DEFAULT_SLUG / ".cruft.json", '"validate": "none"', '"validate": "local"')

    @staticmethod
    def update(project: Path) -> str:
        return run(project, sys.executable, "-m", "cruft", "update", "--skip-apply-ask")


class Copier:
    """copier, as README has it."""

    @staticmethod
    def create(folder: Path, template: Path) -> None:
        command = ["copy", "--defaults", "--vcs-ref", "HEAD", template, DEFAULT_SLUG]
        run(folder, sys.executable, "-m", "copier", *command)

    @staticmethod
    def update(project: Path) -> str:
        command = ["update", "--defaults", "--vcs-ref", "HEAD"]
        return run(project, sys.executable, "-m", "copier", *command)


Updater = type[Cruft] | type[Copier]


def commit(folder: Path, message: str) -> None:
    if not (folder / ".git").exists():
        run(folder, "git", "init", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-q", "-m", message)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path}: {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture(params=[Cruft, Copier], ids=lambda tool: tool.__name__)
def updater(request: pytest.FixtureRequest) -> Updater:
    name = request.param.__name__.lower()
    if find_spec(name) is None:
        unavailable(f"{name} is not installed: pip install -r requirements-dev.txt")
    return request.param


@pytest.fixture
def project(template: Path, tmp_path: Path, updater: Updater) -> Path:
    """A project of the template's first version, in a repository of its own."""
    clone = tmp_path / "template"
    shutil.copytree(template, clone)
    commit(clone, "first version")
    updater.create(tmp_path, clone)
    commit(tmp_path / DEFAULT_SLUG, "Start from the template")
    return tmp_path / DEFAULT_SLUG


@pytest.mark.parametrize("updater", [Cruft], indirect=True)
def test_an_untouched_project_has_no_difference(project: Path) -> None:
    assert run(project, sys.executable, "-m", "cruft", "diff") == ""


def test_an_update_merges_and_conflicts_in_nothing_that_is_the_owners(
    project: Path, tmp_path: Path, updater: Updater
) -> None:
    features = project / "program/features.py"
    edit(features, RETURN, RATIO + RETURN)
    edit(project / "program/settings.py", SETTING, SETTING.replace("auto", "off"))
    custom = project / "program/custom.py"
    edit(custom, THRESHOLD, THRESHOLD.replace("= None", "= 0.3"))
    for name in ("features", "custom"):
        (project / f"tests/test_{name}.py").write_text("def test_ours() -> None: ...\n")
    edit(project / RUNTIME_FILE, RUNTIME_LINE, RUNTIME_LINE.replace("The", "Our"))
    commit(project, "Make it ours")
    ours = {path: path.read_bytes() for path in (features, custom)}

    tree = tmp_path / "template" / PROJECT
    edit(tree / "program/features.py", RETURN, "    # theirs\n" + RETURN)
    edit(tree / "program/custom.py", THRESHOLD, THRESHOLD.replace("= None", "= 0.7"))
    edit(tree / "program/settings.py", NEXT_SETTING, NEXT_SETTING.replace("INFO", "WARNING"))
    for name in ("features", "custom"):
        (tree / f"tests/test_{name}.py").write_text("def test_theirs() -> None: ...\n")
    edit(tree / RUNTIME_FILE, RUNTIME_LINE, RUNTIME_LINE.replace("The", "Their"))
    (tree / "program/runtime/added.py").write_text('"""New in the second version."""\n')
    commit(tmp_path / "template", "second version")

    said = updater.update(project)
    assert {path: path.read_bytes() for path in ours} == ours
    for name in ("features", "custom"):
        assert "test_ours" in (project / f"tests/test_{name}.py").read_text()
    settings = (project / "program/settings.py").read_text()
    assert SETTING.replace("auto", "off") in settings
    assert NEXT_SETTING.replace("INFO", "WARNING") in settings
    assert (project / "program/runtime/added.py").is_file()
    conflicts = run(project, "git", "diff", "--name-only", "--diff-filter=U").split()
    assert conflicts == [RUNTIME_FILE]
    assert list(project.rglob("*.rej")) == []
    assert not (project / "smoke-test.log").exists()
    assert "next:" not in said
