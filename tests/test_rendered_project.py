"""What a rendered project checks and tests itself, and how it is validated without Docker.

The unrendered tree, types and the runtime have layers of their own: make lint, make test-runtime.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from rendering import (
    DEFAULT_SLUG,
    PROJECT,
    WINDOWS,
    files_of,
    render,
    run_cookiecutter,
    run_module,
)

pytestmark = [
    pytest.mark.rendered,
    pytest.mark.skipif(WINDOWS, reason="the programs of a container run on Linux and macOS"),
]
# One for every kind of objective; every format and class count meets in test_container.py.
ANSWERS = {
    "defaults": {},
    "regression on libsvm": {"num_classes": "1", "input_format": "libsvm"},
    "ten classes in recordio": {"num_classes": "10", "input_format": "recordio-protobuf"},
}
# What depends on the answers; the rest of the runtime is the same code in every rendering.
SUITES_OF_ANSWERS = ("test_settings.py", "test_readme.py")
CHECKS = {
    "lint": ["ruff", "check", "--no-cache"],
    "format": ["ruff", "format", "--check", "--no-cache"],
}


# Those of one project on one process: it is compiled once.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ANSWERS],
)
def rendered(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("rendered") / "out"
    return render(template, folder, hooks=False, **ANSWERS[request.param])


@pytest.mark.parametrize("check", CHECKS)
def test_a_project_passes_its_checks_as_rendered(
    project_python: Path, rendered: Path, check: str
) -> None:
    before = {name: (rendered / name).read_bytes() for name in files_of(rendered)}
    run_module(project_python, rendered, *CHECKS[check])
    assert {name: (rendered / name).read_bytes() for name in files_of(rendered)} == before


def test_a_project_passes_its_tests_as_rendered(project_python: Path, rendered: Path) -> None:
    last = run_module(project_python, rendered, "pytest", "-p", "no:cacheprovider")
    assert " passed" in last


def test_the_runtime_of_a_project_passes_tests_that_meet_its_answers(
    project_python: Path, template: Path, rendered: Path
) -> None:
    # Their fixtures, and the XGBoost that these import, serve the other suites.
    arguments = ("pytest", "-p", "no:cacheprovider", "--noconftest", *SUITES_OF_ANSWERS)
    variables = {"PROJECT_FOLDER": str(rendered), "PYTHONPATH": str(rendered / "program")}
    last = run_module(project_python, template / "tests/runtime", *arguments, **variables)
    assert " passed" in last


def path_without_docker(folder: Path) -> str:
    """Return a PATH with everything that this one has, but no container engine."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / tool.name
            if tool.name not in {"docker", "podman"} and not link.is_symlink():
                link.symlink_to(tool)
    assert shutil.which("docker", path=str(folder)) is None
    return str(folder)


def test_a_project_is_validated_in_a_virtual_environment_where_docker_is_absent(
    template: Path, project_python: Path, tmp_path: Path
) -> None:
    """With the packages there already; make demo installs them into an empty environment."""
    venv = tmp_path / "out" / DEFAULT_SLUG / ".venv"
    venv.parent.mkdir(parents=True)
    venv.symlink_to(project_python.parents[1])
    lock = (template / PROJECT / "requirements.txt").read_bytes()
    (venv / "smoke-test.stamp").write_text(hashlib.sha256(lock).hexdigest())
    environment = {"PATH": path_without_docker(tmp_path / "bin")}
    arguments = ("validate=auto", "input_format=jsonlines", "--overwrite-if-exists")
    done = run_cookiecutter(template, tmp_path / "out", *arguments, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    why = "the image, because docker is not on PATH (the programs were, in a virtual environment)"
    assert f"NOT VALIDATED: {why}; run python3 smoke_test.py" in done.stdout
    assert (tmp_path / "out" / DEFAULT_SLUG / "smoke-test.log").is_file()


def test_a_validation_with_docker_fails_where_docker_is_absent(
    template: Path, tmp_path: Path
) -> None:
    environment = {"PATH": path_without_docker(tmp_path / "bin")}
    done = run_cookiecutter(template, tmp_path / "out", "validate=docker", env=environment)
    assert done.returncode == 1
    assert "error: validate=docker: docker is not on PATH" in done.stderr
    kept = tmp_path / "out" / f"{DEFAULT_SLUG}-smoke-test.log"
    assert kept.read_text() == "error: docker is not on PATH\n"


def test_a_validation_with_docker_fails_where_its_daemon_is_down(
    template: Path, tmp_path: Path
) -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH; the hook's own tests use a stand-in")
    environment = {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    done = run_cookiecutter(template, tmp_path / "out", "validate=docker", env=environment)
    assert done.returncode == 1
    assert "error: validate=docker: the Docker daemon does not answer" in done.stderr
    assert (tmp_path / "out" / f"{DEFAULT_SLUG}-smoke-test.log").is_file()
