"""Names of tests fit a line: an id made of a body of megabytes fills logs and caches."""

from __future__ import annotations

from pathlib import Path

import pytest

import conftest

LONGEST = 200


def test_no_id_is_longer_than_a_line_or_two(request: pytest.FixtureRequest) -> None:
    lengths = {item.nodeid[:LONGEST]: len(item.nodeid) for item in request.session.items}
    assert {start: length for start, length in lengths.items() if length > LONGEST} == {}


def test_the_files_that_run_first_exist() -> None:
    found = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert set(conftest.LONGEST) <= found
