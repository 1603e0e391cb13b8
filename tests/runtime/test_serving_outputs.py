"""What answers hold: scores and selected outputs of every objective, against XGBoost itself."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import settings
from conftest import PARAMETERS, sample_rows, save, to_csv
from predictor import create_app
from runtime.job.artifact import Manifest
from runtime.job.paths import Paths

pytestmark = pytest.mark.usefixtures("quick_choice")

ROWS = sample_rows(40, seed=3)
CLASSIFIERS = [name for name in PARAMETERS if name.startswith(("binary", "multi"))]
OTHERS = [name for name in PARAMETERS if name not in CLASSIFIERS]
NAMES = ("no", "maybe", "yes")


def serve(base: Path, *keys: str, **options: Any):
    """Return a test client of the application in this process, with `keys` selected."""
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"})
    config = dataclasses.replace(config, inference_output=keys, **options)
    return create_app(config, Paths(base)).test_client()


def post(client, rows: np.ndarray = ROWS, accept: str = "application/json"):
    answer = client.post(
        "/invocations", data=to_csv(rows), content_type="text/csv", headers={"Accept": accept}
    )
    assert answer.status_code == 200, answer.data
    return answer.data


def rows_of(body: bytes) -> list[dict[str, Any]]:
    return json.loads(body)["predictions"]


def column(body: bytes, key: str) -> list[Any]:
    return [row[key] for row in rows_of(body)]


@pytest.mark.parametrize("objective", PARAMETERS)
def test_scores_are_those_of_booster_predict(objective: str, booster, opt_ml: Path) -> None:
    save(booster(objective), opt_ml / "model")
    truth = booster(objective).predict(xgboost.DMatrix(ROWS))
    body = post(serve(opt_ml), accept="text/csv").decode()
    found = [[float(cell) for cell in line.split(",")] for line in body.splitlines()]
    np.testing.assert_allclose(np.squeeze(found), truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", CLASSIFIERS)
def test_classifiers_give_labels_and_no_score(objective: str, booster, opt_ml: Path) -> None:
    model = booster(objective)
    save(model, opt_ml / "model")
    predicted = model.predict(xgboost.DMatrix(ROWS))
    classes = 3 if objective.startswith("multi") else 2
    expected = {
        "binary:logistic": predicted > 0.5,
        "binary:logitraw": predicted > 0,
        "multi:softprob": predicted.argmax(axis=1) if predicted.ndim == 2 else None,
    }.get(objective, predicted)
    body = post(serve(opt_ml, "predicted_label", "labels", "predicted_score"))
    assert column(body, "predicted_label") == list(expected)
    assert column(body, "labels") == [list(range(classes))] * len(ROWS)
    assert column(body, "predicted_score") == [None] * len(ROWS)


@pytest.mark.parametrize("objective", OTHERS)
def test_regressions_give_a_score_and_null_for_the_rest(
    objective: str, booster, opt_ml: Path
) -> None:
    save(booster(objective), opt_ml / "model")
    keys = tuple(key for key in settings.OUTPUT_KEYS if key != "contributions")
    rows = rows_of(post(serve(opt_ml, *keys)))
    truth = booster(objective).predict(xgboost.DMatrix(ROWS))
    assert all(list(row) == list(keys) for row in rows)
    np.testing.assert_allclose([row["predicted_score"] for row in rows], truth, rtol=1e-5)
    rest = {key: value for row in rows for key, value in row.items() if key != "predicted_score"}
    assert set(rest.values()) == {None}


def test_binary_probabilities_are_of_the_positive_class_and_of_both(booster, opt_ml: Path) -> None:
    save(booster("binary:logistic"), opt_ml / "model")
    truth = booster("binary:logistic").predict(xgboost.DMatrix(ROWS))
    body = post(serve(opt_ml, "probability", "probabilities", "raw_score", "raw_scores"))
    both = np.column_stack([1 - truth, truth])
    np.testing.assert_allclose(column(body, "probability"), truth, atol=1e-6)
    np.testing.assert_allclose(column(body, "probabilities"), both, atol=1e-6)
    np.testing.assert_allclose(column(body, "raw_score"), truth, atol=1e-6)
    np.testing.assert_allclose(column(body, "raw_scores"), both, atol=1e-6)


@pytest.mark.parametrize("objective", ["binary:logitraw", "binary:hinge"])
def test_binary_scores_that_are_no_probabilities_are_raw_only(
    objective: str, booster, opt_ml: Path
) -> None:
    save(booster(objective), opt_ml / "model")
    truth = booster(objective).predict(xgboost.DMatrix(ROWS))
    body = post(serve(opt_ml, "probability", "probabilities", "raw_score"))
    assert column(body, "probability") == column(body, "probabilities") == [None] * len(ROWS)
    np.testing.assert_allclose(column(body, "raw_score"), truth, rtol=1e-5, atol=1e-6)


def test_softprob_gives_the_winner_and_every_class(booster, opt_ml: Path) -> None:
    save(booster("multi:softprob"), opt_ml / "model")
    truth = booster("multi:softprob").predict(xgboost.DMatrix(ROWS))
    body = post(serve(opt_ml, "probability", "probabilities", "raw_score", "raw_scores"))
    for one, every in (("probability", "probabilities"), ("raw_score", "raw_scores")):
        np.testing.assert_allclose(column(body, one), truth.max(axis=1), atol=1e-6)
        np.testing.assert_allclose(column(body, every), truth, atol=1e-6)


def test_softmax_gives_margins_as_raw_scores(booster, opt_ml: Path) -> None:
    save(booster("multi:softmax"), opt_ml / "model")
    margins = booster("multi:softmax").predict(xgboost.DMatrix(ROWS), output_margin=True)
    body = post(serve(opt_ml, "probabilities", "raw_score", "raw_scores"))
    assert column(body, "probabilities") == [None] * len(ROWS)
    np.testing.assert_allclose(column(body, "raw_scores"), margins, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(column(body, "raw_score"), margins.max(axis=1), rtol=1e-5)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "count:poisson"])
def test_contributions_add_up_to_the_margin(objective: str, booster, opt_ml: Path) -> None:
    save(booster(objective), opt_ml / "model")
    margins = booster(objective).predict(xgboost.DMatrix(ROWS), output_margin=True)
    rows = column(post(serve(opt_ml, "contributions")), "contributions")
    shares = np.reshape(rows, (len(ROWS), -1, ROWS.shape[1] + 1))
    np.testing.assert_allclose(np.squeeze(shares.sum(axis=2)), margins, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("acceleration", "name"), [("require", "onedal"), ("off", "xgboost")])
def test_the_engine_of_contributions_is_said(
    acceleration: str, name: str, booster, opt_ml: Path, tmp_path: Path, monkeypatch
) -> None:
    if name == "onedal":
        pytest.importorskip("daal4py")
    save(booster("reg:squarederror"), opt_ml / "model")
    environ = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": acceleration}
    config = settings.load(environ | {"SAGEMAKER_INFERENCE_OUTPUT": "contributions"})
    monkeypatch.setenv("SERVE_RUN", str(tmp_path))
    client = create_app(config, Paths(opt_ml)).test_client()
    assert client.get("/ping").status_code == 200
    metrics = client.get("/metrics").get_data(as_text=True)
    assert f'\ncontributions_engine{{engine="{name}"}} 1.0\n' in metrics
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report.get("contributions", {}).get("engine") == (name if name == "onedal" else None)


def test_label_names_come_from_the_manifest(booster, opt_ml: Path) -> None:
    folder = save(booster("multi:softprob"), opt_ml / "model")
    Manifest(label_names=NAMES).save(folder)
    truth = booster("multi:softprob").predict(xgboost.DMatrix(ROWS)).argmax(axis=1)
    assert column(post(serve(opt_ml, "label_name")), "label_name") == [NAMES[i] for i in truth]


def test_selected_keys_keep_their_order_in_every_answer_type(booster, opt_ml: Path) -> None:
    save(booster("binary:logistic"), opt_ml / "model")
    client = serve(opt_ml, "probabilities", "predicted_label")
    line = post(client, accept="text/csv").decode().splitlines()[0]
    first = rows_of(post(client))[0]
    assert line == f'"{first["probabilities"]}",{first["predicted_label"]}'
    assert list(first) == ["probabilities", "predicted_label"]
    array = np.load(io.BytesIO(post(client, accept="application/x-npy")))
    assert array.dtype.names == ("probabilities", "predicted_label")
    assert list(array["predicted_label"]) == column(post(client), "predicted_label")


def test_keys_that_never_apply_still_give_a_row_each(booster, opt_ml: Path) -> None:
    save(booster("reg:squarederror"), opt_ml / "model")
    body = post(serve(opt_ml, "probability"), accept="application/jsonlines")
    assert body.splitlines() == [b'{"probability":null}'] * len(ROWS)


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_unknown_keys_are_null_with_a_warning_at_start(
    booster, opt_ml: Path, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    save(booster("binary:logistic"), opt_ml / "model")
    chosen = settings.load(
        {
            "NUM_CLASSES": "2",
            "INPUT_FORMAT": "csv",
            "SAGEMAKER_INFERENCE_OUTPUT": "odds, Probability,,odds",
        }
    ).inference_output
    client = serve(opt_ml, *chosen)
    assert "'odds'" in caplog.text
    assert "label_name" in caplog.text
    truth = booster("binary:logistic").predict(xgboost.DMatrix(ROWS))
    body = post(client, accept=accept)
    if accept == "application/json":
        assert [list(row) for row in rows_of(body)] == [["odds", "probability"]] * len(ROWS)
        assert column(body, "odds") == [None] * len(ROWS)
        np.testing.assert_allclose(column(body, "probability"), truth, atol=1e-6)
    else:
        assert all(line.startswith(b"nan,0.") for line in body.splitlines())


# The forms below are those of AWS's serve.py and handler_service.py, written from Python's floats.
BATCH = ["text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"]


@pytest.mark.parametrize("accept", BATCH)
@pytest.mark.parametrize("objective", ["multi:softprob", "binary:logistic"])
def test_batch_transform_gets_a_line_per_row_for_any_accept(
    booster, opt_ml: Path, objective: str, accept: str
) -> None:
    save(booster(objective), opt_ml / "model")
    truth = booster(objective).predict(xgboost.DMatrix(ROWS))
    client = serve(opt_ml, batch=True)
    body = post(client, accept=accept).decode()
    assert body.endswith("\n")
    lines = body.splitlines()
    assert all(line == str(json.loads(line)) for line in lines), "as Python prints it"
    np.testing.assert_allclose([json.loads(line) for line in lines], truth, atol=1e-6)


def test_batch_transform_keeps_selected_outputs_and_npy(booster, opt_ml: Path) -> None:
    save(booster("multi:softprob"), opt_ml / "model")
    selected = serve(opt_ml, "probabilities", batch=True)
    assert len(column(post(selected), "probabilities")) == len(ROWS)
    array = np.load(io.BytesIO(post(serve(opt_ml, batch=True), accept="application/x-npy")))
    assert array.shape == (len(ROWS), 3)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob"])
def test_many_models_can_answer_in_the_forms_of_the_built_in(
    booster, opt_ml: Path, objective: str
) -> None:
    (opt_ml / "models").mkdir()
    folder = save(booster(objective), opt_ml / "a")
    names = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "SAGEMAKER_MULTI_MODEL": "true"}
    app = create_app(settings.load(names | {"MULTI_MODEL_ANSWERS": "built-in"}), Paths(opt_ml))
    client = app.test_client()
    assert client.post("/models", json={"model_name": "a", "url": str(folder)}).status_code == 200

    def invoke(accept: str) -> Any:
        return client.post(
            "/models/a/invoke",
            data=to_csv(ROWS),
            content_type="text/csv",
            headers={"Accept": accept} if accept else {},
        )

    truth = booster(objective).predict(xgboost.DMatrix(ROWS))
    for accept in ("", "*/*", "application/json"):
        answer = invoke(accept)
        assert answer.content_type == "application/json"
        assert answer.text == json.dumps(answer.json), "spaced as json.dumps of a list"
        np.testing.assert_allclose(answer.json, truth, atol=1e-6)
    line = invoke("text/csv").text
    assert "\n" not in line
    assert line == ",".join(map(str, json.loads(f"[{line}]"))), "as str of each row, joined"
    np.testing.assert_allclose(json.loads(f"[{line}]"), truth, atol=1e-6)
    assert len(invoke("application/jsonlines").text.splitlines()) == len(ROWS)


@pytest.mark.parametrize("short", [1, 4])
@pytest.mark.parametrize("content_type", ["text/csv", "application/json", "application/x-npy"])
def test_short_rows_end_in_missing_values_when_asked_for(
    booster, opt_ml: Path, content_type: str, short: int
) -> None:
    save(booster("reg:squarederror"), opt_ml / "model")
    rows = np.nan_to_num(ROWS[:, :short])
    padded = np.full(ROWS.shape, np.nan, np.float32)
    padded[:, :short] = rows
    stream = io.BytesIO()
    np.save(stream, rows)
    body = {
        "text/csv": to_csv(rows),
        "application/json": json.dumps(rows.tolist()).encode(),
        "application/x-npy": stream.getvalue(),
    }[content_type]
    headers = {"Accept": "application/json"}
    answers = [
        serve(opt_ml, **options).post(
            "/invocations", data=body, content_type=content_type, headers=headers
        )
        for options in ({}, {"short_rows": "missing"})
    ]
    assert answers[0].status_code == 400
    truth = booster("reg:squarederror").predict(xgboost.DMatrix(padded))
    np.testing.assert_allclose(column(answers[1].data, "score"), truth, rtol=1e-5, atol=1e-6)


def test_rows_that_are_too_long_stay_refused(booster, opt_ml: Path) -> None:
    save(booster("reg:squarederror"), opt_ml / "model")
    client = serve(opt_ml, short_rows="missing")
    answer = client.post("/invocations", data=b"1,2,3,4,5,6\n", content_type="text/csv")
    assert answer.status_code == 400


def ensemble(base: Path, objective: str) -> list[xgboost.Booster]:
    models = [xgboost_model(objective, seed) for seed in (1, 2, 3)]
    for number, model in enumerate(models):
        save(model, base / "model", f"xgboost-model-{number}")
    return models


def xgboost_model(objective: str, seed: int) -> xgboost.Booster:
    from conftest import train

    return train(objective, seed=seed, rounds=3)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "reg:squarederror"])
def test_several_models_answer_with_their_mean(objective: str, opt_ml: Path) -> None:
    models = ensemble(opt_ml, objective)
    mean = np.mean([model.predict(xgboost.DMatrix(ROWS)) for model in models], axis=0)
    found = column(post(serve(opt_ml)), "score")
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", ["multi:softmax", "binary:hinge"])
def test_several_models_that_give_labels_vote(objective: str, opt_ml: Path) -> None:
    votes = np.array([m.predict(xgboost.DMatrix(ROWS)) for m in ensemble(opt_ml, objective)])
    assert (votes != votes[0]).any(), "the models must disagree somewhere"
    expected = [
        min(label for label, count in Counter(row).items() if count == max(Counter(row).values()))
        for row in votes.T.tolist()
    ]
    assert column(post(serve(opt_ml)), "score") == expected


def test_the_ensemble_can_be_turned_off(opt_ml: Path) -> None:
    first = ensemble(opt_ml, "reg:squarederror")[0]
    found = column(post(serve(opt_ml, inference_ensemble=False)), "score")
    np.testing.assert_allclose(found, first.predict(xgboost.DMatrix(ROWS)), rtol=1e-5)


def test_models_that_do_not_belong_together_are_a_503_with_the_reason(booster, opt_ml) -> None:
    save(booster("reg:squarederror"), opt_ml / "model", "xgboost-model-0")
    save(booster("multi:softprob"), opt_ml / "model", "xgboost-model-1")
    answer = serve(opt_ml).get("/ping")
    assert answer.status_code == 503
    assert "do not belong together" in answer.json["message"]


def test_each_step_can_be_replaced_when_a_model_is_loaded(booster, opt_ml: Path) -> None:
    save(booster("reg:squarederror"), opt_ml / "model")
    client = serve(opt_ml)
    service = client.application.extensions["scoring"]
    seen: list[Any] = []

    def step(name: str, result: Any) -> Any:
        return lambda *given: seen.append((name, given)) or result

    service.model = dataclasses.replace(
        service.get_model(),
        decode=step("decode", "data"),
        count=step("count", 3),
        predict=step("predict", "predictions"),
        select=step("select", "outputs"),
        encode=step("encode", (b"body", "text/plain")),
    )
    headers = {"Accept": "a/b"}
    for _ in range(2):
        answer = client.post("/invocations", data=b"1", content_type="c/d", headers=headers)
        assert (answer.status_code, answer.data) == (200, b"body")
        assert answer.content_type == "text/plain"
        assert seen == [
            ("decode", (b"1", "c/d")),
            ("count", ("data",)),
            ("predict", ("data",)),
            ("select", ("predictions",)),
            ("encode", ("outputs", "a/b")),
        ]
        seen.clear()


def test_contributions_of_vector_leaves_are_xgboosts_and_null_where_it_has_none(
    opt_ml: Path,
) -> None:
    labels = np.column_stack([np.nan_to_num(ROWS[:, 0]), np.nan_to_num(ROWS[:, 1])])
    parameters = {"multi_strategy": "multi_output_tree", "tree_method": "hist", "nthread": 1}
    trained = xgboost.train(parameters, xgboost.DMatrix(ROWS, labels), 3)
    save(trained, opt_ml / "model")
    body = post(serve(opt_ml, "contributions", "predicted_score"))
    try:
        expected = trained.predict(xgboost.DMatrix(ROWS), pred_contribs=True)
    except xgboost.core.XGBoostError:  # until 3.3
        assert column(body, "contributions") == [None] * len(ROWS)
    else:
        shares = np.array(column(body, "contributions"), np.float32)
        np.testing.assert_allclose(shares.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        column(body, "predicted_score"), trained.predict(xgboost.DMatrix(ROWS)), rtol=1e-5
    )
