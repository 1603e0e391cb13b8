"""Check the answers before anything is rendered, and report every fault at once.

Standard library only, Python 3.9 and up: a hook runs in the interpreter of cookiecutter. The
answers arrive as JSON inside a raw string, so that none of them can become code; the rest of the
file is a raw block, so that it can be imported and tested as it stands.
"""

import difflib
import json
import os
import re
import sys
from pathlib import Path

ANSWERS = r"""{{ cookiecutter | tojson }}"""

# {% raw %}
# One hyphen at a time: Docker and SageMaker take more, ECR repositories do not.
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
COUNT = re.compile(r"[1-9][0-9]{0,3}")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}")  # also us-gov-west-1, eusc-de-east-1
LONGEST_SLUG = 63  # of an endpoint's name
LONGEST_TEXT = {"project_name": 100, "description": 200, "full_name": 100}
CHOICES = {
    "input_format": ("csv", "libsvm", "parquet", "recordio-protobuf", "jsonlines"),
    "base_image": ("python-slim", "python-bookworm", "debian", "ubuntu", "amazonlinux"),
    "license": ("Apache-2.0", "MIT", "BSD-3-Clause", "Proprietary"),
    "validate": ("auto", "docker", "local", "none"),
}


def text_fault(value, longest):
    """Say what keeps `value` from standing in a README and between quotes in TOML, or None."""
    if not value.strip():
        return "is empty"
    if len(value) > longest:
        return f"has {len(value)} characters"
    if value != value.strip():
        return "begins or ends with a space"
    if not value.isprintable():
        return "holds a line break or a control character"
    if '"' in value or "\\" in value:
        return "holds a double quote or a backslash"
    if re.search(r"\{[{%#]", value):
        return "holds the beginning of a template tag"
    return None


def check_text(key, answer):
    """Return the fault of a free text in one line, or None."""
    longest = LONGEST_TEXT[key]
    fault = text_fault(answer, longest)
    form = f"one line of 1 to {longest} characters without double quotes, backslashes and tags"
    return f"{key} {fault}; accepted: {form}" if fault else None


def check_slug(answer):
    """Return the fault of the slug, which names a folder, an image and an endpoint, or None."""
    if SLUG.fullmatch(answer) and len(answer) <= LONGEST_SLUG:
        return None
    form = f"1 to {LONGEST_SLUG} of a-z and 0-9, in words joined by single hyphens"
    return f"project_slug {shown(answer)}; accepted: {form}, such as churn-model"


def check_count(answer):
    """Return the fault of the number of classes, or None."""
    if COUNT.fullmatch(answer):
        return None
    form = "a whole number from 1 to 9999: 1 = regression, 2 = binary, 3 and more = classes"
    return f"num_classes {shown(answer)}; accepted: {form}"


def check_region(answer):
    """Return the fault of the region's form, or None. Which regions exist is for AWS to say."""
    if REGION.fullmatch(answer):
        return None
    return f"aws_region {shown(answer)}; accepted: the code of a region, such as us-east-1"


def check_choice(key, answer):
    """Return the fault of a choice, or None. Cookiecutter checks too, but cruft may not."""
    if answer in CHOICES[key]:
        return None
    return f"{key} {shown(answer)}; accepted: {', '.join(CHOICES[key])}"


def shown(answer, longest=60):
    """Return an answer as it can be printed anywhere: quoted, ASCII, on one line, not too long."""
    text = ascii(answer)
    return f"is {text}" if len(text) <= longest else f"is {text[:longest]}... ({len(answer)} long)"


def faults(answers):
    """Return every fault of the answers, one per line, in the order of the questions."""
    text = {key: str(answers.get(key, "")) for key in [*LONGEST_TEXT, *CHOICES]}
    found = [
        check_text("project_name", text["project_name"]),
        check_slug(str(answers.get("project_slug", ""))),
        check_text("description", text["description"]),
        check_text("full_name", text["full_name"]),
        check_count(str(answers.get("num_classes", ""))),
        check_choice("input_format", text["input_format"]),
        check_choice("base_image", text["base_image"]),
        check_region(str(answers.get("aws_region", ""))),
        check_choice("license", text["license"]),
        check_choice("validate", text["validate"]),
    ]
    return [fault for fault in found if fault]


def command_line():
    """Return the words of the cookiecutter command that runs this hook, where /proc tells them."""
    try:
        text = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    words = text.split("\0")
    is_cookiecutter = any(Path(word).name.startswith("cookiecutter") for word in words[:3])
    return words if is_cookiecutter else []


def unknown_answers(answers, words):
    """Return a line per KEY=VALUE of the command that no question asks for.

    Cookiecutter drops such a key without a word, and does not tell the hooks.
    """
    questions = [key for key in answers if not key.startswith("_")]
    given = [match[1] for match in (re.match(r"([A-Za-z]\w*)=", word) for word in words) if match]
    lines = []
    for key in given:
        if key not in questions:
            near = difflib.get_close_matches(key, questions, n=1)
            hint = f"did you mean {near[0]}?" if near else f"questions: {', '.join(questions)}"
            lines.append(f"{key} is not a question of this template and is ignored; {hint}")
    return lines


def main():
    """Print the faults; 1 when there is one, so that cookiecutter stops and removes the folder."""
    answers = json.loads(ANSWERS)
    for line in unknown_answers(answers, command_line()):
        print(f"warning: {line}", file=sys.stderr)
    found = faults(answers)
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    if found:
        print("note: nothing was generated; run again with other answers", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
# {% endraw %}
