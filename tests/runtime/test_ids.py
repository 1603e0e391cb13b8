"""Names of tests fit a line: an id made of a body of megabytes fills logs and caches."""

from __future__ import annotations

import pytest

LONGEST = 200


def test_no_id_is_longer_than_a_line_or_two(request: pytest.FixtureRequest) -> None:
    lengths = {item.nodeid[:LONGEST]: len(item.nodeid) for item in request.session.items}
    assert {start: length for start, length in lengths.items() if length > LONGEST} == {}
