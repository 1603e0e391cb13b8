"""Every class count, every format and every base image, as real containers.

Each one is what a user types: cookiecutter with validate=docker, which builds the image, trains on
real data, serves, and compares the answers with XGBoost's own. The combinations come from
cookiecutter.json. BASE_IMAGES names the bases to try (default: those that this machine has or can
pull), so that a workflow can give each of them a job.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from conftest import unavailable
from environment import locked
from rendering import DEFAULT_SLUG, QUESTIONS, ROOT, choices, render, run_cookiecutter, run_module

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("docker")]
DEFAULT_BASE, *OTHER_BASES = choices("base_image")
BASES = os.environ.get("BASE_IMAGES", " ".join(choices("base_image"))).split()
CLASS_COUNTS = ("1", "2", "3", "10")
FORMATS = choices("input_format")


def counts_of(base: str, input_format: str) -> tuple[str, ...]:
    """Return the class counts that a format is tried with: all with the first format, one with each
    other, in turn. tests/runtime/test_sample.py trains on every combination."""
    if base != DEFAULT_BASE:
        return ("2",) if input_format == FORMATS[0] else ()
    index = FORMATS.index(input_format)
    return CLASS_COUNTS if index == 0 else (CLASS_COUNTS[index % len(CLASS_COUNTS)],)


BY_BASE = [
    [(base, count, name) for name in FORMATS for count in counts_of(base, name)] for base in BASES
]
# One of each base image first: builds that run side by side share no layer.
COMBINATIONS = [
    pytest.param(*each, id="-".join(each))
    for together in zip_longest(*BY_BASE)
    for each in together
    if each
]
# Black box: they talk to the image as SageMaker and its clients do. The longest are first; each has
# its variables: the fuzz test looks at the memory after 4,000 requests.
SUITES = [
    pytest.param("test_deploy_sdk.py", {}, id="the SDK in local mode"),
    pytest.param("test_framework_sdk.py", {}, id="the SDK's framework classes"),
    pytest.param("test_training_hosts.py", {}, id="several hosts"),
    pytest.param("test_serving_models.py", {}, id="several models"),
    pytest.param("test_differential.py", {}, id="the built-in algorithm"),
    pytest.param("test_framework_serving.py", {}, id="framework mode"),
    pytest.param("test_deploy_pipeline.py", {}, id="pipeline"),
    pytest.param("test_serving_contract.py", {}, id="contract"),
    pytest.param("test_serving_contract.py", {"CONTRACT_OPTIONS": "--user=1000"}, id="user 1000"),
    pytest.param("test_serving_selected.py", {}, id="selected outputs"),
    pytest.param("test_serving_life.py", {}, id="life", marks=pytest.mark.timed),
    pytest.param("test_serving_fuzz.py", {"FUZZ_REQUESTS": "6000"}, id="fuzz"),
    pytest.param("test_deploy_lambda.py", {}, id="the Lambda client"),
]
LARGEST_MB = {"": 340, "parquet": 480}  # above the base image, by the extra format
PACKAGES = (
    "du -sm /opt/venv/lib/*.so.* /opt/venv/lib/python3*/site-packages/* | sort -rn | head -n 12"
)
ABSENT = "localhost:9/no/such-image:0"


def run_docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def need_image(base: str) -> None:
    """Skip what cannot be pulled: Amazon Linux and Ubuntu without their registry."""
    name = QUESTIONS["_images"][base]
    if run_docker("image", "inspect", name).returncode != 0:
        done = run_docker("pull", "-q", name)
        if done.returncode != 0:
            message = f"{name} is not here and cannot be pulled: {done.stderr.strip()[-150:]}"
            if base in ("ubuntu", "amazonlinux") and "BASE_IMAGES" not in os.environ:
                pytest.skip(message)  # test_dockerfile.py covers their branches
            unavailable(message)


def prepare(template: Path, folder: Path, base: str) -> None:
    """Build the packages on a base image once: what waits for them takes the layers."""
    need_image(base)
    with locked(ROOT / "build" / f"packages-{base}.lock"):
        project = render(template, folder / "packages", base_image=base)
        tag = f"template-tests:packages-{base}"
        build(project, tag, "--target", "packages")
        remove(tag)


def remove(tag: str) -> None:
    """Remove an image, but not the layers that a build beside this one may just be taking over."""
    run_docker("image", "rm", "-f", "--no-prune", tag)


@pytest.mark.parametrize(("base", "count", "input_format"), COMBINATIONS)
def test_a_container_trains_and_serves(
    template: Path, tmp_path: Path, base: str, count: str, input_format: str
) -> None:
    prepare(template, tmp_path, base)
    slug = f"tests-{base}-{count}-{input_format}"  # names the image: these run side by side
    answers = (f"num_classes={count}", f"input_format={input_format}", f"base_image={base}")
    arguments = ("--keep-project-on-failure", f"project_slug={slug}", *answers, "validate=docker")
    done = run_cookiecutter(template, tmp_path / "out", *arguments)
    remove(f"{slug}:latest")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "NOT VALIDATED" not in done.stdout
    assert (tmp_path / "out" / slug / "smoke-test.log").is_file()


def with_absent_base(template: Path, target: Path) -> Path:
    shutil.copytree(template, target)
    questions = {**QUESTIONS, "_images": dict.fromkeys(QUESTIONS["_images"], ABSENT)}
    (target / "cookiecutter.json").write_text(json.dumps(questions))
    return target


def test_a_base_image_that_does_not_exist_keeps_the_project(template: Path, tmp_path: Path) -> None:
    broken = with_absent_base(template, tmp_path / "template")
    done = run_cookiecutter(broken, tmp_path / "out", "validate=auto")
    assert done.returncode == 0, done.stderr
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("NOT VALIDATED: ")]
    assert "build" in line
    project = tmp_path / "out" / DEFAULT_SLUG
    assert (project / "Dockerfile").is_file()
    assert ABSENT in (project / "smoke-test.log").read_text("utf-8")


def test_a_base_image_that_does_not_exist_fails_where_docker_was_asked_for(
    template: Path, tmp_path: Path
) -> None:
    broken = with_absent_base(template, tmp_path / "template")
    done = run_cookiecutter(broken, tmp_path / "out", "validate=docker")
    assert done.returncode == 1
    assert "error: validate=docker: " in done.stderr
    log = tmp_path / "out" / f"{DEFAULT_SLUG}-smoke-test.log"
    assert f"note: the log is kept: {log}" in done.stderr
    assert ABSENT in log.read_text("utf-8")


def build(project: Path, tag: str, *arguments: str) -> None:
    done = run_docker("build", *arguments, "-t", tag, str(project))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def python_of(tag: str) -> str:
    return run_docker("run", "--rm", tag, "python", "-c", "import sys; print(sys.version)").stdout


def test_the_base_image_given_at_build_time_is_honoured(
    template: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for base in (DEFAULT_BASE, "python-bookworm"):
        prepare(template, tmp_path / base, base)
    project = render(template, tmp_path / "out", base_image=DEFAULT_BASE)
    tag = "template-tests:base-image"
    request.addfinalizer(lambda: remove(tag))
    build(project, tag)
    assert python_of(tag).startswith("3.13.")
    build(project, tag, "--build-arg", f"BASE_IMAGE={QUESTIONS['_images']['python-bookworm']}")
    assert python_of(tag).startswith("3.11.")


def test_lost_modes_and_crlf_in_a_checkout_of_the_project_do_not_reach_the_image(
    template: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    prepare(template, tmp_path, DEFAULT_BASE)
    project = render(template, tmp_path / "out")
    for path in (project / "program").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
            path.chmod(0o644)
    tag = "template-tests:crlf"
    request.addfinalizer(lambda: remove(tag))
    build(project, tag)
    done = run_docker("run", "--rm", "--network", "none", tag, "train")
    assert done.returncode != 0
    assert "UserError: " in done.stdout  # it started, and misses its hyperparameters


@pytest.fixture(scope="module")
def built(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A project with the default answers, and the tag of its image."""
    folder = tmp_path_factory.mktemp("built")
    prepare(template, folder, DEFAULT_BASE)
    project = render(template, folder / "out")
    tag = f"template-tests:built-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
    build(project, tag)
    yield project, tag
    remove(tag)


@pytest.mark.parametrize(("suite", "variables"), SUITES)
def test_a_suite_of_the_runtime_holds_against_a_container(
    template: Path,
    project_python: Path,
    built: tuple[Path, str],
    suite: str,
    variables: dict[str, str],
) -> None:
    project, tag = built
    variables = {**variables, "PROJECT_FOLDER": str(project), "CONTRACT_IMAGE": tag}
    run_module(project_python, template / "tests/runtime", "pytest", suite, **variables)


def size_of(tag: str) -> float:
    """Return the megabytes of an image."""
    return int(run_docker("image", "inspect", "--format", "{{.Size}}", tag).stdout) / 1e6


@pytest.mark.parametrize("formats", LARGEST_MB)
def test_an_image_stays_small(
    built: tuple[Path, str], formats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tag = built[0], f"{built[1]}-sized"  # the suites test the other one
    build(project, tag, "--build-arg", f"FORMATS={formats}")
    above = size_of(tag) - size_of(QUESTIONS["_images"][DEFAULT_BASE])
    packages = run_docker("run", "--rm", tag, "sh", "-c", PACKAGES).stdout
    remove(tag)
    with capsys.disabled():
        print(f"\n{above:.0f} MB above the base image with formats {formats!r}, in MB:\n{packages}")
    assert 0 < above <= LARGEST_MB[formats]
