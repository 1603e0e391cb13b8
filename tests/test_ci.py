""".ci/layers.py: what runs, what it returns, and that a failure is readable at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rendering import ROOT, WINDOWS

pytestmark = pytest.mark.skipif(WINDOWS, reason="make is for Linux and macOS")
MAKEFILE = """.SILENT:
good:
	echo fine
tests:
	echo 'FAILED test_a.py::test_one - assert 1 == 2'
	echo 'ERROR test_b.py - ImportError: gone'
	echo 'E       FAILED test_c.py::test_in_a_project - quoted'
	echo 'FAILED test_a.py::test_one - assert 1 == 2'
	for number in $$(seq 100); do echo "warning $$number"; done
	false
tool:
	for number in $$(seq 30); do echo "line $$number"; done
	echo 'cannot compile' >&2
	exit 3
"""


def layers(folder: Path, *groups: str) -> tuple[int, str, list[str]]:
    """Run targets of MAKEFILE; return the exit code, all output, and the lines after the table."""
    (folder / "Makefile").write_text(MAKEFILE)
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/layers.py", *groups],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    table, _, rest = done.stdout.rpartition("  in all ")
    assert table
    return done.returncode, done.stdout, rest.splitlines()[1:]


def test_what_succeeds_adds_nothing_after_the_table(tmp_path: Path) -> None:
    code, output, rest = layers(tmp_path, "good")
    assert (code, rest) == (0, [])
    assert "\n== make good\nfine\n" in output


@pytest.mark.parametrize("groups", [("tests", "good"), ("good+tests",)])
def test_failed_tests_are_named_last_and_once(tmp_path: Path, groups: tuple[str, ...]) -> None:
    code, output, rest = layers(tmp_path, *groups)
    assert code == 1
    assert "fine" in output
    assert "warning 100" in output
    assert rest == [
        "error: make tests failed:",
        "FAILED test_a.py::test_one - assert 1 == 2",
        "ERROR test_b.py - ImportError: gone",
        "FAILED test_c.py::test_in_a_project - quoted",
    ]


def test_a_target_that_names_no_test_is_read_by_its_last_lines(tmp_path: Path) -> None:
    code, _, rest = layers(tmp_path, "tool+tests")
    assert code == 1
    assert rest[0] == "error: make tool failed:"
    assert rest[1:14] == [f"line {number}" for number in range(18, 31)]
    assert rest[14] == "cannot compile"
    assert "Error 3" in rest[15]
    assert rest[16] == "error: make tests failed:"


def test_pytest_names_its_failures_in_either_suite(tmp_path: Path) -> None:
    """An option -r for the reasons of what is skipped would leave out the failures."""
    (tmp_path / "test_failing.py").write_text(
        "def test_it():\n    assert False\ndef test_its_fixture(gone):\n    pass\n"
    )
    for configuration in (ROOT / "pyproject.toml", ROOT / "tests/runtime/pytest.ini"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-c", configuration, f"--rootdir={tmp_path}",
             "-p", "no:cacheprovider", tmp_path / "test_failing.py"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )  # fmt: skip
        lines = done.stdout.splitlines()
        for start in ("FAILED test_failing.py::test_it", "ERROR test_failing.py::test_its"):
            assert any(line.startswith(start) for line in lines), done.stdout
