"""Arrays in the media types of `input_fn` and `output_fn`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _content_types as content_types
from ._errors import ClientError, UnsupportedFormatError


def array_to_npy(array_like: Any) -> bytes:
    """Return an array as an npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array_like, allow_pickle=False)
    return buffer.getvalue()


def npy_to_numpy(npy_array: bytes) -> Any:
    """Return the array of an npy file. Objects, which are pickles, are refused."""
    return np.load(io.BytesIO(npy_array), allow_pickle=False)


def array_to_json(array_like: Any) -> str:
    """Return anything that JSON or `tolist` knows as JSON."""

    def default(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        return json.JSONEncoder().default(value)

    return json.dumps(array_like, default=default)


def json_to_numpy(string_like: str | bytes, dtype: Any = None) -> Any:
    """Return a JSON list as an array."""
    return np.array(json.loads(string_like), dtype=dtype)


def csv_to_numpy(string_like: str, dtype: Any = None) -> Any:
    """Return rows of CSV as an array, without the axes of length 1. Raises ClientError."""
    try:
        rows = list(csv.reader(io.StringIO(string_like), strict=True))
        return np.array(rows).squeeze().astype(dtype)
    except (csv.Error, ValueError) as problem:
        raise ClientError(f"Error while decoding csv: {problem}") from None


def array_to_csv(array_like: Any) -> str:
    """Return an array as CSV; one of one axis as a column."""
    array = np.array(array_like)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(array)
    return stream.getvalue()


ENCODERS: dict[str, Callable[[Any], str | bytes]] = {
    content_types.NPY: array_to_npy,
    content_types.CSV: array_to_csv,
    content_types.JSON: array_to_json,
}
DECODERS: dict[str, Callable[[Any], Any]] = {
    content_types.NPY: npy_to_numpy,
    content_types.CSV: csv_to_numpy,
    content_types.JSON: json_to_numpy,
}


def decode(obj: Any, content_type: str) -> Any:
    """Return the array of a body. Raises UnsupportedFormatError."""
    if content_type not in DECODERS:
        raise UnsupportedFormatError(content_type)
    return DECODERS[content_type](obj)


def encode(array_like: Any, content_type: str) -> str | bytes:
    """Return an array as a body. Raises UnsupportedFormatError."""
    if content_type not in ENCODERS:
        raise UnsupportedFormatError(content_type)
    return ENCODERS[content_type](array_like)
