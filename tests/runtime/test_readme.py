"""The README agrees with the code."""

from __future__ import annotations

import re

import pytest

import readme
from locations import PROJECT


@pytest.mark.parametrize("name", readme.TABLES)
def test_the_tables_are_those_of_the_code(name: str) -> None:
    """Defaults that are answers of the generation may be overridden in the environment here."""
    text = readme.README.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end of {name} -->", text, re.S)
    assert found, f"README.md has no marks for the table of {name}"
    assert found[1] == readme.TABLES[name](), "run: make readme"


def test_a_stale_table_is_replaced_and_the_text_around_it_stays() -> None:
    stale = "before\n<!-- settings -->\nold\n<!-- end of settings -->\nafter\n"
    fresh = readme.renewed(stale)
    assert fresh.startswith("before\n<!-- settings -->\n| variable |")
    assert fresh.endswith("|\n<!-- end of settings -->\nafter\n")
    assert "old" not in fresh.splitlines()


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z-]+)", readme.README.read_text(encoding="utf-8")))
    assert named <= targets, f"no such target: {sorted(named - targets)}"
