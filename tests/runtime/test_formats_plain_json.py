"""Where simdjson has no wheel, its stand-in reads the same numbers and refuses the same texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.formats import json_rows, numbers, plain_json

simdjson = pytest.importorskip("simdjson")

CELLS = (
    b"1,2,3 1.5,-2e3,0 -0,0,-0.0 1,,2 nan,1 +1,.5 01,1 1,true 1,null 1,[2] 1,{} 1,'2' 1,2, , 1e400 "
    b"12345678901234567890 123456789012345678901234567890 1e-400 1_0 1e5,0x1 [1] 0.1,1e-7 --1 1e"
).split(b" ")
BODIES = (
    b'[[1,2],[3,4]] {"instances":[[1,2.5]]} [1,2] [[1],[2,3]] [[1,true]] [[1,null]] [[1,"2"]] [[]] '
    b'{"instances":[[1],[[2]]]} [[1,{}]] {"other":[[1]]} [[1,2] [[NaN,1]] {} 5 [[-0,1e300]] '
    b'[[[1,2]],[[3,4]]] {"instances":5} {"instances":["ab","cd"]} [[1e400,1]]'
).split(b" ")


def outcome(function: Any, text: bytes) -> Any:
    """Return the numbers, as bytes and shape, or the kind of refusal."""
    try:
        found = function(text)
    except (numbers.CellError, *numbers.NOT_PLAIN) as error:
        return "cell" if isinstance(error, numbers.CellError) else "not plain"
    return None if found is None else (np.add(found, 0.0).tobytes(), found.shape)


@pytest.mark.parametrize(
    ("function", "texts"),
    [(numbers.parse_block, CELLS), (json_rows.dense, BODIES)],
    ids=["parse_block", "dense"],
)
def test_the_stand_in_reads_and_refuses_as_simdjson_does(
    function: Any, texts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [outcome(function, text) for text in texts]
    monkeypatch.setattr(numbers, "simdjson", plain_json)
    found = [outcome(function, text) for text in texts]
    assert dict(zip(texts, found, strict=True)) == dict(zip(texts, expected, strict=True))
