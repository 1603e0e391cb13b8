"""application/x-npy: one numpy array of numbers, [rows, columns] or one row [columns]."""

from __future__ import annotations

import io
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from runtime.formats import numbers
from runtime.formats.errors import DecodeError
from runtime.formats.table import Rows, Schema

LONGEST_HEADER = 4096


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request. Pickled objects are never loaded; raises DecodeError."""
    start = header_size(body)
    shape, fortran, dtype = parse_header(body[:start])
    if dtype.kind not in "fiub":
        raise DecodeError(f"an array of {dtype} is not numbers", found=str(dtype))
    if len(shape) not in {1, 2} or len(body) - start != prod(shape) * dtype.itemsize:
        raise DecodeError(f"shape {shape} of {dtype} does not fit the body", found=list(shape))
    values = np.frombuffer(body, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(np.atleast_2d(values), np.float32)
    return Rows(numbers.finite(rows))


def header_size(body: bytes) -> int:
    """Return where the numbers start. Raises DecodeError if the body is not an npy file."""
    if not body.startswith(npy_format.MAGIC_PREFIX) or len(body) < 12 or body[6] not in (1, 2):
        raise DecodeError("the body does not start with the header of an npy file")
    width = 2 * body[6]
    size = 8 + width + int.from_bytes(body[8 : 8 + width], "little")
    if size > min(len(body), LONGEST_HEADER):
        raise DecodeError("the npy header is cut off, or too long")
    return size


@lru_cache(maxsize=64)
def parse_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and dtype. Raises DecodeError."""
    stream = io.BytesIO(head)
    read = (npy_format.read_array_header_1_0, npy_format.read_array_header_2_0)
    try:
        return read[npy_format.read_magic(stream)[0] - 1](stream)
    except Exception as error:  # numpy documents ValueError, its parsers raise others as well
        raise DecodeError(f"the npy header is damaged: {error}") from None
