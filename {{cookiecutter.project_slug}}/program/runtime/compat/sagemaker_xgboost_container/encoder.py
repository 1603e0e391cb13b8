"""The body of a request as a DMatrix, as the default `input_fn` makes it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import xgboost
from sagemaker_containers._errors import UnsupportedFormatError

from runtime.formats import delimited, libsvm, recordio
from runtime.formats.media import parse_media_type
from runtime.formats.table import Reading
from runtime.formats.text import first_line, lines_of

from .data_utils import matrix_of

Body = str | bytes | bytearray


def _bytes(body: Body) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)


def csv_to_dmatrix(input: Body, dtype: object = None) -> xgboost.DMatrix:
    """Return rows without label and header; an empty cell is missing. Raises DecodeError."""
    text = lines_of(_bytes(input))
    delimiter = delimited.delimiter_of([first_line(text)])
    return xgboost.DMatrix(delimited.parse_text(text, delimiter))


def libsvm_to_dmatrix(string_like: Body) -> xgboost.DMatrix:
    """Return rows as XGBoost reads a file of them: column numbers as they are, absent = missing."""
    text = lines_of(_bytes(string_like))
    # A row may come without its label, which the reader of files needs.
    rows = [b"0 " + line if b":" in line.split()[0] else line for line in text.split(b"\n") if line]
    tables = list(libsvm.read(io.BytesIO(b"\n".join(rows)), Reading()))
    return matrix_of(tables) if tables else xgboost.DMatrix(np.empty((0, 0)))


def recordio_protobuf_to_dmatrix(string_like: Body) -> xgboost.DMatrix:
    """Return the records, with their labels if they have any."""
    return matrix_of(list(recordio.read(io.BytesIO(_bytes(string_like)), Reading())))


DECODERS: dict[str, Callable[[Any], xgboost.DMatrix]] = {
    "text/csv": csv_to_dmatrix,
    "text/libsvm": libsvm_to_dmatrix,
    "text/x-libsvm": libsvm_to_dmatrix,
    "application/x-recordio-protobuf": recordio_protobuf_to_dmatrix,
}


def decode(obj: Body, content_type: str) -> xgboost.DMatrix:
    """Return a body of a known media type. Raises UnsupportedFormatError for another one."""
    name = parse_media_type(content_type).type
    if name not in DECODERS:
        raise UnsupportedFormatError(name)
    return DECODERS[name](obj)


def json_to_jsonlines(json_data: Any) -> bytes:
    """Return the entries of the one list of a JSON object, one per line."""
    document = json_data if isinstance(json_data, dict) else json.loads(json_data)
    if len(document) != 1:
        raise ValueError("JSON response is not compatible for conversion to jsonlines.")
    (entries,) = document.values()
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()
