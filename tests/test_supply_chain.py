"""What a project is made of: pinned actions, proposed updates, its SBOM, its audit, its version."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from rendering import ROOT, WINDOWS

posix = pytest.mark.skipif(WINDOWS, reason="make is for Linux and macOS")
# A docker with buildx, unless its folder has a file `legacy`. It writes what BuildKit's
# exporter writes: the image's files, with the attestations beside them.
DOCKER = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/log"
case "$*" in
"buildx version") [ ! -e "$(dirname "$0")/legacy" ] && echo github.com/docker/buildx ;;
*type=tar*) for word in $(echo "$*" | tr , ' '); do
    case $word in dest=*) cp "$(dirname "$0")/image.tar" "${word#dest=}" ;; esac
done ;;
esac
"""


def workflows(project: Path) -> dict[str, dict[str, Any]]:
    """Return both workflows: the template's, and that of a project."""
    places = {"template": ROOT, "project": project}
    return {
        name: yaml.safe_load((place / ".github/workflows/ci.yml").read_text("utf-8"))
        for name, place in places.items()
    }


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_action_is_pinned_by_commit_once_with_the_version_that_dependabot_updates(
    project: Path,
) -> None:
    pins: dict[str, set[str]] = {}
    for place in (ROOT, project):
        text = (place / ".github/workflows/ci.yml").read_text("utf-8")
        lines = re.findall(r"uses: (.*)", text)
        assert lines
        for line in lines:
            found = re.fullmatch(r"([\w-]+/[\w-]+)(@[0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert found, line
            pins.setdefault(found[1], set()).add(found[2])
    assert all(len(found) == 1 for found in pins.values()), pins


def test_no_job_keeps_the_credentials_of_its_checkout_or_may_write(project: Path) -> None:
    for name, workflow in workflows(project).items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for step in steps_of(workflow):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
        for job, content in workflow["jobs"].items():
            more = content.get("permissions", {"contents": "read"})
            written = {key for key, value in more.items() if value == "write"}
            assert written == ({"id-token"} if (name, job) == ("project", "deploy") else set())


def test_the_deployment_is_off_until_a_role_is_set_and_follows_all_other_jobs(
    project: Path,
) -> None:
    jobs = workflows(project)["project"]["jobs"]
    deploy = jobs["deploy"]
    assert deploy["if"] == "vars.AWS_ROLE != '' && github.event_name == 'push'"
    assert deploy["needs"] == ["done"]
    assert deploy["environment"] == "production"  # which roles.yaml's trust names
    assert ":environment:production" in (project / "deploy/roles.yaml").read_text("utf-8")
    assert not re.search(r"secrets\.", json.dumps(jobs))
    (region,) = [step["run"] for step in deploy["steps"] if step.get("id") == "region"]
    command = region.replace('>> "$GITHUB_OUTPUT"', "")
    if not WINDOWS:
        done = subprocess.run(["sh", "-c", command], cwd=project, capture_output=True, text=True)
        assert done.stdout == "name=us-east-1\n"


def test_dependabot_looks_at_everything_that_it_can_read(project: Path) -> None:
    for place, expected in ((ROOT, set()), (project, {"docker"})):
        document = yaml.safe_load((place / ".github/dependabot.yml").read_text("utf-8"))
        found = {entry["package-ecosystem"] for entry in document["updates"]}
        assert found == expected | {"github-actions", "pip"}


def test_the_version_of_the_template_is_in_the_images_label_and_the_changelog(
    project: Path,
) -> None:
    text = (project / "Dockerfile").read_text("utf-8")
    (version,) = re.findall(r"template\.version=(\S+)", text)
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0]
    if version.endswith(".dev0"):
        assert newest == "Unreleased"
    else:
        assert newest.split()[0].strip("[]") in (version, "Unreleased")
        assert re.search(rf"^## \[?{re.escape(version)}\b", changelog, re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev0)?", version)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with a stand-in for docker, and the tar that its buildx writes."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    with tarfile.open(folder / "image.tar", "w") as archive:
        for name in ("etc/sbom.json", "sbom.spdx.json", "provenance.json", "opt/program/train"):
            entry = tarfile.TarInfo(name)
            entry.size = 2
            archive.addfile(entry, io.BytesIO(b"{}"))
    return folder


def make(
    project: Path, folder: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run targets of the project's Makefile in `folder`, with the stand-in for docker."""
    (folder / "pyproject.toml").write_text('name = "demo"\n')
    environ = {key: value for key, value in os.environ.items() if key != "DOCKER_BUILDKIT"}
    return subprocess.run(
        ["make", "-f", project / "Makefile", f"DOCKER={folder}/tools/docker", *words],
        cwd=folder,
        env=environ | variables,
        capture_output=True,
        text=True,
    )


@posix
def test_an_image_for_another_platform_is_built_by_buildx_alone(project: Path, tools: Path) -> None:
    assert make(project, tools.parent, "build", "PLATFORM=linux/arm64").returncode == 0
    last = (tools / "log").read_text().splitlines()[-1]
    assert last.split() == shlex.split("buildx build --load -t demo --platform linux/arm64 .")
    (tools / "legacy").touch()
    done = make(project, tools.parent, "build", "PLATFORM=linux/arm64")
    assert done.returncode != 0
    assert "error: PLATFORM=linux/arm64 needs buildx" in done.stderr
    assert make(project, tools.parent, "build").returncode == 0
    assert (tools / "log").read_text().splitlines()[-1].split() == ["build", "-t", "demo", "."]


@posix
def test_the_sbom_and_the_provenance_are_taken_from_what_buildx_exports(
    project: Path, tools: Path
) -> None:
    done = make(project, tools.parent, "sbom", "PARQUET=1")
    assert done.returncode == 0, done.stderr
    found = sorted((tools.parent / "build/sbom").rglob("*"))
    assert [path.name for path in found] == ["provenance.json", "sbom.spdx.json"]
    last = next(line for line in (tools / "log").read_text().splitlines() if "type=tar" in line)
    assert "--sbom=true --provenance=mode=max" in last
    assert "--build-arg FORMATS=parquet" in last
    (tools / "legacy").touch()
    done = make(project, tools.parent, "sbom")
    assert done.returncode != 0
    assert "error: an SBOM needs buildx" in done.stderr


@posix
@pytest.mark.parametrize("answer", ["", "{}", '{"vulnerabilities": []}'])
def test_an_audit_without_the_database_is_an_error_and_with_it_looks_at_every_lock(
    project: Path, tools: Path, tmp_path: Path, answer: str
) -> None:
    binaries = tmp_path / "venv/bin"
    binaries.mkdir(parents=True)
    code = "import sys, io, urllib.request as web\\n"
    code += "web.urlopen = lambda *_, **__: io.StringIO(sys.argv[2])\\nexec(sys.argv[1])"
    python = (
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "$(printf "{code}")" "$2" \'{answer}\'\n'
    )
    (binaries / "python").write_text(python)
    (binaries / "uv").write_text(f'#!/bin/sh\necho "$*" >> {shlex.quote(str(tools / "uv"))}\n')
    for name in ("python", "uv"):
        (binaries / name).chmod(0o755)
    locks = sorted(path.name for path in project.glob("requirements*.txt"))
    for name in locks:
        (tmp_path / name).write_text((project / name).read_text("utf-8"))
    (tmp_path / "venv/ready").touch()
    done = make(project, tmp_path, "audit", "VENV=venv")
    if "vulnerabilities" not in answer:
        assert done.returncode != 0
        assert "cannot be reached: the packages were not audited" in done.stderr
        assert not (tools / "uv").exists()
        return
    assert done.returncode == 0, done.stderr
    audited = re.findall(r"-r (\S+)", (tools / "uv").read_text())
    hashed = [name for name in locks if "--hash=" in (tmp_path / name).read_text()]
    assert sorted(audited) == hashed
