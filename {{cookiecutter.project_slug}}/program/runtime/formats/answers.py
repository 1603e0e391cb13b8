"""Answers to bodies: scores, or the selected outputs, in every media type.

Numbers are written by orjson straight from numpy: the shortest text that gives the same float.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from runtime.formats import recordio

Column = NDArray[Any] | list[Any] | None


class Scores(NamedTuple):
    """What the model predicts: floats [rows] or [rows, groups]."""

    values: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Selected:
    """Outputs that were asked for by key, in order. A column is an array [rows] or [rows, k], a
    list of a value a row, or None where the key does not apply to the model."""

    keys: tuple[str, ...]
    columns: dict[str, Column]

    def __len__(self) -> int:
        return max(
            (len(column) for column in self.columns.values() if column is not None), default=0
        )


Answer = Scores | Selected


def encode(answer: Answer, media_type: str) -> bytes:
    """Return `answer` in `media_type`, one of ENCODERS' keys."""
    return ENCODERS[media_type](answer)


def to_csv(answer: Answer) -> bytes:
    """One line a row, the last one ended too; several values are joined by commas.

    Selected lists are one quoted cell, as the built-in algorithm writes them.
    """
    if isinstance(answer, Selected):
        cells = [[csv_cell(text) for text in pieces(answer, key)] for key in answer.keys]
        return b"".join(b",".join(row) + b"\n" for row in zip(*cells, strict=True))
    if not len(answer.values):
        return b""
    if answer.values.ndim == 1:
        lines = dumps(answer.values)[1:-1].replace(b",", b"\n")
    else:
        lines = dumps(answer.values)[2:-2].replace(b"],[", b"\n")
    return lines.replace(b"null", b"nan") + b"\n"


def to_json(answer: Answer) -> bytes:
    """`{"predictions":[{"score":…},…]}`, or the selected keys in place of score."""
    return b'{"predictions":[' + objects(answer, b",") + b"]}"


def to_json_lines(answer: Answer) -> bytes:
    """The objects of `to_json`, each on its line."""
    text = objects(answer, b"\n")
    return text + b"\n" if text else b""


def to_npy(answer: Answer) -> bytes:
    """A float array, or a structured array with a field a selected key; never a pickle."""
    if isinstance(answer, Scores):
        array: Any = answer.values
    else:
        columns = {key: column_array(answer, key) for key in answer.keys}
        fields = [(key, column.dtype, column.shape[1:]) for key, column in columns.items()]
        array = np.empty(len(answer), np.dtype(fields))
        for key, column in columns.items():
            array[key] = column
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def to_recordio(answer: Answer) -> bytes:
    """A record a row; its label map has a tensor `score`, or one a selected key."""
    if isinstance(answer, Scores):
        answer = Selected(("score",), {"score": answer.values})
    columns = {key: column_array(answer, key) for key in answer.keys}
    return b"".join(
        recordio.frame(recordio.label_record({key: columns[key][row] for key in answer.keys}))
        for row in range(len(answer))
    )


ENCODERS: dict[str, Callable[[Answer], bytes]] = {
    "text/csv": to_csv,
    "application/json": to_json,
    "application/jsonlines": to_json_lines,
    "application/x-npy": to_npy,
    "application/x-recordio-protobuf": to_recordio,
}


def objects(answer: Answer, between: bytes) -> bytes:
    """Return each row as a JSON object, with `between` between them."""
    if isinstance(answer, Selected):
        heads = [orjson.dumps(key) + b":" for key in answer.keys]
        rows = zip(*(pieces(answer, key) for key in answer.keys), strict=True)
        return between.join(b"{" + b",".join(map(bytes.__add__, heads, row)) + b"}" for row in rows)
    if not len(answer.values):
        return b""
    comma = b"," if answer.values.ndim == 1 else b"],["
    joint = comma.replace(b",", b"}" + between + b'{"score":')
    return b'{"score":' + dumps(answer.values)[1:-1].replace(comma, joint) + b"}"


def pieces(answer: Selected, key: str) -> list[bytes]:
    """Return the JSON text of each row's value of `key`."""
    column = answer.columns[key]
    if column is None or not len(column):
        return [b"null"] * len(answer)
    if isinstance(column, list):
        return [orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) for value in column]
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


def column_array(answer: Selected, key: str) -> NDArray[Any]:
    """Return the column of `key` as an array of numbers or strings; NaN where it is None."""
    column = answer.columns[key]
    if column is None:
        return np.full(len(answer), np.nan, np.float32)
    array = np.asarray(column)
    return array.astype(str) if array.dtype == object else array


def dumps(values: NDArray[Any]) -> bytes:
    """Return `values` as JSON."""
    if not values.flags.c_contiguous:
        values = np.ascontiguousarray(values)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
