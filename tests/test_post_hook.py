"""post_gen_project: the structural check, restored modes, and each rung of the ladder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rendering import ROOT, WINDOWS, load_hook

hook = load_hook("post_gen_project")
needs_modes = pytest.mark.skipif(WINDOWS, reason="Windows keeps no executable bits")
needs_scripts = pytest.mark.skipif(WINDOWS, reason="the stand-in for docker is a shell script")

# A stand-in for the project's smoke test: it says what it was asked, and ends as it is told.
SMOKE_TEST = """
import os, sys
print("smoke test:", *sys.argv[1:])
code = int(os.environ["SMOKE_CODE"])
with open("smoke-test.log", "w") as log:
    log.write("step build\\n" + ("error: step serve: no answer\\n" if code else ""))
sys.exit(code)
"""
DOCKERS = {
    "answers": "echo 27.0",
    "daemon down": "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
    "daemon wedged": "exec sleep 60",
    "says nothing": "exit 0",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree that passes the structural check, as the working folder."""
    folder = tmp_path / "churn"
    for name in hook.FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/usr/bin/env python3\n" if name in hook.EXECUTABLE else "\n")
        path.chmod(0o755 if name in hook.EXECUTABLE else 0o644)
    (folder / "smoke_test.py").write_text(SMOKE_TEST)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a `docker` of the given kind on PATH, and nothing else there."""

    def install(kind: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        if kind != "absent":
            script = folder / "docker"
            script.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{DOCKERS[kind]}\n")
            script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(hook, "ANSWER_SECONDS", 1 if kind == "daemon wedged" else 20)

    return install


def run(monkeypatch: pytest.MonkeyPatch, validate: str, smoke_code: int = 0) -> int:
    answers = {"project_name": "Who leaves", "validate": validate, "_template": "x"}
    monkeypatch.setattr(hook, "ANSWERS", json.dumps(answers))
    monkeypatch.setenv("SMOKE_CODE", str(smoke_code))
    return hook.main()


# The structural check


def test_the_hook_knows_the_files_of_the_manifest() -> None:
    lines = (ROOT / "tests/manifest.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split(" ", 1)[1] for line in lines}
    outside = {name for name in names if not name.startswith(hook.RUNTIME)}
    assert set(hook.FILES) == outside | {"program/runtime/__init__.py"}  # make manifest


def test_a_tree_in_order_is_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in hook.project_files(root)}
    assert hook.restore_modes(list(before)) == []
    assert hook.structure_faults(root, list(before)) == []
    assert {path: path.stat().st_mtime_ns for path in hook.project_files(root)} == before


def test_missing_files_are_named_all_at_once(root: Path) -> None:
    (root / "program/train").unlink()
    (root / "Dockerfile").unlink()
    found = hook.structure_faults(root, hook.project_files(root))
    assert found == ["Dockerfile is missing", "program/train is missing"]


@needs_modes
def test_lost_modes_are_restored(root: Path) -> None:
    train = root / "program/train"
    train.chmod(0o644)
    assert hook.structure_faults(root, [train]) == ["program/train is not executable"]
    assert hook.restore_modes(hook.project_files(root)) == [train]
    assert os.access(train, os.X_OK)
    assert hook.restore_modes(hook.project_files(root)) == []


def test_the_users_own_files_are_neither_judged_nor_touched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {
        "queries/weekly.sql": b"select '{{ cookiecutter.x }}'\r\n{% if a %}b{% endif %}\r\n",
        "deploy/stack.yaml.j2": b"{% for name in names %}\n{% endfor %}\n",
        "program/theirs.py": b"print 'Python 2'\r\n",
        "run.sh": b"#!/bin/sh\r\n",
        "photo.png": b"\x89PNG\r\n\x1a\n\0",
        "theirs/__pycache__/x.pyc": b"\0",
    }
    for name, data in theirs.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        (root / name).chmod(0o644)
    assert run(monkeypatch, "none") == 0
    assert {name: (root / name).read_bytes() for name in theirs} == theirs
    assert not os.access(root / "run.sh", os.X_OK) or WINDOWS


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("README.md", "# {{ cookiecutter.project_name }}", "holds a template tag"),
        ("Makefile", "{% if x %}", "holds a template tag"),
        ("program/runtime/broken.py", "def f(:", "does not compile"),
        ("program/train", "#!/usr/bin/env python3\nimport", "does not compile"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(
    root: Path, name: str, text: str, fault: str
) -> None:
    (root / name).write_text(text)
    (line,) = hook.structure_faults(root, hook.project_files(root))
    assert line.startswith(f"{name} {fault}")


def test_expressions_of_workflows_are_no_tags(root: Path) -> None:
    (root / ".github/workflows/ci.yml").write_text("${{ cookiecutter.x }} {{ cookiecutter.y }}\n")
    assert hook.structure_faults(root, hook.project_files(root)) == []


def test_caches_of_the_templates_own_folders_are_removed(root: Path) -> None:
    for name in ("program/__pycache__", ".ruff_cache/0.1", ".venv/lib/__pycache__"):
        (root / name).mkdir(parents=True)
    hook.remove_caches(root)
    assert not (root / "program/__pycache__").exists()
    assert not (root / ".ruff_cache").exists()
    assert (root / ".venv/lib/__pycache__").exists()


def test_a_broken_tree_fails_before_any_validation(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "Dockerfile").unlink()
    assert run(monkeypatch, "local") == 1
    out, err = capfd.readouterr()
    assert "error: Dockerfile is missing" in err
    assert "smoke test:" not in out


# What is said


def test_the_answers_are_said_in_one_line_as_the_command_takes_them(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "none") == 0
    lines = capfd.readouterr().out.splitlines()
    assert "answers: 'project_name=Who leaves' validate=none" in lines


def test_the_next_step_enters_the_folder_from_anywhere(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = root.rename(tmp_path / "it's here")
    monkeypatch.chdir(moved)
    assert run(monkeypatch, "none") == 0
    (line,) = [text for text in capfd.readouterr().out.splitlines() if text.startswith("  cd ")]
    assert shlex.split(line) == ["cd", str(moved)]


@pytest.mark.parametrize("validate", ["auto", "docker", "local", "none"])
def test_a_rendering_that_cruft_only_compares_is_neither_proved_nor_announced(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], validate: str
) -> None:
    with tempfile.TemporaryDirectory() as place:
        project = Path(place, "churn")
        shutil.copytree(root, project)
        monkeypatch.chdir(project)
        before = sorted(project.rglob("*"))
        assert run(monkeypatch, validate) == 0
        assert sorted(project.rglob("*")) == before
        assert capfd.readouterr().out == ""
        # In the same place, but by the command itself: a user asked for a project there.
        answers = {"_output_dir": place, "validate": "none"}
        assert not hook.is_temporary(project, answers)
        monkeypatch.chdir(root)  # Windows removes no working folder


# The ladder


@needs_scripts
@pytest.mark.parametrize("kind", DOCKERS)
def test_docker_counts_only_when_its_daemon_answers(kind: str, docker) -> None:
    docker(kind)
    fault = hook.docker_fault()
    expected = {
        "answers": None,
        "daemon down": "the Docker daemon does not answer (Cannot connect to the Docker daemon)",
        "daemon wedged": "the Docker daemon did not answer within 1 s",
        "says nothing": "the Docker daemon does not answer (docker info failed)",
    }
    assert fault == expected[kind]


@needs_scripts
@pytest.mark.parametrize(
    ("validate", "kind", "smoke_code", "code", "ran", "line"),
    [
        ("none", "answers", 0, 0, None, "validate=none"),
        ("auto", "answers", 0, 0, "docker", None),
        ("auto", "answers", 1, 0, "docker", "step serve: no answer"),
        ("auto", "absent", 0, 0, "local", "the image, because docker is not on PATH (the"),
        ("auto", "absent", 1, 0, "local", "docker is not on PATH, and without it: step serve"),
        ("auto", "absent", 3, 0, "local", "docker is not on PATH, and without it: step serve"),
        ("auto", "daemon down", 0, 0, "local", "the image, because the Docker daemon does not"),
        ("docker", "answers", 0, 0, "docker", None),
        ("local", "absent", 0, 0, "local", None),
    ],
)
def test_the_ladder_keeps_the_project_and_says_what_was_not_validated(
    root: Path, monkeypatch, capfd, docker, validate, kind, smoke_code, code, ran, line
) -> None:
    docker(kind)
    assert run(monkeypatch, validate, smoke_code) == code
    out, err = capfd.readouterr()
    backends = [text.split()[-1] for text in out.splitlines() if text.startswith("smoke test:")]
    assert backends == ([ran] if ran else [])
    unproved = [text for text in out.splitlines() if text.startswith("NOT VALIDATED: ")]
    assert len(unproved) == (1 if line else 0)
    if line:
        assert unproved[0].startswith(f"NOT VALIDATED: {line}")
        assert unproved[0].endswith("; run python3 smoke_test.py")
    assert "next:" in out
    assert "error:" not in err


@needs_scripts
@pytest.mark.parametrize(
    ("validate", "kind", "smoke_code", "why"),
    [
        ("docker", "absent", 0, "docker is not on PATH"),
        ("docker", "daemon down", 0, "the Docker daemon does not answer"),
        ("docker", "answers", 1, "step serve: no answer"),
        ("local", "absent", 1, "step serve: no answer"),
        ("local", "absent", 3, "step serve: no answer"),
    ],
)
def test_a_validation_that_was_asked_for_fails_and_its_log_is_kept(
    root: Path, monkeypatch, capfd, docker, validate, kind, smoke_code, why
) -> None:
    docker(kind)
    assert run(monkeypatch, validate, smoke_code) == 1
    out, err = capfd.readouterr()
    assert f"error: validate={validate}: {why}" in err
    kept = root.parent / "churn-smoke-test.log"
    assert str(kept) in err
    assert f"error: {why}" in kept.read_text()
    assert "next:" not in out


def test_the_output_of_the_hook_comes_before_that_of_the_smoke_test(root: Path) -> None:
    text = (ROOT / "hooks/post_gen_project.py").read_text(encoding="utf-8")
    script = root.parent / "hook.py"
    script.write_text(
        text.replace("{{ cookiecutter | tojson }}", '{"validate": "local"}'), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "SMOKE_CODE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok:", "smoke test:"))]
    assert lines == [lines[0], "smoke test: --backend local"]
    assert lines[0] == f"ok: {len(hook.FILES)} files are in order"


def test_an_interrupted_smoke_test_keeps_the_project(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(backend: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(hook, "smoke_test", interrupt)
    monkeypatch.setattr(hook, "docker_fault", lambda: None)
    assert run(monkeypatch, "auto") == 0
    assert "NOT VALIDATED: interrupted; run python3 smoke_test.py" in capfd.readouterr().out
