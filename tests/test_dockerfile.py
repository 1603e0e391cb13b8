"""The Dockerfile's branches for base images that only a registry has: apt-get, dnf, neither.

Its own shell text runs here, with stand-ins for the package managers: what they are asked for,
which Python is chosen, and what is said when there is none. The images themselves are built by
test_container.py, and by the GitHub workflow for every base image.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rendering import WINDOWS

pytestmark = pytest.mark.skipif(WINDOWS, reason="the stand-ins are shell scripts")

# Knows the packages of a distribution: name=version of the Python that it brings, or name= alone.
MANAGER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case " $* " in *" install "*) ;; *) exit 0 ;; esac
for word; do :; done
for package in $PACKAGES; do
    [ "${package%%=*}" = "$word" ] || continue
    version=${package#*=}
    if [ -n "$version" ]; then "$TOOLS/make-python" "$word" "$version"; fi
    exit 0
done
echo "no package $word" >&2
exit 1
"""
MAKE_PYTHON = """#!/bin/sh
cat > "$TOOLS/$1" <<END
#!/bin/sh
if [ "\\$1" = -c ]; then
    exec "$REAL_PYTHON" -c "import sys; sys.version_info = (3, $2, 0); \\$2"
fi
echo "$1 \\$*" >> "$LOG"
END
chmod 755 "$TOOLS/$1"
"""


@dataclass
class Base:
    """A base image: its package manager, what that offers, and the Python it starts with."""

    manager: str | None
    packages: dict[str, str]
    pythons: dict[str, str] = field(default_factory=dict)


BASES = {
    "python-slim": Base("apt-get", {"nginx": ""}, {"python3": "13"}),
    "debian": Base("apt-get", {"nginx": "", "python3": "13"}),
    "ubuntu": Base("apt-get", {"nginx": "", "python3": "12"}),
    "amazonlinux": Base(
        "dnf", {"nginx": "", "python3": "9", "python3.11": "11", "python3.13": "13"}
    ),
    "old python kept": Base("apt-get", {"nginx": "", "python3.12": "12"}, {"python3": "9"}),
}
CHOSEN = {
    "python-slim": "python3",
    "debian": "python3",
    "ubuntu": "python3",
    "amazonlinux": "python3.13",
    "old python kept": "python3.12",
}


def first_step(project: Path) -> str:
    """Return the shell text of the Dockerfile's first RUN, as Docker would hand it to sh -c."""
    text = (project / "Dockerfile").read_text("utf-8")
    found = re.search(r"^RUN ((?:.*\\\n)*.*)\n", text, re.MULTILINE)
    assert found is not None
    return found[1].replace("\\\n", "")


def run_step(step: str, base: Base, tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a step with nothing on PATH but stand-ins; return how it ended, and what was called."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    log.touch()
    for name in ("basename", "cat", "chmod"):
        (tools / name).symlink_to(str(shutil.which(name)))
    scripts = {"rm": "#!/bin/sh\n", "make-python": MAKE_PYTHON}
    if base.manager:
        scripts[base.manager] = MANAGER
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {
        "PATH": str(tools),
        "TOOLS": str(tools),
        "LOG": str(log),
        "REAL_PYTHON": sys.executable,
        "PACKAGES": " ".join(f"{name}={minor}" for name, minor in base.packages.items()),
    }
    for name, minor in base.pythons.items():
        subprocess.run([tools / "make-python", name, minor], env=environment, check=True)
    done = subprocess.run(
        ["/bin/sh", "-c", step], env=environment, capture_output=True, text=True, check=False
    )
    return done, log.read_text()


@pytest.mark.parametrize("name", BASES)
def test_the_first_step_installs_nginx_and_makes_an_environment(
    project: Path, tmp_path: Path, name: str
) -> None:
    base = BASES[name]
    done, called = run_step(first_step(project), base, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{base.manager} .*\bnginx\b", called, re.MULTILINE)
    other = {"apt-get": "dnf", "dnf": "apt-get"}[str(base.manager)]
    assert f"{other} " not in called
    assert f"\n{CHOSEN[name]} -m venv --without-pip /opt/venv" in called


@pytest.mark.parametrize(
    ("base", "why"),
    [
        (Base(None, {}, {"python3": "13"}), "neither apt-get nor dnf"),
        (Base("apt-get", {"nginx": "", "python3": "9"}), "Python 3.11 to 3.13"),
        (Base("dnf", {"python3": "13"}), "no package nginx"),
    ],
)
def test_a_base_that_cannot_do_stops_the_build_with_its_reason(
    project: Path, tmp_path: Path, base: Base, why: str
) -> None:
    done, _ = run_step(first_step(project), base, tmp_path)
    assert done.returncode != 0
    assert why in done.stderr


def test_every_step_is_valid_shell(project: Path) -> None:
    text = (project / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    steps = re.findall(r"^RUN (.*)$", text, re.MULTILINE)
    assert len(steps) >= 4
    for step in steps:
        done = subprocess.run(
            ["/bin/sh", "-n", "-c", step], capture_output=True, text=True, check=False
        )
        assert done.stderr == ""


def test_the_entry_has_exec_form_and_the_labels_are_those_of_the_contract(project: Path) -> None:
    text = (project / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE):
        assert re.fullmatch(r"\[.*\]", line)
    for label in ("accept-bind-to-port", "multi-models"):
        assert f"com.amazonaws.sagemaker.capabilities.{label}=true" in text
