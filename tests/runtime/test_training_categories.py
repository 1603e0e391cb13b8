"""Training on strings, against a notebook's way: pandas' categories and XGBoost's Python API."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

import features
from runtime import acceleration
from runtime.acceleration import ubjson
from runtime.acceleration.stored import located
from training_job import Job

GENERATOR = np.random.default_rng(12)
TITLES = ("Mr.", "Mrs.", "Miss.", "Master.", "the Countess.", "Jonkheer.")
TICKETS = ("A/5 21171", "PC, 17599", "=1+1", " STON/O2", "113803")
TYPES = {"csv": "text/csv", "jsonlines": "application/jsonlines", "parquet": "parquet"}


def titanic(rows: int) -> pd.DataFrame:
    """Return passengers: quotes, commas, Unicode, a formula, spaces, missing cells."""
    frame = pd.DataFrame(
        {
            "survived": 0.0,
            "pclass": GENERATOR.integers(1, 4, rows),
            "title": GENERATOR.choice(TITLES, rows),
            "sex": GENERATOR.choice(["male", "female"], rows),
            "age": GENERATOR.uniform(1, 80, rows).round(1),
            "ticket": GENERATOR.choice(TICKETS, rows),
            "cabin": GENERATOR.choice([f"{deck}{n}" for deck in "ABC" for n in range(9)], rows),
            "embarked": GENERATOR.choice(["Cherbourg", 'the "Q"', "Åbo", "南安普敦"], rows),
        }
    )
    for name, share in (("age", 0.2), ("cabin", 0.7), ("embarked", 0.02)):
        frame.loc[GENERATOR.random(rows) < share, name] = np.nan
    score = (frame.sex == "female") + 0.4 * (frame.embarked == "Åbo") - 0.3 * frame.pclass
    score += 0.5 * (frame.title == "Master.") + GENERATOR.normal(size=rows) * 0.2
    return frame.assign(survived=(score > 0).astype(float))


def adult(rows: int) -> pd.DataFrame:
    """Return people of the census: labels of strings, three of them, a space before each."""
    frame = pd.DataFrame(
        {
            "income": "",
            "age": GENERATOR.integers(17, 90, rows),
            "workclass": GENERATOR.choice([" Private", " State-gov", " ?"], rows),
            "education": GENERATOR.choice([f" Level-{n}" for n in range(16)], rows),
            "country": GENERATOR.choice([" Perú", " México", " United-States"], rows),
        }
    )
    score = frame.age / 40 + (frame.education > " Level-3") + GENERATOR.normal(size=rows) * 0.3
    names = np.array([" <=50K", " >50K", " >90K"])
    return frame.assign(income=names[np.digitize(score, [1.6, 2.6])])


TITANIC, TITANIC_LATER = titanic(800), titanic(200)
ADULT = adult(900)
CATEGORICAL = {"eta": "0.4", "max_depth": "4", "enable_categorical": "true"}
BINARY = {"objective": "binary:logistic", **CATEGORICAL}
MULTI = {"objective": "multi:softprob", "num_class": "3", **CATEGORICAL}


def body(frame: pd.DataFrame, kind: str) -> bytes:
    if kind == "csv":
        return frame.to_csv(index=False).encode()
    if kind == "jsonlines":
        frame = frame.rename(columns={frame.columns[0]: "label"})
        return frame.to_json(orient="records", lines=True, force_ascii=False).encode()
    pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def job_of(base: Path, frames: dict[str, pd.DataFrame], kind: str = "csv", **given: str) -> Job:
    job = Job(base, {"num_round": "8", "nthread": "2", **given})
    for channel, frame in frames.items():
        job.put(channel, "part", body(frame, kind), ContentType=TYPES[kind])
    return job


def fitted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the features as a notebook has them."""
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.astype(dict.fromkeys(texts, "category")).iloc[:, 1:]


def notebook(frame: pd.DataFrame, given: dict[str, str], kind: Any = None) -> xgboost.Booster:
    """Return what a notebook trains on the same data."""
    labels = frame.iloc[:, 0]
    if not pd.api.types.is_numeric_dtype(labels):
        labels = labels.astype("category").cat.codes
    kind = kind or xgboost.QuantileDMatrix
    data = kind(fitted(frame), labels, enable_categorical=True)
    params = {key: value for key, value in given.items() if key != "enable_categorical"}
    return xgboost.train({"nthread": 2, **params}, data, 8)


def trees(booster: xgboost.Booster) -> Any:
    """Return the model without its columns' types and categories."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    learner["gradient_booster"]["model"].pop("cats")
    del learner["feature_types"]
    return learner


def succeed(job: Job) -> Job:
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    return job


@pytest.mark.parametrize("kind", TYPES)
def test_the_model_is_that_of_a_notebook(tmp_path: Path, kind: str) -> None:
    frames = {"train": TITANIC, "validation": TITANIC_LATER}
    job = succeed(job_of(tmp_path, frames, kind, **BINARY))
    expected = notebook(TITANIC, BINARY)
    assert trees(job.booster()) == trees(expected)
    codes = fitted(TITANIC)
    values = {
        position: tuple(codes[name].cat.categories)
        for position, name in enumerate(codes)
        if isinstance(codes[name].dtype, pd.CategoricalDtype)
    }
    manifest = job.output("manifest.json")
    columns = manifest["categories"]["columns"]
    assert {entry["position"]: tuple(entry["values"]) for entry in columns} == values
    assert [entry["name"] for entry in columns] == ["title", "sex", "ticket", "cabin", "embarked"]
    later = json.loads(json.dumps(job.output("metrics.json")["metrics"]))
    assert 0 < later["validation-logloss"] < 1


@pytest.mark.parametrize("kind", TYPES)
def test_labels_of_strings_are_classes_in_the_order_of_a_notebook(
    tmp_path: Path, kind: str
) -> None:
    job = succeed(job_of(tmp_path, {"train": ADULT, "validation": ADULT[:99]}, kind, **MULTI))
    assert trees(job.booster()) == trees(notebook(ADULT, MULTI))
    manifest = job.output("manifest.json")
    assert manifest["label_names"] == [" <=50K", " >50K", " >90K"]
    assert manifest["num_classes"] == 3


def test_the_model_stores_what_pyarrow_would(tmp_path: Path) -> None:
    """With pyarrow, XGBoost 3.2 stores strings beyond ASCII as they are."""
    pyarrow = pytest.importorskip("pyarrow")
    job = job_of(tmp_path, {"train": TITANIC}, **BINARY)
    job.environ["ACCELERATION"] = "auto"
    succeed(job)
    assert job.output("manifest.json")["engine"].startswith("onedal")
    codes = fitted(TITANIC)

    def column(values: pd.Series) -> Any:
        if not isinstance(values.dtype, pd.CategoricalDtype):
            return pyarrow.array(values.to_numpy())
        indices = pyarrow.array(values.cat.codes.to_numpy(), mask=values.isna().to_numpy())
        names = pyarrow.array(list(values.cat.categories), pyarrow.string())
        return pyarrow.DictionaryArray.from_arrays(indices, names)

    table = pyarrow.table({name: column(codes[name]) for name in codes})
    data = xgboost.QuantileDMatrix(table, TITANIC.survived, enable_categorical=True)
    expected = xgboost.train({"max_depth": 1}, data, 1).save_raw("ubj")
    start, end, _ = located(expected)
    mine = bytearray(job.model)
    found = located(mine)
    assert mine[found[0] : found[1]] == expected[start:end]
    assert ubjson.read(mine)
    again = xgboost.DMatrix(table, enable_categorical=True)
    numbers = codes.apply(lambda c: c.cat.codes.replace(-1, np.nan) if hasattr(c, "cat") else c)
    by_code = xgboost.DMatrix(
        numbers.to_numpy(np.float32),
        feature_names=list(codes),
        feature_types=job.booster().feature_types,
        enable_categorical=True,
    )
    np.testing.assert_array_equal(job.booster().predict(again), job.booster().predict(by_code))


@pytest.mark.parametrize("given", [{"max_cat_to_onehot": "100"}, {"max_cat_threshold": "2"}])
def test_parameters_of_categories_take_effect(tmp_path: Path, given: dict[str, str]) -> None:
    job = succeed(job_of(tmp_path, {"train": TITANIC}, **BINARY, **given))
    assert trees(job.booster()) == trees(notebook(TITANIC, BINARY | given))
    assert trees(job.booster()) != trees(notebook(TITANIC, BINARY))


def test_other_ways_to_train_agree(tmp_path: Path) -> None:
    disk = succeed(job_of(tmp_path / "a", {"train": TITANIC}, **BINARY, external_memory="true"))
    plain = succeed(job_of(tmp_path / "b", {"train": TITANIC}, **BINARY))
    assert disk.output("manifest.json")["categories"] == plain.output("manifest.json")["categories"]
    assert trees(disk.booster()) == trees(plain.booster())
    approx = succeed(job_of(tmp_path / "c", {"train": TITANIC}, **BINARY, tree_method="approx"))
    expected = notebook(TITANIC, BINARY | {"tree_method": "approx"}, xgboost.DMatrix)
    assert trees(approx.booster()) == trees(expected)
    folds = succeed(job_of(tmp_path / "d", {"train": ADULT}, **MULTI, _kfold="2"))
    for number in range(2):
        model = (tmp_path / "d" / "model" / f"xgboost-model-{number}").read_bytes()
        stored = acceleration.stored_categories(xgboost.Booster(model_file=bytearray(model)))
        assert stored is None or stored.values  # beyond ASCII, XGBoost 3.2's own are not trusted
    assert folds.output("manifest.json")["label_names"][0] == " <=50K"


def test_codes_in_numeric_columns(tmp_path: Path) -> None:
    rows = np.column_stack([GENERATOR.integers(0, 9, 500), GENERATOR.normal(size=500).round(3)])
    labels = np.isin(rows[:, 0], [1, 4, 6]).astype(float)
    data = xgboost.QuantileDMatrix(rows, labels, feature_types=["c", "q"], enable_categorical=True)
    expected = xgboost.train({"objective": "binary:logistic", "nthread": 2}, data, 8)
    text = "".join(f"{y:g},{a:g},{b:g}\n" for y, (a, b) in zip(labels, rows, strict=True))
    lines = "".join(f"{y:g} 0:{a:g} 1:{b:g}\n" for y, (a, b) in zip(labels, rows, strict=True))
    for number, (content, kind, given) in enumerate(
        [
            (text, "text/csv", {"categorical_features": "0"}),
            ("y,kind,size\n" + text, "text/csv", {"categorical_features": '["kind"]'}),
            (text, "text/csv", {"feature_types": "c,q"}),
            (lines, "text/libsvm", {"feature_types": '["c", "float"]'}),
        ]
    ):
        given |= {"num_round": "8", "nthread": "2", "enable_categorical": "1"}
        job = Job(tmp_path / str(number), given)
        job.put("train", "part", content, ContentType=kind)
        model = trees(succeed(job).booster())
        assert model["gradient_booster"] == trees(expected)["gradient_booster"]
        assert job.output("manifest.json")["categories"] is None


def small(base: Path, train: str, validation: str = "", **given: str) -> Job:
    defaults = {"num_round": "2", "objective": "binary:logistic", "enable_categorical": "true"}
    job = Job(base, {**defaults, **given})
    job.put("train", "part.csv", train)
    if validation:
        job.put("validation", "part.csv", validation)
    return job


GOOD = "y,port,age\n0,Rome,1\n1,Oslo,2\n0,,3\n1,Rome,\n"
CODES = "0,1,2\n1,3,4\n"


@pytest.mark.parametrize(
    ("train", "validation", "given", "message"),
    [
        (GOOD, "", {"enable_categorical": "false"}, "part.csv: row 2, column port: 'Rome' is not a "
         "number; set enable_categorical=true"),
        (GOOD, "y,port,age\n0,Rome,old\n", {}, "row 2, column age: 'old' is not a number; channel "
         "train has numbers there"),
        ("cost,port\n0,Rome\nx,Oslo\n", "", {"objective": "reg:squarederror"},
         "row 3, column cost: 'x' is not a number; labels may be strings with"),
        ("1,a,red\n0,2,blue\n", "", {"csv_weights": "1"}, "row 1, column 2: 'a' is not a number"),
        ("a,1\nb,2\nc,3\n", "", {}, "3 different labels, where binary:logistic has 2 classes: "
         "'a', 'b', 'c'"),
        ("0,1\n1,2\n?,3\n", "", {}, "part.csv: row 3: the label '?' is not a number, but others"),
        ("a,1\nb,2\n", "a,1\nb,2\nz,3\n", {}, "validation: validation/part.csv: row 3: the label "
         "'z' is none of a, b"),
        ("a,1\nb,2\n", "0,1\n", {}, "the label '0' is none of a, b"),
        ("a,1\nz,2\n", "", {"label_names": "a,b"}, "row 2: the label 'z' is none of a, b"),
        ("a,1\n,2\n", "", {}, "row 2, column label: the label is missing"),
        ('a,"x\ny"\nb,z\n', "", {}, "holds a line break|unexpected end of data"),
        (CODES, "", {"categorical_features": "2"}, "'2' is not a column of the model; it has the "
         "columns 0 to 1"),
        (GOOD, "", {"categorical_features": "bay"}, "'bay' is not a column of the model; "
         "its columns are port, age"),
        (GOOD, "", {"feature_types": "q,q"}, "feature_types calls column port q, but it holds"),
        (GOOD, "", {"feature_types": "c"}, "feature_types has 1 types, the model has 2 columns"),
        (CODES, "", {"feature_types": "c,q", "enable_categorical": "0"}, "needs enable"),
        (CODES, "", {"categorical_features": "0", "enable_categorical": "0"},
         "categorical_features needs enable_categorical=true"),
        (CODES, "", {"tree_method": "exact"}, "needs tree_method=hist or approx"),
        (CODES, "", {"booster": "gblinear"}, "enable_categorical needs trees"),
        ("0,1\n1,2.5\n", "", {"categorical_features": "0"}, "data row 2, column 0: 2.5 is not the "
         "code of a category"),
        ("0,1\n1,-1\n", "", {"categorical_features": "0"}, "data row 2, column 0: -1 is not the"),
        ("0,1\n1,16777216\n", "", {"categorical_features": "0"}, "column 0: 16777216 is not the "
         "code of a category: codes are whole numbers from 0 to 16777215"),
    ],
    ids=map(str, itertools.count(1)),
)  # fmt: skip
def test_what_cannot_be_trained_on_is_named(
    tmp_path: Path, train: str, validation: str, given: dict[str, str], message: str
) -> None:
    job = small(tmp_path, train, validation, **given)
    assert job.run().code == 1
    assert any(part in job.failure for part in message.split("|")), job.failure


def test_json_numbers_among_strings_are_named(tmp_path: Path) -> None:
    job = small(tmp_path, "")
    job.put("train", "a.jsonl", '{"label":0,"port":"Rome"}\n{"label":1,"port":7}\n',
            ContentType="application/jsonlines")  # fmt: skip
    (tmp_path / "input/data/train/part.csv").unlink()
    assert job.run().code == 1
    assert "row 2, column port: '7' is not a string" in job.failure


def test_strings_that_come_late_and_in_another_order_of_columns(tmp_path: Path) -> None:
    numeric = "".join(f"{n % 2},{n % 9},{n}\n" for n in range(20000))
    job = small(tmp_path, "y,cabin,age\n" + numeric)
    job.put("train", "z.csv", "y,age,cabin\n0,1,C85\n1,,3\n")
    manifest = succeed(job).output("manifest.json")
    (column,) = manifest["categories"]["columns"]
    assert column == {"position": 0, "name": "cabin", "values": [*map(str, range(9)), "C85"]}


def test_a_string_after_a_blank_line_is_found(tmp_path: Path) -> None:
    job = small(tmp_path, "y,port,age\n0,Rome,1\n\n1,Oslo,2\n  \n1,,3\n")
    (column,) = succeed(job).output("manifest.json")["categories"]["columns"]
    assert column["values"] == ["Oslo", "Rome"]


def test_an_unseen_category_of_the_validation_channel_is_missing(tmp_path: Path) -> None:
    job = small(tmp_path, GOOD, "y,age,port\n0,1,Rome\n1,2,Paris\n1,2,Paris\n1,2,Bonn\n")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert "channel validation, column port: 3 cells are missing" in outcome.log
    assert "'Paris', 'Bonn'" in outcome.log


def test_label_names_give_the_order_of_classes(tmp_path: Path) -> None:
    given = {"label_names": "no,yes,maybe", "objective": "multi:softprob", "num_class": "3"}
    job = succeed(small(tmp_path, "yes,1\nno,2\nyes,3\n", **given))
    assert job.output("manifest.json")["label_names"] == ["no", "yes", "maybe"]


def test_a_column_of_more_categories_than_codes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.formats.categories.MOST_CATEGORIES", 2)
    job = small(tmp_path, "y,port,age\n0,Rome,1\n1,Oslo,2\n1,Bonn,2\n")
    assert job.run().code == 1
    assert "column port: more than 2 categories" in job.failure


def test_white_space_and_the_empty_string(tmp_path: Path) -> None:
    job = small(tmp_path, 'y,port\n0, Rome\n1,Rome\n0,""\n1,\n')
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    (column,) = job.output("manifest.json")["categories"]["columns"]
    assert column["values"] == [" Rome", "Rome"]
    assert "note: column port: white space is a part of a category: ' Rome'" in outcome.log


def test_the_features_of_the_owner_get_codes_and_keep_categories_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transform(rows: np.ndarray, names: Any, fitted: Any = None) -> Any:
        seen.append(rows)
        kept = [names.index(name) for name in ("age", "sex", "embarked")]
        values = np.column_stack([rows[:, kept], rows[:, 0] * rows[:, 3]]).astype(np.float32)
        return values, ("age", "sex", "embarked", "product")

    seen: list[np.ndarray] = []
    monkeypatch.setattr(features, "transform", transform)
    job = succeed(job_of(tmp_path, {"train": TITANIC}, **BINARY))
    codes = fitted(TITANIC)
    np.testing.assert_array_equal(seen[-1][:, 2], codes.sex.cat.codes)
    assert job.booster().feature_types == ["q", "c", "c", "q"]
    frame = codes[["age", "sex", "embarked"]].astype({"age": "float32"})
    frame["product"] = codes.pclass.astype("float32") * frame.age
    expected = notebook(frame.assign(y=TITANIC.survived)[["y", *frame]], BINARY)
    assert trees(job.booster()) == trees(expected)
    columns = job.output("manifest.json")["categories"]["columns"]
    assert [entry["name"] for entry in columns] == ["title", "sex", "ticket", "cabin", "embarked"]


def test_features_that_drop_columns_without_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "transform", lambda rows, names, fitted: (rows[:, 1:], names))
    job = small(tmp_path, "0,Rome,1\n1,Oslo,2\n")
    assert job.run().code == 1
    assert "drops columns, and without names nothing shows which of the rest" in job.failure


def test_a_job_goes_on_with_the_same_categories_alone(tmp_path: Path) -> None:
    frames = {"train": TITANIC[:300]}
    given = {**BINARY, "checkpoint_rounds": "1"}
    whole = succeed(job_of(tmp_path / "whole", frames, **given))
    whole.checkpoints = True
    succeed(whole)
    job = job_of(tmp_path / "part", frames, **(given | {"num_round": "3"}))
    job.checkpoints = True
    succeed(job)
    job.hyperparameters["num_round"] = "8"
    assert succeed(job).model == whole.model
    job.put("train", "part", body(TITANIC[:300].replace("Åbo", "Turku"), "csv"))
    job.hyperparameters["num_round"] = "9"
    assert job.run().code == 1
    assert "categories of column embarked: 4, " in job.failure
