"""What comes out: which files, with which modes, and nothing of the template left in them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cookiecutter.environment import StrictEnvironment
from cookiecutter.exceptions import FailedHookException

from rendering import (
    DEFAULT_SLUG,
    PROJECT,
    QUESTIONS,
    ROOT,
    WINDOWS,
    choices,
    files_of,
    render,
    run_cookiecutter,
    tracked_files,
)
from test_pre_hook import HARMLESS_TEXTS

MANIFEST = (ROOT / "tests/manifest.txt").read_text(encoding="utf-8").splitlines()
ANSWERS_FILE = "{% if _copier_conf is defined %}{{ _copier_conf.answers_file }}{% endif %}"
TAGGED = {
    ".github/workflows/ci.yml",
    ANSWERS_FILE,  # which cookiecutter leaves out, because its name comes out empty
    "Dockerfile",
    "LICENSE",
    "README.md",
    "program/settings.py",
    "pyproject.toml",
    "requirements.in",
}
TAG = re.compile(r"\{\{|\{%|\{#")
RAW = ("{% raw -%}\n", "{%- endraw %}\n")  # around workflows, whose own tags look like Jinja's
WORKFLOWS = ".github/workflows/"
TEXT_ANSWERS = ("project_name", "description", "full_name")


def template_files() -> dict[str, str]:
    """Return the text of every file of the project's tree in the template, by its path."""
    inside = [name for name in tracked_files() if name.startswith(f"{PROJECT}/")]
    return {
        name.removeprefix(f"{PROJECT}/"): (ROOT / name).read_text(encoding="utf-8")
        for name in inside
    }


def settings_of(project: Path) -> dict[str, str]:
    """Load the rendered settings in a fresh process, without any variable set."""
    code = """import json, settings
chosen = settings.load({})
print(json.dumps([settings.PROJECT, chosen.num_classes, chosen.input_format]))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=project / "program",
        capture_output=True,
        text=True,
        check=True,
    )
    name, num_classes, input_format = json.loads(done.stdout)
    return {"project_slug": name, "num_classes": str(num_classes), "input_format": input_format}


def test_a_project_has_exactly_the_files_of_the_manifest(project: Path) -> None:
    rendered = files_of(project)
    expected = {name: mode for mode, name in (line.split(" ", 1) for line in MANIFEST)}
    if WINDOWS:
        assert sorted(rendered) == sorted(expected)
    else:
        assert rendered == expected


@pytest.mark.parametrize("input_format", choices("input_format"))
@pytest.mark.parametrize("num_classes", ["1", "10"])
def test_every_answer_renders_the_same_program_with_other_settings(
    template: Path, project: Path, tmp_path: Path, num_classes: str, input_format: str
) -> None:
    answers = {"num_classes": num_classes, "input_format": input_format, "project_slug": "other"}
    other = render(template, tmp_path / "out", hooks=False, **answers)
    assert settings_of(other) == answers
    changed = {
        name
        for name in files_of(project)
        if (other / name).read_bytes() != (project / name).read_bytes()
    }
    assert changed <= TAGGED
    assert set(files_of(other)) == set(files_of(project))


def test_template_tags_stand_only_where_the_design_allows_them() -> None:
    tagged = {name for name, text in template_files().items() if TAG.search(text)}
    assert tagged <= TAGGED


def test_tags_are_plain_expressions_of_known_answers() -> None:
    tag = re.compile(r"\{\{ cookiecutter\.(\w+)(\[cookiecutter\.base_image\])? \}\}")
    for name, text in template_files().items():
        if name == "LICENSE":
            folders = ("licenses/", "templates/licenses/")  # cookiecutter's name, and copier's
            places = ", ".join(f'"{folder}" ~ cookiecutter.license' for folder in folders)
            assert text.strip() == f"{{% include [{places}] %}}"
        elif name == ANSWERS_FILE:
            assert text.endswith("\n{{ _copier_answers | to_nice_yaml -}}\n")
        elif name.startswith(WORKFLOWS):
            assert text.startswith(RAW[0])
            assert text.endswith(RAW[1])
        elif name in TAGGED:
            assert {key for key, _ in tag.findall(text)} <= set(QUESTIONS), name
            assert not TAG.search(tag.sub("", text)), name


def test_the_only_tagged_python_file_has_its_tags_inside_string_literals() -> None:
    tree = ast.parse(template_files()["program/settings.py"])
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    tags = [text for text in strings if isinstance(text, str) and "{{" in text]
    assert sorted(tags) == [
        "{{ cookiecutter.input_format }}",
        "{{ cookiecutter.num_classes }}",
        "{{ cookiecutter.project_slug }}",
    ]


def test_no_tag_is_left(project: Path) -> None:
    left = [
        name
        for name in files_of(project)
        if not name.startswith(WORKFLOWS) and TAG.search((project / name).read_text("utf-8"))
    ]
    assert left == []


def test_workflows_keep_their_own_expressions(project: Path) -> None:
    workflows = [name for name in template_files() if name.startswith(WORKFLOWS)]
    assert workflows
    for name in workflows:
        text = template_files()[name].removeprefix(RAW[0]).removesuffix(RAW[1])
        assert (project / name).read_text("utf-8") == text
        assert "${{ " in text


def test_every_file_ends_with_one_newline_and_has_no_trailing_space(project: Path) -> None:
    faults = []
    for name in files_of(project):
        text = (project / name).read_bytes()
        if not text:
            continue
        if not text.endswith(b"\n") or text.endswith(b"\n\n"):
            faults.append(f"{name}: end of file")
        if b"\r" in text or re.search(rb"[ \t]\n", text):
            faults.append(f"{name}: line endings or trailing space")
    assert faults == []


def test_every_hostile_looking_but_allowed_text_stays_text(template: Path, tmp_path: Path) -> None:
    for number, text in enumerate(HARMLESS_TEXTS):
        answers = {**dict.fromkeys(TEXT_ANSWERS, text), "license": "MIT", "project_slug": "text"}
        project = render(template, tmp_path / str(number), **answers)
        metadata = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
        assert metadata["description"] == text
        assert f"Copyright (c) {text}\n" in (project / "LICENSE").read_text("utf-8")
        assert text in (project / "README.md").read_text("utf-8")
        assert settings_of(project)["num_classes"] == "2"


@pytest.mark.parametrize("name", choices("license"))
def test_each_license_is_whole_and_names_its_holder(
    template: Path, tmp_path: Path, name: str
) -> None:
    answers = {"license": name, "full_name": "Zoë O'Brien"}
    text = (render(template, tmp_path / "out", hooks=False, **answers) / "LICENSE").read_text(
        "utf-8"
    )
    first = {
        "Apache-2.0": "Apache License",
        "MIT": "MIT License",
        "BSD-3-Clause": "BSD 3-Clause License",
        "Proprietary": "Copyright (c) Zoë O'Brien. All rights reserved.",
    }
    assert text.splitlines()[0].strip() == first[name]
    assert text.count("Zoë O'Brien") == 1


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Churn Model 2", "churn-model-2"),
        ("Müller & Söhne: Prognose", "muller-sohne-prognose"),
        ("x" * 100, "x" * 63),
        ("a" * 62 + " b", "a" * 62),
    ],
)
def test_the_slug_is_derived_from_the_name(name: str, slug: str) -> None:
    environment = StrictEnvironment(context={"cookiecutter": QUESTIONS})
    derived = environment.from_string(QUESTIONS["project_slug"])
    assert derived.render(cookiecutter={"project_name": name}) == slug


@pytest.mark.parametrize("base_image", choices("base_image"))
def test_the_dockerfile_names_the_base_image_of_the_answer(
    template: Path, tmp_path: Path, base_image: str
) -> None:
    project = render(template, tmp_path / "out", hooks=False, base_image=base_image)
    text = (project / "Dockerfile").read_text("utf-8")
    assert f"ARG BASE_IMAGE={QUESTIONS['_images'][base_image]}\n" in text
    assert "FROM ${BASE_IMAGE}" in text


# Through cookiecutter itself


def test_bad_answers_stop_the_generation_and_leave_nothing(
    template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = {
        "description": 'x"; import os; open("pwned", "w"); y="',
        "full_name": "two\nlines",
        "num_classes": "two",
        "aws_region": "mars",
        "project_slug": "Bad_Slug",
    }
    with pytest.raises(FailedHookException):
        render(template, tmp_path / "out", **answers)
    err = capfd.readouterr().err
    named = [line.split()[1] for line in err.splitlines() if line.startswith("error: ")]
    assert named == [key for key in QUESTIONS if key in answers]
    assert list((tmp_path / "out").iterdir()) == []
    assert list(tmp_path.rglob("pwned")) == []


@pytest.mark.skipif(WINDOWS, reason="Windows does not say what a child process used")
def test_the_command_renders_within_its_time(template: Path, tmp_path: Path) -> None:
    # Processor time, the least of three: one process after the other is all that a rendering is,
    # about a second; of two that share a core each takes nearly twice as long.
    times = []
    for number in range(3):
        before = os.times()
        done = run_cookiecutter(template, tmp_path / str(number), "validate=none")
        after = os.times()
        times.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
        assert done.returncode == 0, done.stderr
        assert "NOT VALIDATED: validate=none" in done.stdout
        assert (tmp_path / str(number) / DEFAULT_SLUG / "program/train").is_file()
    assert 0.1 < min(times) < 3


def test_generating_over_a_project_again_changes_nothing(template: Path, tmp_path: Path) -> None:
    first = run_cookiecutter(template, tmp_path / "out", "validate=none")
    project = tmp_path / "out" / DEFAULT_SLUG
    theirs = {"notes.txt": "kept\r\n", "deploy/stack.yaml.j2": "{% if a %}\r\n{% endif %}\n"}
    for name, text in theirs.items():
        (project / name).write_bytes(text.encode())
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    again = run_cookiecutter(template, tmp_path / "out", "validate=none", "--overwrite-if-exists")
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_unknown_answers_reach_no_file_and_are_named(
    template: Path, project: Path, tmp_path: Path
) -> None:
    unknown = ('evil="; import os; "', "num_clases=3")
    done = run_cookiecutter(template, tmp_path / "out", "validate=none", *unknown)
    assert done.returncode == 0, done.stderr
    named = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert named == (["evil", "num_clases"] if sys.platform == "linux" else [])
    other = tmp_path / "out" / DEFAULT_SLUG
    assert files_of(other) == files_of(project)
    assert all((other / n).read_bytes() == (project / n).read_bytes() for n in files_of(project))
