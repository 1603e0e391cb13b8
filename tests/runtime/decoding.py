"""What the tests of request formats share."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime import formats
from runtime.formats import Schema

NAN = np.nan
NAMED = Schema(3, ("a", "b", "c"))
RECORDIO = "application/x-recordio-protobuf"


def rows(body: bytes | str, content_type: str | None, schema: Schema = NAMED) -> np.ndarray:
    data = body.encode() if isinstance(body, str) else body
    values = formats.decode(data, content_type, schema, "csv").values
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    return values


def same(found: np.ndarray, expected: Any) -> None:
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
