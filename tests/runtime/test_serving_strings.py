"""Requests of strings to models of other kinds, and what an attacker or an accident sends.

test_serving_categories.py has the usual ones. CATEGORY_SEEDS sets how many random models are asked
in every format (default 10).
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
import xgboost
from flask.testing import FlaskClient

import features
import settings
from conftest import save
from predictor import create_app, load_model
from runtime.formats.categories import Categories
from runtime.formats.errors import FormatError
from runtime.inference import invocation
from runtime.inference.handlers import Program
from runtime.job import artifact
from runtime.job.paths import Paths
from sample import expected, own
from training_job import Job

pytestmark = pytest.mark.usefixtures("quick_choice")

SEEDS = int(os.environ.get("CATEGORY_SEEDS", "10"))
ALPHABET = ("a", "B b", "c,c", 'd"d', "=1+1", " e", "7", "nan", "null", "inf", "1_0", "x" * 300)
ROWS = 300
CHOSEN = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}


def frame_of(generator: np.random.Generator, count: int = ROWS) -> pd.DataFrame:
    """Return numbers, and columns of strings in categories, some cells missing."""
    frame = pd.DataFrame({"number": generator.normal(size=count).astype("f4").astype(float)})
    for column in range(int(generator.integers(1, 4))):
        values = generator.permutation([*ALPHABET, *map(str, range(50))])
        chosen = values[: int(generator.integers(2, 40))]
        frame[f"text {column}"] = pd.Categorical(generator.choice(chosen, count))
    frame["other"] = generator.integers(0, 9, count).astype(float)
    return frame.mask(generator.random(frame.shape) < 0.05)[generator.permutation(frame.columns)]


def train(frame: pd.DataFrame, generator: np.random.Generator) -> xgboost.Booster:
    labels = generator.integers(0, 2, len(frame))
    matrix = xgboost.DMatrix(frame, labels, enable_categorical=True, nthread=1)
    onehot = int(generator.choice([2, 8, 100]))
    chosen = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "eta": 0.5}
    return xgboost.train({**chosen, "max_cat_to_onehot": onehot}, matrix, 6)


def truth_of(booster: xgboost.Booster, frame: pd.DataFrame) -> np.ndarray:
    return booster.predict(xgboost.DMatrix(frame, enable_categorical=True, nthread=1))


def client_of(base: Path, **environ: str) -> FlaskClient:
    return create_app(settings.load(CHOSEN | environ), Paths(base)).test_client()


def records(frame: pd.DataFrame) -> list[list[Any]]:
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist()


def by_name(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame, row, strict=True)) for row in records(frame)]


def parquet_of(frame: pd.DataFrame) -> bytes:
    pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False)
    return stream.getvalue()


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({name: object for name in frame if frame[name].dtype == "category"})


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


def backwards(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.columns[::-1]]


Write = Callable[[pd.DataFrame], Any]
FORMATS: dict[str, tuple[str, Write]] = {
    "csv": ("text/csv", lambda frame: frame.to_csv(index=False, header=False)),
    "csv, quoted": ("text/csv", lambda frame: frame.to_csv(index=False, header=False, quoting=1)),
    "json": ("application/json", lambda frame: orjson.dumps({"instances": records(frame)})),
    "json by name": ("application/json", lambda frame: orjson.dumps(by_name(backwards(frame)))),
    "jsonlines": ("application/jsonlines", lambda frame: lines(records(frame))),
    "jsonlines by name": ("application/jsonlines", lambda frame: lines(by_name(frame))),
    "parquet": ("application/x-parquet", lambda frame: parquet_of(backwards(as_text(frame)))),
    "parquet, dictionaries": ("application/x-parquet", parquet_of),
}


def scores(client: FlaskClient, body: Any, content_type: str, path: str = "") -> np.ndarray:
    answer = client.post(
        path or "/invocations", data=body, content_type=content_type, headers={"Accept": "text/csv"}
    )
    assert answer.status_code == 200, answer.text
    return np.array([float(line) for line in answer.text.split()], np.float32)


def agree(client: FlaskClient, frame: pd.DataFrame, truth: np.ndarray) -> None:
    for name, (content_type, write) in FORMATS.items():
        found = scores(client, write(frame), content_type)
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_format_answers_as_xgboost_does_on_the_frame(opt_ml: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    frame = frame_of(generator)
    booster = train(frame, generator)
    agree(client_of(save(booster, opt_ml / "model").parent), frame, truth_of(booster, frame))


def test_an_estimators_file_with_integers_and_an_order_of_its_own_is_served(opt_ml: Path) -> None:
    generator = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "year": pd.Categorical(generator.choice([1912, 1905, 7], ROWS)),
            "deck": pd.Categorical(generator.choice(list("ABC"), ROWS), list("CAB"), ordered=True),
        }
    )
    estimator = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1)
    estimator.fit(frame, (frame.year == 1905) ^ (frame.deck == "C"))
    estimator.save_model(opt_ml / "model" / "model.json")
    agree(client_of(opt_ml), frame, estimator.predict_proba(frame)[:, 1])


def test_a_model_of_codes_reads_strings_by_its_manifest(opt_ml: Path) -> None:
    generator = np.random.default_rng(3)
    frame = frame_of(generator)
    texts = [name for name in frame if frame[name].dtype == "category"]
    codes = frame.assign(**{name: frame[name].cat.codes.replace(-1, np.nan) for name in texts})
    types = ["c" if name in texts else "q" for name in frame]
    rows, labels = codes.to_numpy(np.float32), generator.integers(0, 2, ROWS)
    matrix = xgboost.DMatrix(rows, labels, feature_types=types, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, 5)
    truth = booster.predict(matrix)
    folder = save(booster, opt_ml / "model")
    body = codes.to_csv(index=False, header=False)
    np.testing.assert_allclose(scores(client_of(opt_ml), body, "text/csv"), truth, atol=1e-6)
    places = {name: at for at, name in enumerate(frame)}
    values = {places[name]: tuple(frame[name].cat.categories) for name in texts}
    document = Categories(values, tuple(frame)).document()
    known = artifact.Manifest(feature_names=tuple(frame), num_columns=len(types))
    artifact.Manifest(**{**vars(known), "categories": document}).save(folder)
    agree(client_of(opt_ml), frame, truth)


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, xgboost.Booster]:
    """A model of a column of words and one of numbers as text."""
    generator = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": generator.integers(1, 80, ROWS).astype(float),
            "port": pd.Categorical(generator.choice(["Cork", "Oslo", "=1+1"], ROWS)),
            "zip": pd.Categorical(generator.choice(["10", "7", "1.5"], ROWS)),
        }
    )
    return frame, train(frame, generator)


@pytest.fixture
def client(opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster]) -> FlaskClient:
    return client_of(save(small[1], opt_ml / "model").parent)


def test_npy_and_libsvm_hold_codes(
    client: FlaskClient, small: tuple[pd.DataFrame, xgboost.Booster]
) -> None:
    frame, booster = small
    codes = [frame.age, frame.port.cat.codes, frame.zip.cat.codes]
    stream, truth = io.BytesIO(), truth_of(booster, frame)
    np.save(stream, np.column_stack(codes).astype(np.float32))
    found = scores(client, stream.getvalue(), "application/x-npy")
    np.testing.assert_allclose(found, truth, atol=1e-6)
    body = "".join(f"0 0:{a} 1:{b} 2:{c}\n" for a, b, c in zip(*codes, strict=True))
    np.testing.assert_allclose(scores(client, body, "text/libsvm"), truth, atol=1e-6)


BODIES: dict[str, Write] = {
    "text/csv": lambda cell: f'1,"{cell}",10\n'.encode(),
    "application/json": lambda cell: orjson.dumps([[1, cell, "10"]]),
    "application/jsonlines": lambda cell: orjson.dumps([1, cell, "10"]),
}
NOT_NUMBERS = ("1_0", "\uff11", "\u0661", "0x1", "1e", "1 0")


@pytest.mark.parametrize("content_type", BODIES)
@pytest.mark.parametrize("cell", NOT_NUMBERS)
def test_only_numbers_of_the_grammar_are_codes(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster], cell: str, content_type: str
) -> None:
    save(small[1], opt_ml / "model")
    served = invocation.steps_of(
        load_model(opt_ml / "model", settings.load(CHOSEN)), settings.load(CHOSEN)
    )
    rows = served.decode(BODIES[content_type](cell), content_type)
    assert np.isnan(rows.values[0, 1])
    assert [(found.position, found.value) for found in rows.unseen] == [(1, cell)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('[[1,1e300,"10"]]', "application/json"),
        ('[[1,"1e300","10"]]', "application/json"),
        ('[1,"-1e999","10"]', "application/jsonlines"),
        ("1,1e300,10\n", "text/csv"),
        ('[[1,"infinity","10"]]', "application/json"),
        ('[1,"-inf","10"]', "application/jsonlines"),
        ("1,inf,10\n", "text/csv"),
        (f'[[NaN,{"9" * 400},"10"]]', "application/json"),
    ],
)
def test_codes_beyond_a_float_are_refused_by_column(
    client: FlaskClient, body: str, content_type: str
) -> None:
    answer = client.post("/invocations", data=body, content_type=content_type)
    assert answer.status_code == 415
    assert answer.get_json()["column"] == "port"
    assert "too large for a 32-bit float" in answer.get_json()["message"]


def test_a_text_with_underscores_is_no_integer_category(opt_ml: Path) -> None:
    categories = Categories({0: (10, 5)})
    codes, unseen = categories.encode(0, ["1_0", "\uff15", "10", 5, "5.0", 10**400])
    np.testing.assert_array_equal(codes, [np.nan, np.nan, 0, 1, 1, np.nan])
    assert unseen is not None
    assert unseen.count == 3


@pytest.mark.parametrize("cell", ["x" * 5000, "\x1b[31mred", "'); DROP TABLE--", "\u202eabc"])
def test_hostile_values_are_shortened_and_printable(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster], cell: str
) -> None:
    client = client_of(save(small[1], opt_ml / "model").parent, UNSEEN_CATEGORIES="refuse")
    answer = client.post("/invocations", data=json.dumps([[1, cell, "10"]]),
                         content_type="application/json")  # fmt: skip
    assert answer.status_code == 415
    assert len(answer.get_data()) < 1000
    assert answer.text.isprintable()
    assert answer.get_json()["message"].startswith("row 1, column port: ")


def counted(client: FlaskClient) -> float:
    text = client.get("/metrics").text
    found = [line for line in text.splitlines() if line.startswith("unseen_categories_total")]
    return float(found[0].split()[-1])


def test_what_is_refused_is_counted_too(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster]
) -> None:
    client = client_of(save(small[1], opt_ml / "model").parent, UNSEEN_CATEGORIES="refuse")
    before = counted(client)
    body = "1,Rome,10\n1,Cork,10\n1,Bern,7\n"
    answer = client.post("/invocations", data=body, content_type="text/csv")
    assert answer.status_code == 415
    assert counted(client) - before == 2


def other_ports(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(port=frame.port.cat.rename_categories(["Bern", "Cork", "Oslo"]))


def test_models_of_other_categories_answer_codes_alone_together(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster], caplog: pytest.LogCaptureFixture
) -> None:
    frame, booster = small
    second = train(other_ports(frame), np.random.default_rng(1))
    save(booster, opt_ml / "model", "model-0")
    save(second, opt_ml / "model", "model-1")
    client = client_of(opt_ml)
    assert "store different categories" in caplog.text
    answer = client.post("/invocations", data="1,Cork,10\n", content_type="text/csv")
    assert answer.status_code == 415
    body = pd.DataFrame([frame.age, frame.port.cat.codes, frame.zip.cat.codes]).T
    found = scores(client, body.to_csv(index=False, header=False), "text/csv")
    both = [truth_of(booster, frame), truth_of(second, other_ports(frame))]
    np.testing.assert_allclose(found, np.mean(both, axis=0), atol=1e-6)


def test_categories_of_models_are_not_those_of_columns_that_features_py_changes(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path,
) -> None:  # fmt: skip
    source = tmp_path / "features.py"
    source.write_text("edited = True\n")
    monkeypatch.setattr(features, "__file__", str(source))
    client = client_of(save(small[1], opt_ml / "model").parent)
    assert "features.py is edited" in caplog.text
    answer = client.post("/invocations", data="1,Cork,10\n", content_type="text/csv")
    assert answer.status_code == 415


def test_a_model_of_a_multi_model_endpoint_reads_strings(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, booster = small
    folder = save(booster, opt_ml / "models" / "own")
    (opt_ml / "run" / "models").mkdir(parents=True)
    monkeypatch.setenv("SERVE_RUN", str(opt_ml / "run"))
    client = client_of(opt_ml, SAGEMAKER_MULTI_MODEL="true")
    answer = client.post("/models", json={"model_name": "m", "url": str(folder)})
    assert answer.status_code == 200, answer.text
    body = frame.to_csv(index=False, header=False)
    found = scores(client, body, "text/csv", "/models/m/invoke")
    np.testing.assert_allclose(found, truth_of(booster, frame), atol=1e-6)


def of_program(program: Program, folder: Path, body: str) -> tuple[list[float], invocation.Trace]:
    environ = {
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "text/csv",
        "wsgi.input": io.BytesIO(body.encode()),
    }
    trace = invocation.trace_of(environ)
    answer = invocation.answer(program.serve(folder, load_model), environ, 1 << 20, trace)
    return [float(score) for score in answer.body.split(b",")], trace


def test_the_default_functions_read_strings_of_a_model_that_they_load(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster]
) -> None:
    frame, booster = small
    folder = save(booster, opt_ml / "model")

    def write(scores: Any, accept: str) -> str:
        return ",".join(map(str, scores.tolist()))

    lenient = Program(settings.load(CHOSEN), output_fn=write)
    found, _ = of_program(lenient, folder, frame.to_csv(index=False, header=False))
    np.testing.assert_allclose(found, truth_of(booster, frame), atol=1e-6)
    assert of_program(lenient, folder, "1,Rome,10\n")[1].unseen == 1
    strict = Program(settings.load(CHOSEN | {"UNSEEN_CATEGORIES": "refuse"}), output_fn=write)
    with pytest.raises(FormatError, match="row 1, column port: 'Rome'"):
        of_program(strict, folder, "1,Rome,10\n")
    theirs = Program(settings.load(CHOSEN), model_fn=lambda _: booster, output_fn=write)
    with pytest.raises(FormatError, match="'Rome' is not a number"):
        of_program(theirs, folder, "1,Rome,10\n")


def test_contributions_are_those_of_the_frame(opt_ml: Path) -> None:
    generator = np.random.default_rng(8)
    frame = frame_of(generator)
    booster = train(frame, generator)
    save(booster, opt_ml / "model")
    client = client_of(opt_ml, SAGEMAKER_INFERENCE_OUTPUT="contributions")
    answer = client.post(
        "/invocations", data=FORMATS["csv"][1](frame), content_type="text/csv",
        headers={"Accept": "application/json"},
    )  # fmt: skip
    found = [row["contributions"] for row in answer.get_json()["predictions"]]
    matrix = xgboost.DMatrix(frame, enable_categorical=True)
    np.testing.assert_allclose(found, booster.predict(matrix, pred_contribs=True), atol=1e-5)


@pytest.mark.parametrize("document", [{}, {"columns": [{"position": 0}]}, {"columns": 7}, [], "x"])
def test_a_manifest_with_broken_categories_is_a_fault(
    opt_ml: Path, small: tuple[pd.DataFrame, xgboost.Booster], document: Any
) -> None:
    folder = save(small[1], opt_ml / "model")
    artifact.Manifest(num_columns=3, categories=document).save(folder)
    answer = client_of(opt_ml).get("/ping")
    assert answer.status_code == 503
    assert "manifest.json: " in answer.get_json()["message"]


TITLES = ("Mr.", "Mrs.", 'the "Countess"', "=1+1", "Åse, Miss")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, Any]:
    """A job of ours on strings with labels of strings; its data, and a notebook's answers."""
    generator = np.random.default_rng(21)
    frame = pd.DataFrame(
        {
            "fate": "",
            "title": generator.choice(TITLES, ROWS),
            "age": generator.integers(1, 80, ROWS).astype(float),
            "deck": generator.choice(list("ABC"), ROWS),
        }
    )
    alive = (frame.title == "Mrs.") ^ (frame.deck == "A") | (frame.age < 9)
    frame["fate"] = np.where(alive, "survived", "died")
    frame.loc[::9, ["deck", "age"]] = np.nan
    parameters = {"num_round": "6", "objective": "binary:logistic", "max_depth": "4"}
    base = tmp_path_factory.mktemp("ml")
    job = Job(base, {**parameters, "enable_categorical": "true"})
    job.put("train", "part", frame.to_csv(index=False).encode(), ContentType="text/csv")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    features = frame.drop(columns="fate").astype({"title": "category", "deck": "category"})
    matrix = xgboost.QuantileDMatrix(features, alive, enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4}, matrix, 6)
    return base, features, truth_of(booster, features)


@pytest.mark.parametrize("form", own.CONTENT_TYPES)
def test_requests_of_the_projects_own_data_hold_its_strings(trained: Any, form: str) -> None:
    base, features, truth = trained
    rows, names = own.read_rows(base, ROWS)
    assert names == tuple(features)
    body = own.request(base, rows, names, form)
    assert (b"Countess" in body) == (form in own.HOLD_STRINGS)
    found = scores(client_of(base), body, own.CONTENT_TYPES[form])
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6)
    np.testing.assert_allclose(expected.answers(base, rows), truth, rtol=0, atol=1e-6)


def test_requests_to_a_model_from_a_notebook_hold_the_strings_of_the_data(
    tmp_path: Path, trained: Any
) -> None:
    _, features, truth = trained
    features = features.assign(title=features.title.cat.rename_categories(list("vwxyz")))
    model = train(features, np.random.default_rng(0))
    save(model, tmp_path / "model")
    data = features.assign(fate=np.where(truth > 0.5, "x", "y"))[["fate", *features]]
    job = Job(tmp_path, {})
    job.put("train", "part", data.to_csv(index=False).encode(), ContentType="text/csv")
    rows, names = own.read_rows(tmp_path, ROWS)
    body = own.request(tmp_path, rows, names, "json")
    found = scores(client_of(tmp_path), body, "application/json")
    np.testing.assert_allclose(found, truth_of(model, features), rtol=0, atol=1e-6)
