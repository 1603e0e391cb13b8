"""Parquet requests and training files, against pyarrow; skipped where that is not installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoding import NAN, rows, same
from runtime.formats import Schema, read_channel
from runtime.formats.errors import ColumnsError, DecodeError, MediaTypeError

pyarrow = pytest.importorskip("pyarrow")
pyarrow_parquet = pytest.importorskip("pyarrow.parquet")


def parquet(columns: dict[str, list[Any]]) -> bytes:
    stream = io.BytesIO()
    pyarrow_parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def test_parquet_columns_are_taken_by_name() -> None:
    body = parquet({"c": [3, None], "a": [True, False], "b": [0.5, NAN]})
    same(rows(body, "application/x-parquet"), [[1, 0.5, 3], [0, NAN, NAN]])
    same(rows(body, "application/x-parquet", Schema(3)), [[3, 1, 0.5], [NAN, 0, NAN]])
    with pytest.raises(ColumnsError, match="unknown: d; missing: c"):
        rows(parquet({"a": [1], "b": [2], "d": [3]}), "application/x-parquet")


@pytest.mark.parametrize(
    "body",
    [
        b"PAR1" * 4,
        b"x",
        parquet({"a": [1], "b": ["x"], "c": [3]}),
        parquet({"a": [1], "b": [2], "c": [float("inf")]}),
        parquet({"a": [1], "b": [[2]], "c": [3]}),
        parquet({"a": [1], "b": [2], "c": [3]})[:-30] + bytes(30),
    ],
)
def test_parquet_that_is_no_numbers_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="Loading parquet data failed"):
        rows(body, "application/x-parquet")


def test_parquet_without_pyarrow_tells_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MediaTypeError, match=r"PARQUET=1"):
        rows(b"PAR1", "application/x-parquet")


def test_training_files_keep_names_and_nulls(tmp_path: Path) -> None:
    first = {"y": [1, 0], "a": [0.5, None], "b": [True, False]}
    second = {"y": [1.0], "b": [7], "a": [NAN]}
    (tmp_path / "1.parquet").write_bytes(parquet(first))
    (tmp_path / "2.parquet").write_bytes(parquet(second))
    table = read_channel(tmp_path, "application/x-parquet", "csv")
    assert table.names == ("a", "b")
    same(table.features, [[0.5, 1], [NAN, 0], [NAN, 7]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(table.labels, np.float32([1, 0, 1]), strict=True)
    (tmp_path / "3.parquet").write_bytes(b"1,2,3")
    with pytest.raises(DecodeError, match=r"3\.parquet: no Parquet file"):
        read_channel(tmp_path, "parquet", "csv")


def test_many_row_groups_are_one_table(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(200_000, 3))
    columns = pyarrow.table({name: values[:, i] for i, name in enumerate("yab")})
    pyarrow_parquet.write_table(columns, tmp_path / "x", row_group_size=30_000)
    table = read_channel(tmp_path, "parquet", "csv")
    same(table.features, values[:, 1:])  # type: ignore[arg-type]


def test_a_column_of_words_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(parquet({"y": [1], "city": ["Rome"]}))
    with pytest.raises(DecodeError, match="column city: not numbers"):
        read_channel(tmp_path, "parquet", "csv")
