"""MLmodel folders answer as MLflow's scoring server, whose answers mlmodels/figures.json has."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
import yaml

import settings
from conftest import COLUMNS, sample_rows, save, to_csv, train
from mlmodels import cases
from mlmodels.cases import REQUESTS, body_of
from predictor import create_app
from runtime.inference import scoring
from runtime.inference.outputs import estimator_classes
from runtime.job.paths import Paths

pytestmark = pytest.mark.usefixtures("quick_choice")

HERE = Path(__file__).resolve().parent / "mlmodels"
FIGURES: dict[str, dict[str, Any]] = json.loads((HERE / "figures.json").read_text())["answers"]
TYPED = ("booster", "classifier")  # signatures with a column of each type; others have doubles

# What MLflow answers and this program refuses, by the models of which that is so, and why.
REFUSED_HERE: dict[str, tuple[str, ...]] = {
    "beyond-integer": TYPED,  # pandas gives another integer
    "beyond-long": TYPED,
    "null-in-boolean": TYPED,  # pandas gives False
    "word-in-boolean": TYPED,  # pandas gives True, for the text "false" too
    # pandas fills the row up, as the built-in algorithm does: a lost column gives a wrong number
    "split-ragged": ("booster", "classifier", "stopped", "optional", "tensor", "unnamed"),
    # infinite in 32 bits: refused in every format, and by MLflow itself for a Booster
    "infinite": ("classifier", "stopped", "tensor"),
    "large-numbers": ("classifier", "stopped", "tensor"),
}
# What MLflow refuses and this program answers: SageMaker's JSON, columns in another order or form
# than the signature's, numbers as text and null where no type is declared.
ANSWERED_HERE = {
    *("an-array", "another-key-of-instances", "boolean-in-double", "duplicate-names"),
    *("inputs-arrays", "inputs-columns", "inputs-columns-shuffled", "inputs-fraction-in-long"),
    *("inputs-integers", "inputs-null-in-double", "inputs-null-in-long", "inputs-objects"),
    *("inputs-scalars", "instances-arrays", "instances-columns", "instances-null-in-array"),
    *("instances-null-in-double", "instances-objects", "instances-objects-shuffled"),
    *("instances-one-array", "null-in-boolean", "number-as-text-in-double"),
    *("number-as-text-in-long", "number-in-boolean", "records-extra-column", "records-of-arrays"),
    *("records-shuffled", "split-extra-column", "split-no-columns", "split-no-rows"),
    *("split-shuffled", "two-in-boolean"),
}
ANOTHER_ANSWER = ("optional", "split-without-ratio")  # see test_an_optional_column_is_missing


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlmodels")
    with tarfile.open(HERE / "models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def folder(models: Path, opt_ml: Path) -> Path:
    """The folder of the model `classifier`, as SageMaker unpacks its archive."""
    shutil.copytree(models / "classifier", opt_ml / "model", dirs_exist_ok=True)
    return opt_ml / "model"


def serve(folder: Path, **options: Any) -> Any:
    """Return a client of the application that serves a model folder."""
    if folder.name != "model":
        base = folder.parent / f"base-{folder.name}"
        base.mkdir(exist_ok=True)
        if not (base / "model").exists():
            (base / "model").symlink_to(folder)
        folder = base / "model"
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"})
    return create_app(dataclasses.replace(config, **options), Paths(folder.parent)).test_client()


def ask(client: Any, request: Any, **headers: str) -> Any:
    """Return the answer to a request's document."""
    body = body_of(request)
    return client.post("/invocations", data=body, content_type="application/json", headers=headers)


def edit(folder: Path, **changes: Any) -> None:
    """Change entries of an MLmodel file; None removes one."""
    path = folder / "MLmodel"
    document = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value}))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_requests_are_answered_as_mlflow_does(name: str, models: Path) -> None:
    client = serve(models / name, acceleration="off")
    faults = []
    for case, request in REQUESTS.items():
        theirs, answer = FIGURES[name][case], ask(client, request)
        if (name, case) == ANOTHER_ANSWER:
            continue
        if name in REFUSED_HERE.get(case, ()):
            good = answer.status_code in {400, 415} and "predictions" in theirs
        elif "status" in theirs and answer.status_code == 200:
            good = case in ANSWERED_HERE
        elif "status" in theirs:
            good = answer.status_code in {400, 415}
        else:  # `1` and `1.0` are not the same text
            good = answer.content_type == "application/json" and json.dumps(theirs) == json.dumps(
                json.loads(answer.data)
            )
        if not good:
            faults.append((case, theirs, answer.status_code, answer.data))
    assert faults == []


@pytest.mark.parametrize("name", ["booster", "classifier", "unsigned"])
def test_onedal_answers_the_same_requests(name: str, models: Path) -> None:
    pytest.importorskip("daal4py")
    answer = ask(serve(models / name), REQUESTS["split"])
    assert answer.headers["X-Model-Engine"].startswith("onedal")
    theirs = np.array(FIGURES[name]["split"]["predictions"])
    np.testing.assert_allclose(answer.json["predictions"], theirs, rtol=1e-5, atol=1e-6)


def test_an_optional_column_is_missing(models: Path) -> None:
    """MLflow leaves the column out, so that the ones after it are taken for those before."""
    client = serve(models / "optional", acceleration="off")
    answer = ask(client, REQUESTS["split-without-ratio"]).json
    rows = [[None if at == 2 else cell for at, cell in enumerate(row)] for row in cases.ROWS]
    assert answer == ask(client, cases.split(rows)).json
    booster = xgboost.Booster(model_file=models / "optional" / "model.json")
    values = np.array(rows, np.float32)
    np.testing.assert_array_equal(
        np.float32(answer["predictions"]), booster.predict(xgboost.DMatrix(values))
    )


REFUSALS = {
    "split-without-age": "columns that the model's signature requires are missing: age",
    "word-in-double": "row 1, column income: 'many' is not a number",
    "null-in-long": "row 1, column age: a column of int64 in the signature has no missing values",
    "beyond-integer": "row 1, column visits: '2147483648' is beyond int32",
    "beyond-long": "row 1, column age: '9223372036854775808' is beyond int64",
    "word-in-boolean": "row 1, column member: 'true' is neither true nor false",
    "array-in-double": "row 1, column income: '[1.0]' is not a number",
    "two-forms": "send one of dataframe_split, inputs, not several",
    "split-ragged": "row 2: 4 cells where there are 5 columns",
    "inputs-uneven-columns": "the columns of the request have different lengths",
}


def test_refusals_are_400_and_name_row_and_column(models: Path) -> None:
    client = serve(models / "booster", acceleration="off")
    answers = {name: ask(client, REQUESTS[name]) for name in REFUSALS}
    assert {answer.status_code for answer in answers.values()} == {400}
    assert {name: answer.json["message"] for name, answer in answers.items()} == REFUSALS


def test_the_archive_may_hold_the_folder_itself(models: Path, opt_ml: Path) -> None:
    shutil.copytree(models / "classifier", opt_ml / "model" / "artifacts")
    answer = ask(serve(opt_ml / "model", acceleration="off"), REQUESTS["records"])
    assert answer.json == FIGURES["classifier"]["records"]


def test_a_multi_model_endpoint_loads_the_folder(models: Path, opt_ml: Path) -> None:
    (opt_ml / "models").mkdir()
    client = serve(opt_ml / "model", acceleration="off", multi_model=True)
    loaded = client.post("/models", json={"model_name": "a", "url": str(models / "classifier")})
    assert loaded.status_code == 200, loaded.data
    answer = client.post("/models/a/invoke", json=REQUESTS["split"])
    assert answer.json == FIGURES["classifier"]["split"]


def test_the_saved_example_is_tried_at_load(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    serve(folder, acceleration="off")
    assert "the input example of the model is answered: 3 rows" in caplog.text


def test_an_example_without_its_request_is_tried_too(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    example = yaml.safe_load((folder / "MLmodel").read_text())["saved_input_example_info"]
    edit(folder, saved_input_example_info=example | {"serving_input_path": None})
    serve(folder, acceleration="off")
    assert "the input example of the model is answered: 3 rows" in caplog.text


def test_an_example_that_fails_is_logged_and_the_model_serves(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "serving_input_example.json").write_text('{"dataframe_split": {"data": [["x"]]}}')
    client = serve(folder, acceleration="off")
    assert "the input example of the model cannot be answered" in caplog.text
    assert client.get("/ping").status_code == 200
    assert ask(client, REQUESTS["split"]).json == FIGURES["classifier"]["split"]


def inputs(kind: str = "double", names: Any = cases.COLUMNS, **more: Any) -> str:
    """Return a signature's inputs."""
    return json.dumps([{"type": kind, "name": name} | more for name in names])


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "not-yaml": ({}, "is not a valid MLmodel"),
    "no-flavors": ({"flavors": None}, "is not a valid MLmodel"),
    "another-flavor": ({"flavors": {"sklearn": {}}}, "has the flavors sklearn; supported"),
    "file-absent": ({"flavors": {"xgboost": {"data": "gone.ubj"}}}, "'gone.ubj', which is not"),
    "file-outside": ({"flavors": {"xgboost": {"data": "../../x"}}}, "'../../x', which is not"),
    "datetime": ({"signature": {"inputs": inputs("datetime")}}, "'age' is of type 'datetime'"),
    "too-few": ({"signature": {"inputs": inputs(names=["age"])}}, "has 1 columns (age); the model"),
    "other-names": ({"signature": {"inputs": inputs(names="abcde")}}, "(a, b, c, d, e); the model"),
    "not-json": ({"signature": {"inputs": "[{"}}, "its signature cannot be used"),
    "parameter": (
        {"signature": {"inputs": inputs(), "params": '[{"name": "pred_leaf", "default": true}]'}},
        "the parameter 'pred_leaf' is not supported",
    ),
    "tensors": (
        {"signature": {"inputs": json.dumps([{"type": "tensor", "name": "a", "tensor-spec":
         {"dtype": "float64", "shape": [-1]}}])}},
        "named tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_served_is_a_503_that_says_why(name: str, folder: Path) -> None:
    (folder.parent / "x").touch()
    changes, message = BROKEN[name]
    if changes:
        edit(folder, **changes)
    else:
        (folder / "MLmodel").write_text("flavors: [")
    answer = ask(serve(folder, acceleration="off"), REQUESTS["split"])
    assert answer.status_code == 503
    assert message in answer.json["message"]


def test_output_margin_is_the_parameter_that_requests_may_set(folder: Path) -> None:
    params = [{"name": "output_margin", "default": False}, {"name": "pred_leaf", "default": False}]
    edit(folder, signature={"inputs": inputs(), "params": json.dumps(params)})
    client = serve(folder, acceleration="off")
    assert ask(client, REQUESTS["split"]).json == FIGURES["classifier"]["split"]
    margins = ask(client, REQUESTS["params"]).json["predictions"]
    booster = xgboost.Booster(model_file=folder / "model.json")
    matrix = xgboost.DMatrix(np.array(cases.FLOATS), feature_names=list(cases.COLUMNS))
    np.testing.assert_array_equal(np.float32(margins), booster.predict(matrix, output_margin=True))
    answer = ask(client, REQUESTS["split"] | {"params": {"pred_leaf": True}})
    assert (answer.status_code, "pred_leaf" in answer.json["message"]) == (400, True)


def test_other_requests_to_such_a_model_are_answered_as_ever(folder: Path) -> None:
    client = serve(folder, acceleration="off")
    booster = xgboost.Booster(model_file=folder / "model.json")
    scores = booster.inplace_predict(np.array(cases.FLOATS, np.float32), validate_features=False)
    rows = np.array(cases.FLOATS, np.float32)
    for body, content_type in (
        (to_csv(rows), "text/csv"),
        (json.dumps(rows.tolist()).encode(), "application/json"),
        (json.dumps({"features": rows.tolist()}).encode(), "application/json"),
        (body_of({"instances": [{"features": row} for row in rows.tolist()]}), "application/json"),
    ):
        answer = client.post("/invocations", data=body, content_type=content_type)
        assert answer.content_type.startswith("text/csv")
        np.testing.assert_array_equal(np.float32(answer.text.split()), scores)
    row = body_of(dict(zip(cases.COLUMNS, cases.FLOATS[0], strict=True)))
    answer = client.post("/invocations", data=row, content_type="application/json")
    assert np.float32(answer.text) == scores[0]


def test_other_models_know_nothing_of_it(opt_ml: Path) -> None:
    save(train("binary:logistic"), opt_ml / "model")
    client = serve(opt_ml / "model", acceleration="off")
    model = client.application.extensions["scoring"].model
    assert not isinstance(getattr(model.decode, "__self__", None), scoring.Steps)
    rows = np.nan_to_num(sample_rows(3)).tolist()
    answer = ask(client, {"instances": rows}, Accept="application/json")
    assert [set(entry) for entry in answer.json["predictions"]] == [{"score"}] * 3
    names = [f"f{column}" for column in range(COLUMNS)]
    assert ask(client, cases.split(rows, names)).status_code in {400, 415}


def test_the_accept_header_counts(folder: Path) -> None:
    client = serve(folder, acceleration="off")
    expected = FIGURES["classifier"]["split"]
    for accept in ("*/*", "application/json", "text/csv;q=0.1, application/json"):
        assert ask(client, REQUESTS["split"], Accept=accept).json == expected
    answer = ask(client, REQUESTS["split"], Accept="text/csv")
    assert (answer.content_type.partition(";")[0], answer.text) == ("text/csv", "1\n0\n1\n")
    assert ask(client, REQUESTS["split"], Accept="image/png").status_code == 406
    pipeline = serve(folder, acceleration="off", default_accept="text/csv")
    assert ask(pipeline, REQUESTS["split"]).text == "1\n0\n1\n"


def test_selected_keys_are_objects(folder: Path) -> None:
    keys = ("predicted_label", "probability")
    answer = ask(serve(folder, acceleration="off", inference_output=keys), REQUESTS["split"]).json
    assert [entry["predicted_label"] for entry in answer["predictions"]] == [1, 0, 1]
    assert [tuple(entry) for entry in answer["predictions"]] == [keys] * 3


def test_a_booster_answers_by_all_its_rounds_as_in_mlflow(models: Path, opt_ml: Path) -> None:
    folder = opt_ml / "model"
    shutil.copytree(models / "booster", folder, dirs_exist_ok=True)
    booster = xgboost.Booster(model_file=folder / "model.ubj")
    booster.set_attr(best_iteration="0")
    booster.save_model(folder / "model.ubj")
    answer = ask(serve(folder, acceleration="off"), REQUESTS["split"])
    assert answer.json == FIGURES["booster"]["split"]
    assert "X-Model-Iterations" not in answer.headers


def test_classes_are_those_of_the_estimator() -> None:
    rows = np.nan_to_num(sample_rows(200))
    two, three = (rows[:, 0] > 0).astype(int), np.digitize(rows[:, 0], [-0.5, 0.5])
    options = {"n_estimators": 3, "max_depth": 2, "n_jobs": 1}
    for labels, more in (
        (two, {}),
        (two, {"objective": "binary:hinge"}),
        (two, {"objective": "binary:logitraw"}),
        (two, {"objective": "multi:softprob", "num_class": 2}),
        (three, {}),
        (three, {"objective": "multi:softmax"}),
        (np.column_stack([two, three > 1]), {}),
    ):
        estimator = xgboost.XGBClassifier(**options, **more).fit(rows, labels)
        booster = estimator.get_booster()
        scores = booster.predict(xgboost.DMatrix(rows))
        expected, found = estimator.predict(rows), estimator_classes(scores, estimator.objective)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.kind == expected.dtype.kind
