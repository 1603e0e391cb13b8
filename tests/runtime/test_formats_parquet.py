"""Parquet requests and training files, against pyarrow; skipped where that is not installed."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from decoding import NAN, rows, same
from runtime.formats import Schema, read_channel
from runtime.formats.errors import ColumnsError, DecodeError, MediaTypeError
from runtime.formats.parquet import check_types

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
    with pytest.raises(DecodeError, match=r"3\.parquet: not a valid Parquet file"):
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


FRAME = pd.DataFrame({"y": [1, 0], "a": [0.5, 2], "b": [3, 4], "id": [7, 8], "day": [1, 2]})
INDEXES = {
    "named": FRAME.drop(columns="day").set_index("id"),
    "several": FRAME.set_index(["id", "day"]),
    "without a name": FRAME.drop(columns=["id", "day"]).set_index(pd.Index([5, 9])),
    "range": FRAME.drop(columns=["id", "day"]),
    "named range": FRAME.drop(columns=["id", "day"]).rename_axis("id"),
    "words": FRAME.drop(columns=["id", "day"]).set_index(pd.Index(["r", "s"], name="id")),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_of_pandas_is_no_feature(tmp_path: Path, kind: str) -> None:
    for stored in (None, True):
        INDEXES[kind].to_parquet(tmp_path / "x", index=stored)
        table = read_channel(tmp_path, "parquet", "csv")
        assert table.names == ("a", "b")
        same(table.features, [[0.5, 3], [2, 4]])  # type: ignore[arg-type]
        body = (tmp_path / "x").read_bytes()
        same(rows(body, "application/x-parquet", Schema(3)), [[1, 0.5, 3], [0, 2, 4]])
        schema = Schema(3, ("b", "a", "y"))
        same(rows(body, "application/x-parquet", schema), [[3, 0.5, 1], [4, 2, 0]])


def test_an_index_that_the_model_knows_is_a_feature() -> None:
    stream = io.BytesIO()
    FRAME.drop(columns=["y", "day"]).set_index("id").to_parquet(stream, index=True)
    schema = Schema(3, ("id", "a", "b"))
    same(rows(stream.getvalue(), "application/x-parquet", schema), [[7, 0.5, 3], [8, 2, 4]])


@pytest.mark.parametrize("metadata", [b"{", b"[]", b"null", b'{"index_columns": 3}', b"\xff"])
def test_damaged_metadata_of_pandas_is_ignored(metadata: bytes) -> None:
    table = pyarrow.table({"a": [1], "b": [2], "c": [3]}).replace_schema_metadata(
        {b"pandas": metadata}
    )
    stream = io.BytesIO()
    pyarrow_parquet.write_table(table, stream)
    same(rows(stream.getvalue(), "application/x-parquet"), [[1, 2, 3]])


@pytest.mark.parametrize(
    "column",
    [
        [["x"] * 9],
        [{"k": 1}],
        ["1"],
        [b"1"],
        pyarrow.array(["x"]).dictionary_encode(),
        pyarrow.array([[1.0]], pyarrow.list_(pyarrow.float64(), 1)),
        pyarrow.array([1], pyarrow.timestamp("s")),
    ],
    ids=str,
)
def test_columns_that_cannot_be_features_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, column: Any
) -> None:
    monkeypatch.setattr(pyarrow_parquet.ParquetFile, "iter_batches", None)
    with pytest.raises(DecodeError, match="column b: not numbers") as caught:
        rows(parquet({"a": [1], "b": column, "c": [3]}), "application/x-parquet")
    assert caught.value.column == "b"


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([2]).dictionary_encode(),
        pyarrow.array([2], pyarrow.decimal128(5, 2)),
        pyarrow.array([2], pyarrow.float16()),
        pyarrow.array([2], pyarrow.uint64()),
    ],
    ids=str,
)
def test_every_type_of_numbers_is_read(column: Any) -> None:
    body = parquet({"a": [1], "b": column, "c": pyarrow.nulls(1)})
    same(rows(body, "application/x-parquet"), [[1, 2, NAN]])


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_a_small_body_cannot_hold_a_huge_table(
    monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    stream = io.BytesIO()
    zeros = np.zeros(20_000_000)
    table = pyarrow.table({"a": zeros, "b": zeros, "c": zeros})
    pyarrow_parquet.write_table(table, stream, compression=compression)
    assert len(stream.getvalue()) < 300_000
    monkeypatch.setattr(pyarrow_parquet.ParquetFile, "iter_batches", None)
    with pytest.raises(DecodeError, match="too large at once; send fewer rows"):
        rows(stream.getvalue(), "application/x-parquet")


def test_more_columns_than_the_model_has_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = parquet({f"c{number}": [0] for number in range(2_000)})
    monkeypatch.setattr(pyarrow_parquet.ParquetFile, "iter_batches", None)
    with pytest.raises(ColumnsError, match="the rows have 2000 columns, the model has 3"):
        rows(body, "application/x-parquet", Schema(3))


def test_the_time_to_check_types_is_proportional_to_the_columns() -> None:
    class File:
        def __init__(self, columns: int) -> None:
            self.names = tuple(map(str, range(columns)))
            self.schema_arrow = pyarrow.schema([(name, pyarrow.bool_()) for name in self.names])

    def seconds(columns: int) -> float:
        file = File(columns)
        start = time.process_time()
        check_types(file, file.names)
        return time.process_time() - start

    assert min(seconds(32_000) for _ in range(3)) < 20 * min(seconds(4_000) for _ in range(3))


def test_integers_beyond_53_bits_are_rounded_as_pandas_does() -> None:
    body = parquet({"a": [2**60 + 1], "b": [2], "c": [3]})
    same(rows(body, "application/x-parquet"), [[2**60, 2, 3]])
