"""A template that came as a zip file, through a CRLF checkout or from a used working tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from rendering import DEFAULT_SLUG, PROJECT, WINDOWS, files_of, run_cookiecutter

pytestmark = pytest.mark.skipif(WINDOWS, reason="Windows keeps no executable bits")


def starts(project: Path, name: str, tmp_path: Path) -> bool:
    """Execute `train` or `serve` as a container does: by its name, found on PATH.

    A stand-in for python3 answers, so that only the file itself is tried: its mode, and a first
    line that names `python3`, not `python3\\r`.
    """
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir(exist_ok=True)
    python.write_text('#!/bin/sh\necho "started $1"\n')
    python.chmod(0o755)
    path = os.pathsep.join([str(project / "program"), str(python.parent)])
    done = subprocess.run(
        ["/usr/bin/env", name], env={"PATH": path}, capture_output=True, text=True, check=False
    )
    return done.stdout == f"started {project / 'program' / name}\n"


def render_checked(template: Path, tmp_path: Path) -> tuple[Path, str]:
    done = run_cookiecutter(template, tmp_path / "out", "validate=none")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out" / DEFAULT_SLUG, done.stdout


def assert_same(project: Path, other: Path) -> None:
    assert files_of(other) == files_of(project)
    different = [
        n for n in files_of(project) if (other / n).read_bytes() != (project / n).read_bytes()
    ]
    assert different == []


def with_crlf(template: Path, target: Path) -> Path:
    """Copy the template as git checks it out on Windows without .gitattributes."""
    shutil.copytree(template, target)
    for path in target.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return target


def test_a_clone_renders_programs_that_start(project: Path, tmp_path: Path) -> None:
    assert starts(project, "train", tmp_path)
    assert starts(project, "serve", tmp_path)


def test_the_check_sees_what_it_is_for(project: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(project / "program", broken / "program")
    (broken / "program/train").chmod(0o644)
    serve = broken / "program/serve"
    serve.write_bytes(serve.read_bytes().replace(b"\n", b"\r\n"))
    assert not starts(broken, "train", tmp_path)
    assert not starts(broken, "serve", tmp_path)


def test_a_zip_download_renders_the_same_project(
    template: Path, project: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "template-main.zip"
    with zipfile.ZipFile(archive, "w") as zipped:  # GitHub's layout, and no modes
        zipped.writestr("template-main/", b"")
        for path in sorted(template.rglob("*")):
            name = f"template-main/{path.relative_to(template).as_posix()}"
            zipped.writestr(
                f"{name}/" if path.is_dir() else name, b"" if path.is_dir() else path.read_bytes()
            )
    other, output = render_checked(archive, tmp_path)
    assert "note: made 3 scripts executable again" in output
    assert starts(other, "train", tmp_path)
    assert starts(other, "serve", tmp_path)
    assert_same(project, other)


def test_a_crlf_checkout_renders_the_same_project(
    template: Path, project: Path, tmp_path: Path
) -> None:
    other, _ = render_checked(with_crlf(template, tmp_path / "crlf"), tmp_path)
    assert starts(other, "train", tmp_path)
    assert_same(project, other)


def test_a_crlf_checkout_is_rendered_with_lf_even_without_hooks(
    template: Path, tmp_path: Path
) -> None:
    crlf = with_crlf(template, tmp_path / "crlf")
    done = run_cookiecutter(crlf, tmp_path / "out", "--accept-hooks", "no")
    assert done.returncode == 0, done.stderr
    assert starts(tmp_path / "out" / DEFAULT_SLUG, "train", tmp_path)


def test_what_tools_leave_in_a_working_tree_reaches_no_project(
    template: Path, project: Path, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    shutil.copytree(template, used)
    for folder in ("program/__pycache__", ".mypy_cache/3.11", ".ruff_cache", "tests/.pytest_cache"):
        (used / PROJECT / folder).mkdir(parents=True)
        (used / PROJECT / folder / "x.pyc").write_bytes(b"\xff\0{{ nothing }}")
        (used / PROJECT / folder / "x.json").write_text('{"tag": "{{ nothing }}"}')
    other, _ = render_checked(used, tmp_path)
    assert_same(project, other)
