"""Requests with strings: the answers of a notebook's DataFrame, in every format that has them."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from prometheus_client import REGISTRY

from test_serving_outputs import serve
from test_training_categories import ADULT, BINARY, MULTI, TITANIC, TITANIC_LATER, fitted, job_of

pytestmark = pytest.mark.usefixtures("quick_choice")

COLOURS = ("blue", "green", "red")
PARAMETERS = {"objective": "binary:logistic", "max_depth": 4, "nthread": 2}


def shop(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return two columns of words and two of numbers; missing cells everywhere. No letters that
    XGBoost before 3.4 loses in the categories of a model."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "colour": random.choice(COLOURS, rows),
            "price": random.normal(size=rows).astype(np.float32),
            "city": random.choice(["Koeln", "New York", "Lodz, PL", 'the "Q"'], rows),
            "weight": random.normal(size=rows).astype(np.float32),
        }
    )
    return frame.mask(random.random(frame.shape) < 0.05)


def codes_of(frame: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """Return pandas' codes of the categories of `trained`, missing where a value is none."""
    codes = pd.DataFrame(index=frame.index)
    for name, kind in trained.dtypes.items():
        column = frame[name]
        if isinstance(kind, pd.CategoricalDtype):
            known = pd.Categorical(column.where(column.isin(kind.categories)), kind.categories)
            column = pd.Series(known.codes, frame.index).where(known.codes >= 0)
        codes[name] = column.astype(np.float32)
    return codes


def asked(frame: pd.DataFrame, trained: pd.DataFrame) -> xgboost.DMatrix:
    """Return what the model is asked: codes, not strings, of which XGBoost before 3.4 loses those
    that are not ASCII."""
    types = ["c" if isinstance(kind, pd.CategoricalDtype) else "q" for kind in trained.dtypes]
    return xgboost.DMatrix(codes_of(frame, trained), feature_types=types)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xgboost.Booster, pd.DataFrame]:
    """A notebook's model that stores its categories, under /opt/ml, and what it was fitted on."""
    base = tmp_path_factory.mktemp("foreign")
    frame = shop(500)
    trained = frame.astype({"colour": "category", "city": "category"})
    labels = (frame.colour == "red") ^ (frame.price > 0)
    matrix = xgboost.DMatrix(trained, labels, enable_categorical=True)
    booster = xgboost.train(PARAMETERS, matrix, 10)
    (base / "model").mkdir()
    booster.save_model(base / "model/model.json")
    return base, booster, trained


def bodies(frame: pd.DataFrame) -> dict[str, bytes]:
    """Return the rows in each format that holds strings, by its media type."""
    blank = frame.astype(object).where(frame.notna(), None)
    lists = blank.to_numpy().tolist()
    named = blank.to_dict("records")
    found = {
        "text/csv": frame.to_csv(index=False, header=False).encode(),
        "application/json": json.dumps(
            {"instances": [{"features": row} for row in lists]}
        ).encode(),
        "application/jsonlines": "\n".join(json.dumps({"features": r}) for r in lists).encode(),
        "application/jsonlines; named": "\n".join(map(json.dumps, named)).encode(),
    }
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return found
    stream = io.BytesIO()
    frame[frame.columns[::-1]].to_parquet(stream, index=False)
    return found | {"application/x-parquet": stream.getvalue()}


def scores(client: Any, body: bytes, media_type: str) -> np.ndarray:
    answer = client.post(
        "/invocations",
        data=body,
        content_type=media_type.removesuffix("; named"),
        headers={"Accept": "text/csv"},
    )
    assert answer.status_code == 200, answer.data
    return np.array(answer.data.split(), np.float32)


def test_a_notebooks_model_is_asked_with_strings_in_every_format(foreign: Any) -> None:
    base, booster, trained = foreign
    client, later = serve(base), shop(60, seed=1)
    expected = booster.predict(asked(later, trained))
    for media_type, body in bodies(later).items():
        np.testing.assert_allclose(scores(client, body, media_type), expected, rtol=1e-6)


def test_numbers_in_a_column_of_words_are_codes(foreign: Any) -> None:
    base, booster, trained = foreign
    later = shop(60, seed=1)
    codes = codes_of(later, trained)
    expected = booster.predict(asked(later, trained))
    client = serve(base)
    text = codes.to_csv(index=False, header=False).encode()
    np.testing.assert_allclose(scores(client, text, "text/csv"), expected, rtol=1e-6)
    rows = codes.astype(object).where(codes.notna(), None).to_numpy().tolist()
    lines = "\n".join(json.dumps({"features": row}) for row in rows).encode()
    np.testing.assert_allclose(scores(client, lines, "application/jsonlines"), expected, rtol=1e-6)


def test_an_unseen_category_is_missing_counted_and_logged_once(
    foreign: Any, caplog: pytest.LogCaptureFixture
) -> None:
    base, booster, trained = foreign
    client = serve(base)

    def counted() -> float:
        client.get("/metrics")
        return REGISTRY.get_sample_value("unseen_categories_total") or 0.0

    before = counted()
    rows = b"mauve,0.5,Koeln,1\nred,0.5,Paris,1\nmauve,0.5,Paris,1\n"
    with caplog.at_level(logging.WARNING):
        found = [scores(client, rows, "text/csv") for _ in range(2)]
    missing = pd.DataFrame(
        {"colour": [None, "red", None], "price": 0.5, "city": ["Koeln", None, None], "weight": 1.0}
    )
    expected = booster.predict(asked(missing, trained))
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-6)
    assert counted() - before == 8
    logged = [text for text in caplog.messages if "is no category" in text]
    assert [("colour" in text, "mauve" in text) for text in logged] == [
        (True, True),
        (False, False),
    ]


def test_an_unseen_category_can_be_refused(foreign: Any) -> None:
    client = serve(foreign[0], unseen_categories="refuse")
    answer = client.post(
        "/invocations", data=b"red,0.5,Koeln,1\nred,0.5,Paris,1\n", content_type="text/csv"
    )
    assert answer.status_code == 415  # as all that is wrong in a body of CSV
    for part in (b"Paris", b"city", b"2"):
        assert part in answer.data
    assert scores(client, b"red,0.5,,1\n", "text/csv").shape == (1,)


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ("red,blue,Koeln,1", 415),  # a category in a column of numbers
        ("=1+1,0.5,Koeln,1", 200),
        ('"re""d",0.5,Koeln,1', 200),
        ("Ünicode,0.5,南安普敦,1", 200),
        (",0.5,,1", 200),
        ("16777216,0.5,Koeln,1", 200),
        ("-1,0.5,Koeln,1", 200),
        ("0.5,0.5,Koeln,1", 200),
        ("1e30,0.5,Koeln,1", 200),
        ("inf,0.5,Koeln,1", 415),
        ("red,0.5,Koeln", 400),
    ],
)
def test_odd_cells_are_answered_or_refused_by_row_and_column(
    foreign: Any, row: str, status: int
) -> None:
    answer = serve(foreign[0]).post(
        "/invocations", data=f"{row}\n".encode(), content_type="text/csv"
    )
    assert answer.status_code == status, answer.data
    if "blue" in row:
        assert b'"column":2' in answer.data
        assert b"blue" in answer.data


def test_a_model_of_strings_that_was_trained_here_is_asked_with_them(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"train": TITANIC}, **BINARY)
    assert job.run().code == 0
    frame = TITANIC_LATER.iloc[:, 1:]
    expected = job.booster().predict(asked(frame, fitted(TITANIC)))
    client = serve(tmp_path)
    for media_type, body in bodies(frame).items():
        np.testing.assert_allclose(scores(client, body, media_type), expected, rtol=1e-6)


def test_labels_of_strings_come_back_by_name(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"train": ADULT}, **MULTI)
    assert job.run().code == 0
    frame = ADULT.iloc[:50, 1:]
    client = serve(tmp_path, "label_name", "predicted_label")
    answer = client.post(
        "/invocations",
        data=frame.to_csv(index=False, header=False),
        content_type="text/csv",
        headers={"Accept": "application/json"},
    )
    assert answer.status_code == 200, answer.data
    matrix = asked(frame, fitted(ADULT))
    best = job.booster().predict(matrix).argmax(axis=1)
    names = sorted(ADULT.income.unique())
    rows = json.loads(answer.data)["predictions"]
    assert [row["label_name"] for row in rows] == [names[number] for number in best]


def test_a_header_row_of_columns_of_strings_alone_is_refused(tmp_path: Path) -> None:
    frame = shop(300)[["colour", "city"]].astype("category")
    labels = (frame.colour == "red").astype(float)
    matrix = xgboost.DMatrix(frame, labels, enable_categorical=True)
    (tmp_path / "model").mkdir()
    xgboost.train(PARAMETERS, matrix, 3).save_model(tmp_path / "model/model.json")
    answer = serve(tmp_path).post(
        "/invocations", data=b"colour,city\nred,Koeln\n", content_type="text/csv"
    )
    assert answer.status_code == 415
    assert b"header" in answer.data
