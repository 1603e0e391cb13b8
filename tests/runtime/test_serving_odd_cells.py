"""Odd cells in columns of strings, in every request format: a code, missing, or refused by name.

What each means is in the README's tables of strings in requests; what a code answers, XGBoost says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from flask.testing import FlaskClient

from conftest import save
from runtime.formats.categories import Categories
from runtime.job import artifact
from test_formats_binary import RECORDIO, record
from test_serving_strings import client_of, counted

pytestmark = pytest.mark.usefixtures("quick_choice")

WORDS = ("", " x ", '"Q"', "=1+1", "Cork", "a,b;c", "Åbo", "南安普敦", "\U0001f600")
DIGITS = ("007", "10", "7")
NAMES = ("age", "port", "zip")
MISSING, UNSEEN, REFUSED = "missing", "unseen", "refused"
Outcome = float | str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[FlaskClient, xgboost.Booster]:
    """A number, words and digits: a model of codes, whose manifest has their strings."""
    random = np.random.default_rng(0)
    counts = (len(WORDS), len(DIGITS))
    rows = np.column_stack([random.normal(size=400), *(random.integers(0, n, 400) for n in counts)])
    labels = random.normal(size=(9, 3))[rows[:, 1].astype(int), rows[:, 2].astype(int)] > rows[:, 0]
    data = xgboost.DMatrix(
        rows, labels, feature_types=list("qcc"), enable_categorical=True, nthread=1
    )
    options = {"objective": "binary:logistic", "nthread": 1, "max_cat_to_onehot": 1}
    booster = xgboost.train(options, data, 20)
    folder = save(booster, tmp_path_factory.mktemp("ml") / "model")
    document = Categories({1: WORDS, 2: DIGITS}, NAMES).document()
    artifact.Manifest(feature_names=NAMES, num_columns=3, categories=document).save(folder)
    return client_of(folder.parent), booster


def in_csv(row: list[Any], quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, quoting=quoting).writerow(row)
    return stream.getvalue().encode()


def in_json(row: Any) -> bytes:
    return json.dumps(row).encode()  # 10**400 as well


def in_parquet(row: list[Any], *, dictionaries: bool = False) -> bytes:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({name: [cell] for name, cell in zip(NAMES, row, strict=True)})
    texts = [name for name in NAMES if isinstance(frame[name][0], str)]
    stream = io.BytesIO()
    frame.astype(dict.fromkeys(texts, "category") if dictionaries else {}).to_parquet(stream)
    return stream.getvalue()


def sparse(row: list[Any]) -> dict[str, Any]:
    return {"features": {"keys": [0, 1, 2], "values": row, "shape": [3]}}


def named(row: list[Any]) -> dict[str, Any]:
    return dict(zip(reversed(NAMES), reversed(row), strict=True))


FORMS: dict[str, tuple[str, Callable[[list[Any]], bytes]]] = {
    "csv": ("text/csv", in_csv),
    "csv, quoted": ("text/csv", lambda row: in_csv(row, csv.QUOTE_ALL)),
    "json": ("application/json", lambda row: in_json([row])),
    "json by name": ("application/json", lambda row: in_json([named(row)])),
    "json, sparse": ("application/json", lambda row: in_json([sparse(row)])),
    "jsonlines": ("application/jsonlines", in_json),
    "jsonlines by name": ("application/jsonlines", lambda row: in_json(named(row))),
    "jsonlines, sparse": ("application/jsonlines", lambda row: in_json(sparse(row))),
    "parquet": ("application/x-parquet", in_parquet),
    "parquet, dictionaries": (
        "application/x-parquet",
        lambda row: in_parquet(row, dictionaries=True),
    ),
}
# column, cell, what becomes of it, and in a format that has types, if that is another
CASES: list[tuple[str, Any, Outcome, Outcome]] = [
    *(("port", word, float(code), float(code)) for code, word in enumerate(WORDS) if word),
    *(("zip", text, float(code), float(code)) for code, text in enumerate(DIGITS)),
    *(("port", cell, UNSEEN, UNSEEN) for cell in ("Rome", "=2+2", "x", "nul\0", "ÅBO", "1_0")),
    *(
        ("zip", cell, UNSEEN, UNSEEN)
        for cell in ("=1+1", "8", "10.0", "\uff10", '"', "\uff11\uff10")
    ),
    *((name, None, MISSING, MISSING) for name in NAMES),
    *(("port", str(code), float(code), float(code)) for code in (3, 8)),
    *(("port", code, code, code) for code in (3.0, 0.5, 8.9, 9.0, -1.0, -0.5, 2.0**24 - 1)),
    *(("port", code, code, code) for code in (2.0**24, 2.0**24 + 2, 2.0**31, 2.0**33, 3e38)),
    *(("port", 2**power, 2.0**power, 2.0**power) for power in (24, 31, 60)),
    *(("port", cell, REFUSED, REFUSED) for cell in (1e39, -1e300, "1e999", "inf", "-Infinity")),
    *(
        ("age", cell, REFUSED, REFUSED)
        for cell in ("Cork", "=1+1", "Åbo", '"', "1_0", "inf", "x,y")
    ),
    ("zip", 10, 1.0, REFUSED),
    ("zip", 2**24, UNSEEN, REFUSED),
    ("zip", "", MISSING, MISSING),
    ("port", "", MISSING, 0.0),  # which the model has as a category, and csv cannot tell from none
]


def margin(booster: xgboost.Booster, row: list[float]) -> float:
    data = xgboost.DMatrix(np.array([row], np.float32), feature_types=list("qcc"), nthread=1)
    return float(booster.predict(data)[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
def test_odd_cells_of_every_format(served: Any, form: str) -> None:
    client, booster = served
    content_type, write = FORMS[form]
    before, unseen = counted(client), 0
    for name, cell, in_text, typed in CASES:
        wanted = in_text if content_type == "text/csv" else typed
        place = NAMES.index(name)
        row: list[Any] = [0.25, "Cork", "7"]
        row[place] = cell
        answer = client.post("/invocations", data=write(row), content_type=content_type)
        about = f"{name}: {cell!r}: {answer.text}"
        if wanted == REFUSED:
            assert answer.status_code == 415, about
            assert answer.get_json()["column"] in (name, place + 1), about
            continue
        assert answer.status_code == 200, about
        codes = [0.25, WORDS.index("Cork"), DIGITS.index("7")]
        codes[place] = np.nan if isinstance(wanted, str) else wanted
        found = json.loads(answer.text if answer.text[:1] != "[" else answer.text[1:-1])
        assert found == pytest.approx(margin(booster, codes), abs=1e-6), about
        unseen += wanted == UNSEEN
    assert counted(client) - before == unseen > 9


NO_CELLS = ("true", "[]", '["Cork"]', "{}", '{"a":1}', "[[1]]")


@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines"])
@pytest.mark.parametrize("cell", NO_CELLS)
def test_what_is_no_cell_is_refused_by_column(served: Any, content_type: str, cell: str) -> None:
    client, _ = served
    for place, name in enumerate(NAMES):
        row = ["0.25", '"Cork"', '"7"']
        row[place] = cell
        body = f"[{','.join(row)}]"
        body = f"[{body}]" if content_type == "application/json" else body
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.status_code == 415, (body, answer.text)
        assert answer.get_json()["column"] in (name, place + 1), (body, answer.text)


CODES = (0.0, 3.0, 0.5, 8.9, 9.0, -1.0, -0.5, 2.0**24 - 1, 2.0**24, 2.0**31, 3e38, np.nan)


def in_npy(row: list[float]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([row]))
    return stream.getvalue()


BINARY = {
    "application/x-npy": in_npy,
    "text/libsvm": lambda row: f"0 0:{row[0]} 1:{row[1]!r} 2:{row[2]}\n".encode(),
    RECORDIO: lambda row: record(row, kind="float64_tensor"),
}


@pytest.mark.parametrize("content_type", BINARY)
def test_codes_of_formats_without_strings(served: Any, content_type: str) -> None:
    client, booster = served
    for code in CODES:
        row = [0.25, float(code), 2.0]
        answer = client.post(
            "/invocations",
            data=BINARY[content_type](row),
            content_type=content_type,
            headers={"Accept": "text/csv"},
        )
        assert answer.status_code == 200, (code, answer.text)
        assert float(answer.text) == pytest.approx(margin(booster, row), abs=1e-6), code
    for code in (1e39, np.inf):
        body = BINARY[content_type]([0.25, code, 2.0])
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.status_code == 415, (code, answer.text)


@pytest.mark.parametrize("kind", ["binary", "timestamp[s]", "list", "bool", "decimal", "null"])
def test_columns_of_other_types_in_parquet(served: Any, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    client, _ = served
    cells = {
        "binary": pyarrow.array([b"Cork"]),
        "timestamp[s]": pyarrow.array([1], pyarrow.timestamp("s")),
        "list": pyarrow.array([["Cork"]]),
        "bool": pyarrow.array([True]),
        "decimal": pyarrow.array([1], pyarrow.decimal128(9, 2)),
        "null": pyarrow.array([None]),
    }
    for name in NAMES[1:]:
        table = {"age": [0.25], "port": ["Cork"], "zip": ["7"], name: cells[kind]}
        stream = io.BytesIO()
        parquet.write_table(pyarrow.table(table), stream)
        answer = client.post(
            "/invocations", data=stream.getvalue(), content_type="application/x-parquet"
        )
        assert answer.status_code == (200 if kind == "null" else 415), answer.text
        if kind != "null":
            assert answer.get_json()["column"] == name


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_that_are_missing_in_parquet_are_missing(served: Any, kind: str) -> None:
    """A column without any value has no strings that would give it another type."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    client, booster = served
    for name in NAMES:
        place = NAMES.index(name)
        table = {"age": [0.25], "port": ["Cork"], "zip": ["7"]}
        table[name] = pyarrow.array(np.array([np.nan], kind))  # NaN, not null
        stream = io.BytesIO()
        parquet.write_table(pyarrow.table(table), stream)
        before = counted(client)
        answer = client.post(
            "/invocations", data=stream.getvalue(), content_type="application/x-parquet",
            headers={"Accept": "text/csv"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        codes = [0.25, float(WORDS.index("Cork")), 2.0]
        codes[place] = np.nan
        assert float(answer.text) == pytest.approx(margin(booster, codes), abs=1e-6)
        assert counted(client) == before
