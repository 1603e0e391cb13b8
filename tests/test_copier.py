"""copier.yml: the same questions as cookiecutter.json, the same refusals, the same projects."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment

from conftest import unavailable
from rendering import QUESTIONS, ROOT, choices, files_of, load_hook, render
from test_pre_hook import (
    BAD_COUNTS,
    BAD_REGIONS,
    BAD_SLUGS,
    GOOD,
    HARMLESS_TEXTS,
    HOSTILE_TEXTS,
    REGIONS,
)

COPIER = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
ASKED = [key for key in QUESTIONS if not key.startswith("_") and key != "validate"]
PROMPTS = QUESTIONS["__prompts__"]
ANSWERS_FILE = ".copier-answers.yml"
LISTS = [key for key in ASKED if isinstance(QUESTIONS[key], list)]
LONGEST_LIST = max(len(choices(key)) for key in LISTS)
# Every choice of every question at least once, with texts that look hostile and are not.
MATRIX = [
    {key: choices(key)[number % len(choices(key))] for key in LISTS}
    | dict.fromkeys(("project_name", "description", "full_name"), HARMLESS_TEXTS[number])
    | {"num_classes": str(number + 1), "project_slug": f"slug-{number}"}
    for number in range(LONGEST_LIST)
]
TRIED = {
    **dict.fromkeys(
        ("project_name", "description", "full_name"),
        (*HOSTILE_TEXTS.values(), *HARMLESS_TEXTS, "x" * 101, "x" * 200, "x" * 201),
    ),
    "num_classes": [*BAD_COUNTS, "1", "2", "10", "9999"],
    "project_slug": [*BAD_SLUGS, "a", "churn-model-2", "a" * 63],
    "aws_region": [*BAD_REGIONS, *REGIONS],
}


@pytest.fixture(scope="module")
def copier() -> Any:
    if find_spec("copier") is None:
        unavailable("copier is not installed: pip install -r requirements-dev.txt")
    import copier

    return copier


def labels(key: str) -> dict[str, str]:
    """Return the label of each choice, as cookiecutter.json has them."""
    prompts = PROMPTS[key] if isinstance(PROMPTS[key], dict) else {}
    return {prompts.get(choice, choice): choice for choice in choices(key)}


def test_the_questions_are_those_of_cookiecutter() -> None:
    questions = {key: value for key, value in COPIER.items() if key[0] != "_"}
    assert list(questions) == [*ASKED, "cookiecutter"]
    for key in ASKED:
        ours, question = QUESTIONS[key], questions[key]
        prompt = PROMPTS[key] if isinstance(PROMPTS[key], str) else PROMPTS[key]["__prompt__"]
        assert question["help"] == prompt
        if isinstance(ours, list):
            offered = question["choices"]
            assert labels(key) == (
                offered if isinstance(offered, dict) else {name: name for name in offered}
            )
            assert question["default"] == ours[0]
        elif key != "project_slug":
            assert question["default"] == ours


def test_the_owners_files_are_those_that_cruft_skips(project: Path) -> None:
    tools = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]
    assert COPIER["_skip_if_exists"] == tools["cruft"]["skip"]


@pytest.mark.parametrize("answers", MATRIX, ids=lambda answers: answers["base_image"])
def test_a_project_is_byte_for_byte_that_of_cookiecutter(
    copier: Any, template: Path, tmp_path: Path, answers: dict[str, str]
) -> None:
    theirs = render(template, tmp_path / "cookiecutter", hooks=False, **answers)
    ours = tmp_path / "copier"
    copier.run_copy(str(template), ours, data=answers, defaults=True, quiet=True)
    modes = files_of(ours)
    assert modes.pop(ANSWERS_FILE) == "644"
    assert modes == files_of(theirs)
    different = [n for n in modes if (ours / n).read_bytes() != (theirs / n).read_bytes()]
    assert different == []
    kept = yaml.safe_load((ours / ANSWERS_FILE).read_text("utf-8"))
    assert {key: value for key, value in kept.items() if key[0] != "_"} == {
        "aws_region": QUESTIONS["aws_region"],
        **answers,
    }


@pytest.mark.parametrize("key", TRIED)
@pytest.mark.usefixtures("copier")
def test_an_answer_is_refused_exactly_where_the_hook_refuses_it(template: Path, key: str) -> None:
    refuses = load_hook("pre_gen_project").faults
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(template),
        extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"],  # as copier has it
    )
    validator = environment.from_string(COPIER[key]["validator"])
    for answer in TRIED[key]:
        message = validator.render({key: answer})
        assert bool(message) == bool(refuses({**GOOD, key: answer})), ascii(answer)
        assert message.isprintable()


def test_a_refused_answer_stops_the_copy_and_leaves_nothing(
    copier: Any, template: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="num_classes"):
        copier.run_copy(
            str(template), tmp_path / "out", data={"num_classes": "two"}, defaults=True, quiet=True
        )
    assert not (tmp_path / "out").exists()
