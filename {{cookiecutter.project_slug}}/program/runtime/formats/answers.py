"""What a model answers, as a body in every media type.

Numbers are written by orjson straight from numpy: the shortest text that gives the same float.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from runtime.formats import recordio

# Of a selected output: an array [rows] or [rows, k], or a list of one value per row.
Column = NDArray[Any] | list[Any]
# Selected outputs by key, in the order that was asked for; all have the same number of rows.
Columns = dict[str, Column]
# Plain predictions, floats [rows] or [rows, groups], or selected outputs.
Outputs = NDArray[np.floating[Any]] | Columns
Encoder = Callable[[Outputs], bytes]


def encode(outputs: Outputs, media_type: str) -> bytes:
    """Return `outputs` in `media_type`, one of ENCODERS' keys."""
    return ENCODERS[media_type](outputs)


def to_csv(outputs: Outputs) -> bytes:
    """One line per row, the last one ended too; several values are joined by commas.

    Selected lists are one quoted cell, as the built-in algorithm writes them.
    """
    if isinstance(outputs, dict):
        cells = [[csv_cell(text) for text in json_values(outputs[key])] for key in outputs]
        return b"".join(b",".join(row) + b"\n" for row in zip(*cells, strict=True))
    if not len(outputs):
        return b""
    if outputs.ndim == 1:
        lines = dumps(outputs)[1:-1].replace(b",", b"\n")
    else:
        lines = dumps(outputs)[2:-2].replace(b"],[", b"\n")
    return lines.replace(b"null", b"nan") + b"\n"


def to_json(outputs: Outputs) -> bytes:
    """`{"predictions":[{"score":…},…]}`, or the selected keys in place of score."""
    return b'{"predictions":[' + objects(outputs, b",") + b"]}"


def to_predictions(outputs: Outputs) -> bytes:
    """`{"predictions":[…]}`, a number or an array per row, in the digits that MLflow writes: those
    of a 64-bit float. Selected keys are the objects of `to_json`."""
    if isinstance(outputs, dict):
        return to_json(outputs)
    values = outputs.astype(np.float64) if outputs.dtype == np.float32 else outputs
    return b'{"predictions":' + dumps(values) + b"}"


def to_json_lines(outputs: Outputs) -> bytes:
    """The objects of `to_json`, each on its line."""
    text = objects(outputs, b"\n")
    return text + b"\n" if text else b""


def to_npy(outputs: Outputs) -> bytes:
    """A float array, or a structured array with a field per selected key; never a pickle."""
    array: Any = outputs
    if isinstance(outputs, dict):
        arrays = {key: array_of(column) for key, column in outputs.items()}
        fields = [(key, column.dtype, column.shape[1:]) for key, column in arrays.items()]
        array = np.empty(row_count(outputs), np.dtype(fields))
        for key, column in arrays.items():
            array[key] = column
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def to_recordio(outputs: Outputs) -> bytes:
    """A record per row; its label map has a tensor `score`, or one per selected key."""
    columns: Columns = outputs if isinstance(outputs, dict) else {"score": outputs}
    arrays = {key: array_of(column) for key, column in columns.items()}
    return b"".join(
        recordio.frame(recordio.label_record({key: arrays[key][row] for key in arrays}))
        for row in range(row_count(columns))
    )


ENCODERS: dict[str, Encoder] = {
    "text/csv": to_csv,
    "application/json": to_json,
    "application/jsonlines": to_json_lines,
    "application/x-npy": to_npy,
    "application/x-recordio-protobuf": to_recordio,
}


def to_batch_lines(outputs: Outputs) -> bytes:
    """One line per row; several values are `[a, b]`: the built-in's, in a batch transform job.

    https://github.com/aws/sagemaker-xgboost-container, algorithm_mode/serve.py
    """
    if isinstance(outputs, dict) or outputs.ndim == 1 or not len(outputs):
        return to_csv(outputs)
    lines = dumps(outputs)[1:-1].replace(b"],[", b"]\n[").replace(b",", b", ")
    return lines.replace(b"null", b"nan") + b"\n"


def to_csv_row(outputs: Outputs) -> bytes:
    """All rows on one line, without an end: the built-in's CSV on a multi-model endpoint.

    https://github.com/aws/sagemaker-xgboost-container, algorithm_mode/handler_service.py
    """
    if isinstance(outputs, dict):
        return to_csv(outputs)
    return to_batch_lines(outputs)[:-1].replace(b"\n", b",")


def to_json_array(outputs: Outputs) -> bytes:
    """`[a, b]`, or an array per row of several values: the built-in's JSON on such an endpoint."""
    return to_json(outputs) if isinstance(outputs, dict) else dumps(outputs).replace(b",", b", ")


# In a batch transform job the built-in answers every media type that it knows with these lines.
BATCH_ENCODERS = ENCODERS | dict.fromkeys(ENCODERS.keys() - {"application/x-npy"}, to_batch_lines)
MULTI_MODEL_ENCODERS = ENCODERS | {"text/csv": to_csv_row, "application/json": to_json_array}


def objects(outputs: Outputs, between: bytes) -> bytes:
    """Return each row as a JSON object, with `between` between them."""
    if isinstance(outputs, dict):
        heads = [orjson.dumps(key) + b":" for key in outputs]
        rows = zip(*map(json_values, outputs.values()), strict=True)
        return between.join(b"{" + b",".join(map(bytes.__add__, heads, row)) + b"}" for row in rows)
    if not len(outputs):
        return b""
    comma = b"," if outputs.ndim == 1 else b"],["
    joint = comma.replace(b",", b"}" + between + b'{"score":')
    return b'{"score":' + dumps(outputs)[1:-1].replace(comma, joint) + b"}"


def row_count(columns: Columns) -> int:
    """Return the rows of selected outputs."""
    return len(next(iter(columns.values()), ()))


def json_values(column: Column) -> list[bytes]:
    """Return the JSON text of each row's value."""
    if isinstance(column, list):
        return [orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) for value in column]
    if not len(column):
        return []
    if column.ndim == 1:
        return dumps(column)[1:-1].split(b",")
    return [b"[" + text + b"]" for text in dumps(column)[2:-2].split(b"],[")]


def csv_cell(text: bytes) -> bytes:
    """Return a cell for the JSON `text` of a value, quoted where csv needs it."""
    if text == b"null":
        return b"nan"
    if text[:1] == b"[":
        return b'"' + text.replace(b",", b", ").replace(b'"', b"'").replace(b"null", b"nan") + b'"'
    if text[:1] == b'"':
        value = str(orjson.loads(text))
        if any(mark in value for mark in ',"\r\n'):
            value = '"' + value.replace('"', '""') + '"'
        return value.encode()
    return text


def array_of(column: Column) -> NDArray[Any]:
    """Return a column as an array of numbers or strings."""
    array = np.asarray(column)
    return array.astype(str) if array.dtype == object else array


def dumps(values: NDArray[Any]) -> bytes:
    """Return `values` as JSON."""
    if not values.flags.c_contiguous:
        values = np.ascontiguousarray(values)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
