"""Columns of strings in requests: every format, against pandas' own categories."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from decoding import NAN, same
from runtime import acceleration, formats
from runtime.acceleration import ubjson
from runtime.acceleration.stored import located
from runtime.formats import Rows, Schema
from runtime.formats.assembly import codes_among
from runtime.formats.categories import Categories, Unseen, Vocabulary
from runtime.formats.errors import DecodeError, FormatError

PORTS = ("", "Cherbourg", "Queenstown, Cobh", 'St. "Peter" Port', "Åbo", "=1+1", " x ", "北京")
GENERATOR = np.random.default_rng(3)
ROWS = 3000  # of several blocks
FRAME = pd.DataFrame(
    {
        "age": GENERATOR.integers(1, 80, ROWS).astype(float),
        "port": GENERATOR.choice(PORTS, ROWS),
        "deck": GENERATOR.choice([*"ABC", ""], ROWS),
        "fare": GENERATOR.normal(size=ROWS).astype(np.float32).astype(float),
    }
)
FRAME.loc[::7, "age"] = NAN
TEXTS = ("port", "deck")
MISSING = FRAME.mask(FRAME == "")  # as in pandas, where an empty cell of csv is missing
FITTED = MISSING.astype(dict.fromkeys(TEXTS, "category"))
VALUES = {1: tuple(FITTED.port.cat.categories), 2: tuple(FITTED.deck.cat.categories)}
CATEGORIES = Categories(VALUES, tuple(FRAME))
NAMED = Schema(4, tuple(FRAME), categories=CATEGORIES)
CODES = np.column_stack(
    [FITTED[name].cat.codes.replace(-1, NAN) if name in TEXTS else FITTED[name] for name in FITTED]
).astype(np.float32)


def decode(body: str | bytes, content_type: str, schema: Schema = NAMED) -> Rows:
    return formats.decode(
        body.encode() if isinstance(body, str) else body, content_type, schema, ""
    )


def records(frame: pd.DataFrame) -> list[list[Any]]:
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist()


def csv_of(frame: pd.DataFrame, quoting: Any = csv.QUOTE_MINIMAL, sep: str = ",") -> str:
    return frame.to_csv(index=False, header=False, quoting=quoting, sep=sep)


def parquet_of(frame: pd.DataFrame) -> bytes:
    pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def lines(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


REQUESTS = {
    "csv": lambda: (csv_of(MISSING), "text/csv"),
    "csv, all quoted": lambda: (csv_of(MISSING, csv.QUOTE_ALL), "text/csv"),
    "csv, semicolons": lambda: (csv_of(MISSING, sep=";"), "text/csv"),
    "json": lambda: (json.dumps({"instances": records(MISSING)}), "application/json"),
    "json by name": lambda: (
        json.dumps([dict(zip(MISSING, row, strict=True)) for row in records(MISSING)]),
        "application/json",
    ),
    "json, sparse": lambda: (
        json.dumps(
            [
                {"features": {"keys": [3, 1, 0, 2], "values": [d, b, a, c], "shape": [4]}}
                for a, b, c, d in records(MISSING)
            ]
        ),
        "application/json",
    ),
    "jsonlines": lambda: (lines(records(MISSING)), "application/jsonlines"),
    "jsonlines, empty strings": lambda: (lines(records(FRAME)), "application/jsonlines"),
    "jsonlines by name": lambda: (
        lines([dict(zip(MISSING, row, strict=True)) for row in records(MISSING)]),
        "application/jsonlines",
    ),
    "parquet": lambda: (
        parquet_of(MISSING[["deck", "fare", "port", "age"]]),
        "application/x-parquet",
    ),
    "parquet, dictionaries": lambda: (parquet_of(FITTED), "application/x-parquet"),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
def test_strings_become_the_codes_of_pandas(request_of: Any) -> None:
    rows = decode(*request_of())
    np.testing.assert_array_equal(rows.values, CODES)
    assert rows.values.dtype == np.float32
    assert rows.unseen == ()
    assert rows.names == tuple(FRAME)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("1,Åbo,A,2\n3,Rome,Z,4\n5,Oslo,A,6\n", "text/csv"),
        ('1,"Åbo",A,2\n3,Rome,"Z",4\n5,"Oslo",A,6\n', "text/csv"),
        ('[[1,"Åbo","A",2],[3,"Rome","Z",4],[5,"Oslo","A",6]]', "application/json"),
        ('[1,"Åbo","A",2]\n[3,"Rome","Z",4]\n[5,"Oslo","A",6]', "application/jsonlines"),
    ],
)
def test_what_is_no_category_is_missing_and_counted(body: str, content_type: str) -> None:
    rows = decode(body, content_type)
    same(rows.values, [[1, 5, 0, 2], [3, NAN, NAN, 4], [5, NAN, 0, 6]])
    assert rows.unseen == (Unseen(1, 2, 2, "Rome"), Unseen(2, 1, 2, "Z"))


def test_what_is_no_category_is_counted_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.formats.delimited.BLOCK_BYTES", 1000)
    monkeypatch.setattr("runtime.formats.json_lines.DECODE_BYTES", 1000)
    frame = MISSING.copy()
    frame.loc[[900, 2900], "port"] = "Rome"
    for body, content_type in ((csv_of(frame), "csv"), (lines(records(frame)), "jsonlines")):
        rows = decode(body, content_type)
        assert rows.unseen == (Unseen(1, 2, 901, "Rome"),)
        assert np.isnan(rows.values[[900, 2900], 1]).all()


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        ("1,A,B\n", "text/csv", "the rows have 3 columns"),
        ("x,Åbo,A,2\n", "text/csv", "row 1, column 1: 'x' is not a number"),
        ('1,Åbo,A,2\n1,Åbo,A,"2,5"\n', "text/csv", "row 2, column 4: '2,5' is not a number"),
        ('1,Åbo,A,2\n1,"Å\nbo",A,2\n', "text/csv", "row 2, column 2: a cell holds a line break"),
        ('1, "Å,bo",A,2\n', "text/csv", "row 1: 5 cells where|has a space before its quote"),
        ("1,Åbo,A,2\n1,Åbo,2\n", "text/csv", "row 2: 3 cells where the first row has 4"),
        (b"1,\xc5bo,A,2\n", "text/csv", "row 1: a cell is not UTF-8"),
        ('[[1,"Åbo",3,2]]', "application/json", "row 1, column deck: '3' is not a string"),
        ('[[1,"Åbo",true,2]]', "application/json", "row 1, column deck: 'True' is not a string"),
        ('[[1,["Åbo"],"A",2]]', "application/json", "row 1, column port: .*is not a string"),
        ('[[1,"Åbo","A","2"]]', "application/json", "row 1, column 4: .* is not a number"),
        ('[1,"Åbo",3,2]', "application/jsonlines", "row 1, column deck: '3' is not a string"),
        ("[[1,2,3,4]]", "application/json", "row 1, column port: '2' is not a string"),
    ],
)
def test_other_cells_are_refused_by_name_and_value(
    body: str | bytes, content_type: str, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        decode(body, content_type)


def test_parquet_of_other_types_is_refused_by_name() -> None:
    with pytest.raises(DecodeError, match="column age: not numbers: the type is"):
        decode(parquet_of(MISSING.assign(age="x")), "application/x-parquet")
    with pytest.raises(DecodeError, match="row 1, column port: '7' is not a string"):
        decode(parquet_of(MISSING.assign(port=7)), "application/x-parquet")


def test_numbers_can_be_categories_and_are_found_by_their_text() -> None:
    schema = Schema(2, categories=Categories({0: (-7, 5, 100)}))
    for body, content_type in (
        ("5,1\n5.0,2\n,3\n100,4\n7,5\n-7,6\n", "text/csv"),
        ("[[5,1],[5.0,2],[null,3],[100,4],[7,5],[-7,6]]", "application/json"),
    ):
        rows = decode(body, content_type, schema)
        same(rows.values, [[1, 1], [1, 2], [NAN, 3], [2, 4], [NAN, 5], [0, 6]])
        assert rows.unseen[0].count == 1
    with pytest.raises(DecodeError, match="column 1"):
        decode("[[true,1]]", "application/json", schema)


def test_the_empty_string_is_a_category_where_the_model_has_it() -> None:
    categories = Categories({0: ("", "a")})
    same(categories.encode(0, ["", "a", None])[0], [0, 1, NAN])
    same(
        decode(',1\na,2\n"",3\n', "text/csv", Schema(2, categories=categories)).values[:, 0],
        [NAN, 1, NAN],
    )
    same(Categories({0: ("a",)}).encode(0, ["", "a", None])[0], [NAN, 0, NAN])


def test_short_rows_end_in_missing_values() -> None:
    schema = Schema(4, pad_short_rows=True, categories=CATEGORIES)
    same(
        decode("1,Åbo\n2,Rome\n", "text/csv", schema).values, [[1, 5, NAN, NAN], [2, NAN, NAN, NAN]]
    )
    rows = decode("[[1],[2]]", "application/json", schema)
    same(rows.values, [[1, NAN, NAN, NAN], [2, NAN, NAN, NAN]])


def test_a_manifest_keeps_categories() -> None:
    document = json.loads(json.dumps(CATEGORIES.document()))
    assert Categories.from_document(document, tuple(FRAME)) == CATEGORIES
    assert Categories.from_document(Categories({0: (1, 2)}).document()).values == {0: (1, 2)}
    for column in (
        {},
        {"position": 0},
        {"position": 0, "values": ["a", 1]},
        {"position": 0, "values": ["a", "a"]},
        {"position": 0, "values": [True]},
        {"position": 0, "values": [["a"]]},
        {"position": -1, "values": ["a"]},
    ):
        with pytest.raises(ValueError, match="categories of a model"):
            Categories.from_document({"columns": [column]})


def test_a_vocabulary_sorts_as_pandas_does() -> None:
    vocabulary = Vocabulary()
    texts = ["b", "", "Z", "é", "\U0001f600", "\uffee", "a b", "a", None, "10", "9"]
    codes = np.concatenate([vocabulary.encode(texts[:4]), vocabulary.encode(texts)])
    series = pd.Series([text or None for text in texts[:4] + texts]).astype("category")
    ordered = Categories({0: vocabulary.values()}).ordered().values[0]
    assert ordered == tuple(series.cat.categories)
    final = codes_among(vocabulary.values(), ordered)
    found = np.where(np.isnan(codes), -1, final[np.nan_to_num(codes).astype(int)])
    np.testing.assert_array_equal(found, series.cat.codes)


def test_more_categories_than_codes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.formats.categories.MOST_CATEGORIES", 2)
    vocabulary = Vocabulary()
    vocabulary.encode(["a", "b", "", None])
    with pytest.raises(DecodeError, match="more than 2 categories"):
        vocabulary.encode(["c"])


def booster_of(frame: pd.DataFrame, **parameters: Any) -> xgboost.Booster:
    data = xgboost.QuantileDMatrix(frame, np.arange(len(frame)) % 2, enable_categorical=True)
    return xgboost.train({"max_depth": 2, **parameters}, data, 2)


@pytest.mark.parametrize("parameters", [{}, {"booster": "dart"}])
def test_the_categories_of_a_model_are_read(parameters: dict[str, Any]) -> None:
    frame = FITTED[["age", "deck"]].assign(year=pd.Series([1912, 1905] * 1500).astype("category"))
    found = acceleration.stored_categories(booster_of(frame, **parameters))
    assert found == Categories({1: ("A", "B", "C"), 2: (1905, 1912)}, ("age", "deck", "year"))


def test_a_model_without_strings_stores_none() -> None:
    codes = xgboost.DMatrix(CODES, np.arange(ROWS) % 2, feature_types=["q", "c", "c", "q"],
                            enable_categorical=True)  # fmt: skip
    assert acceleration.stored_categories(xgboost.train({}, codes, 1)) is None
    assert acceleration.stored_categories(booster_of(FITTED[["age"]])) is None


def test_strings_that_were_stored_cut_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    model = booster_of(FITTED)
    found = acceleration.stored_categories(model)
    assert found is not None
    if tuple(map(int, xgboost.__version__.split(".")[:2])) >= (3, 4):
        assert found.values == VALUES
    else:
        assert found.values == {2: VALUES[2]}
        assert "column 'port' cannot be read: XGBoost before 3.4" in caplog.text


@pytest.mark.parametrize("form", ["ubj", "json", "pickle"])
@pytest.mark.parametrize("minor", [2, 4])
def test_the_version_that_stored_strings_says_whether_they_are_cut(
    tmp_path: Path, minor: int, form: str
) -> None:
    """XGBoost 3.4 reads those that 3.3 cut, and saves them as they are under its own version."""
    model = booster_of(FITTED)
    data = pickle.dumps(model) if form == "pickle" else bytes(model.save_raw(form))
    here = int(xgboost.__version__.split(".")[1])
    if minor > here:
        pytest.skip("an older XGBoost refuses the model of a newer")
    old, new = (b'"version":[3,%d' % number for number in (here, minor))
    if form != "json":
        old, new = (b"version[#L%s\3i\3i%c" % (bytes(7), number) for number in (here, minor))
    assert old in data
    file = tmp_path / "model"
    file.write_bytes(data.replace(old, new))
    found = acceleration.stored_categories(acceleration.load_booster(file, allow_pickle=True))
    assert found is not None
    assert found.values == ({2: VALUES[2]} if minor < 4 else VALUES)


def test_the_place_of_a_value_in_ubjson_is_found() -> None:
    raw = booster_of(FITTED).save_raw("ubj")
    start, end, value = located(raw)
    assert ubjson.read(raw[start:end]) is not None
    assert list(value) == ["enc", "feature_segments", "sorted_idx"]
    with pytest.raises(KeyError):
        ubjson.locate(raw, ["learner", "nothing"])
