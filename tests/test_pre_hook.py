"""pre_gen_project: which answers pass, which do not, and what is said about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rendering import QUESTIONS, choices, load_hook

hook = load_hook("pre_gen_project")
GOOD = {
    "project_name": "Churn",
    "project_slug": "churn",
    "description": "Who leaves next month",
    "full_name": "Zoë O'Brien",
    "num_classes": "2",
    "input_format": "csv",
    "base_image": "python-slim",
    "aws_region": "us-east-1",
    "license": "MIT",
    "validate": "none",
}
HOSTILE_TEXTS = {
    "double quote": 'x"; import os; os.system("id"); "',
    "triple quote": 'x"""; import os; """',
    "backslash": "C:\\new\\table",
    "trailing backslash": "end\\",
    "newline": "one\ntwo",
    "carriage return": "one\rtwo",
    "tab": "one\ttwo",
    "control character": "bell\x07",
    "escape sequence": "\x1b[31mred",
    "nul": "a\0b",
    "line separator": "one\u2028two",
    "text direction": "abc\u202edcba",
    "lone surrogate": "a\udc80b",
    "expression": "{{ cookiecutter.license }}",
    "statement": "{% raw %}",
    "comment": "{# gone",
    "nothing": "",
    "only a space": " ",
    "space at the end": "name ",
    "very long": "x" * 5000,
}
HARMLESS_TEXTS = [
    "it's 100 % <b>plain</b> & `simple`",
    "$HOME $(id) ${PATH} #hash ; rm -rf / | cat",
    "naïve façade, 模型, модель, 🚀",
    "%s {} {0} { a: b } }} %}",
    "x" * 100,
]
BAD_COUNTS = ["0", "-1", "1.5", "two", "", " 2", "2 ", "02", "1e3", "+2", "٣", "²", "10000", "2\n"]
BAD_SLUGS = [
    "",
    "-a",
    "a-",
    "a--b",
    "A",
    "a_b",
    "a.b",
    "a b",
    "a/b",
    "../a",
    "a\n",
    "é",
    "a" * 64,
    'a";x',
]
BAD_REGIONS = ["", "us-east", "us_east_1", "US-EAST-1", "us-east-1a", "us-east-1\n", "mars", "-1"]
REGIONS = ["us-east-1", "ap-southeast-5", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"]


def faults(**answers: Any) -> list[str]:
    return hook.faults({**GOOD, **answers})


def test_good_answers_pass() -> None:
    assert hook.faults(GOOD) == []


@pytest.mark.parametrize("key", ["project_name", "description", "full_name"])
@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_hostile_text_is_refused_in_one_printable_line(key: str, text: str) -> None:
    (fault,) = faults(**{key: text})
    assert fault.startswith(f"{key} ")
    assert "accepted: " in fault
    assert fault.isprintable()
    assert len(fault) < 250


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_harmless_text_passes(text: str) -> None:
    assert faults(project_name=text, description=text, full_name=text) == []


@pytest.mark.parametrize("count", ["1", "2", "3", "10", "9999", 3])
def test_whole_numbers_from_1_are_class_counts(count: str | int) -> None:
    assert faults(num_classes=count) == []


@pytest.mark.parametrize("count", BAD_COUNTS)
def test_other_class_counts_are_refused(count: str) -> None:
    (fault,) = faults(num_classes=count)
    assert fault.startswith(f"num_classes is {count!a}; accepted: a whole number from 1")


@pytest.mark.parametrize("slug", ["a", "7", "churn-model-2", "a" * 63])
def test_slugs_that_name_an_image_and_an_endpoint_pass(slug: str) -> None:
    assert faults(project_slug=slug) == []


@pytest.mark.parametrize("slug", BAD_SLUGS)
def test_other_slugs_are_refused(slug: str) -> None:
    (fault,) = faults(project_slug=slug)
    assert fault.startswith("project_slug is ")
    assert "accepted: 1 to 63" in fault


@pytest.mark.parametrize("region", REGIONS)
def test_codes_of_regions_pass(region: str) -> None:
    assert faults(aws_region=region) == []


@pytest.mark.parametrize("region", BAD_REGIONS)
def test_other_regions_are_refused(region: str) -> None:
    (fault,) = faults(aws_region=region)
    assert fault.startswith("aws_region is ")
    assert "us-east-1" in fault


@pytest.mark.parametrize("key", hook.CHOICES)
def test_a_choice_that_is_not_offered_is_refused(key: str) -> None:
    (fault,) = faults(**{key: 'csv"; import os; "'})
    assert fault.startswith(f"{key} is ")
    assert choices(key)[-1] in fault


def test_the_hook_knows_the_choices_of_the_questions() -> None:
    lists = {key: tuple(value) for key, value in QUESTIONS.items() if isinstance(value, list)}
    assert {key: value for key, value in lists.items() if key[0] != "_"} == hook.CHOICES


def test_all_faults_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = dict.fromkeys(GOOD, "\\")
    monkeypatch.setattr(hook, "ANSWERS", json.dumps(answers))
    assert hook.main() == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("error: ")] == list(GOOD)
    assert lines[-1].startswith("note: ")


def test_answers_that_are_absent_are_reported_and_do_not_crash() -> None:
    assert [fault.split()[0] for fault in hook.faults({})] == list(GOOD)


def test_good_answers_exit_0_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hook, "ANSWERS", json.dumps(GOOD))
    assert hook.main() == 0
    assert capsys.readouterr() == ("", "")


COMMAND = ["python3", "-m", "cookiecutter", "--no-input", "gh:example/template"]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("num_clases=3", "num_clases is not a question of this template and is ignored; did you"),
        ("evil=x", "evil is not a question of this template and is ignored; questions: project_"),
        ("num_classes=3", None),
        ("https://example.com/?a=b", None),
    ],
)
def test_an_answer_to_no_question_is_named(word: str, line: str | None) -> None:
    found = hook.unknown_answers({**GOOD, "_template": "x"}, [*COMMAND, word])
    assert [text[: len(line or "")] for text in found] == ([line] if line else [])
