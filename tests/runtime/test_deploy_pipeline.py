"""The pipeline from raw data to the endpoint's answers, with the real programs; its two steps."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from sklearn import datasets

import features
from conftest import Server, to_csv
from deploy.pipeline import evaluate, preprocess
from deploy_cloud import Cloud, cloud, started
from deploy_platform import Platform
from test_deploy_lambda import Function
from test_serving_strings import client_of
from test_serving_strings import scores as scores_of
from training_job import Job

__all__ = ["cloud"]
SOURCES = {
    1: datasets.load_diabetes,
    2: datasets.load_breast_cancer,
    3: datasets.load_wine,
}
CHOSEN = list(SOURCES) if os.environ.get("CONTRACT_IMAGE") else [2]  # the image has the rest


def write_data(folder: Path, classes: int) -> None:
    """Write raw data with names, missing cells, and an outlier that clipping cuts."""
    data, random = SOURCES[classes](), np.random.default_rng(5)
    rows = data.data.astype(np.float32)
    rows[random.random(rows.shape) < 0.02] = np.nan
    rows[0, 0] = 1e6
    names = [name.replace(" ", "_").replace("/", "_") for name in data.feature_names]
    header = ",".join(["target", *names])
    table = np.column_stack([data.target, rows])
    np.savetxt(folder / "part-1.csv", table, "%.9g", ",", header=header, comments="")


def execute(cloud: Cloud, classes: int, *words: str) -> tuple[Platform, list[str]]:
    """Make the pipeline and carry it out; return it with the names of the steps that ran."""
    write_data(cloud.folder / "train", classes)
    cloud.run("push")
    cloud.run("pipeline", "--set", "num_round=20", *words)
    found = cloud.client("sagemaker").describe_pipeline(PipelineName="demo")
    os.environ["PATH"] = cloud.path  # the real docker, until the fixture ends
    folder = cloud.folder / "steps"
    folder.mkdir()
    platform = Platform(found["PipelineDefinition"], folder, started()[1].client, classes)
    return platform, platform.run()


def registered(cloud: Cloud, folder: Path) -> None:
    """Unpack the model of the one registered package, as an endpoint does."""
    client = cloud.client("sagemaker")
    (package,) = client.list_model_packages(ModelPackageGroupName="demo")["ModelPackageSummaryList"]
    arn = package["ModelPackageArn"]
    found = client.describe_model_package(ModelPackageName=arn)["InferenceSpecification"]
    place = found["Containers"][0]["ModelDataUrl"].removeprefix("s3://").partition("/")
    body = cloud.client("s3").get_object(Bucket=place[0], Key=place[2])["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        archive.extractall(folder, filter="data")


class Client:
    """The endpoint's client, before a server on this machine."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        """Post the body as SageMaker would."""
        found = self.server.post(request["Body"], request["ContentType"], Accept=request["Accept"])
        assert found.status == 200, found.body
        return {"Body": io.BytesIO(found.body)}


@pytest.mark.slow
@pytest.mark.parametrize("classes", CHOSEN)
def test_the_pipeline_registers_a_model_whose_served_answers_are_the_evaluated_ones(
    cloud: Cloud,
    launch: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    classes: int,
) -> None:
    monkeypatch.setenv("NUM_CLASSES", str(classes))
    (cloud.folder / "train" / "part-1.csv").unlink()
    platform, ran = execute(cloud, classes)
    output = platform.folder / "Evaluate" / "processing"
    report = json.loads((output / "output/evaluation/evaluation.json").read_text())
    expected = ["Preprocess", "Train", "Evaluate", "GoodEnough"]
    good = report["quality"]["value"] >= 0.5
    assert ran == [*expected, "Register" if good else "NotGoodEnough"]
    assert good or classes == 1  # diabetes is hard to predict

    base = tmp_path_factory.mktemp("opt_ml")
    if good:
        registered(cloud, base / "model")
    else:
        with tarfile.open(platform.folder / "Train/packed/model.tar.gz") as archive:
            archive.extractall(base / "model", filter="data")
    manifest = json.loads((base / "model" / "manifest.json").read_text())
    assert manifest["fitted_features"]["low"], "what preprocessing fitted goes with the model"
    evaluated = np.loadtxt(output / "output/evaluation/predictions.csv", delimiter=",", ndmin=2)
    lines = (output / "input/test/data.csv").read_text().splitlines()[1:]
    rows = np.array([[float(c) for c in line.split(",")] for line in lines])[:, 1:]
    server = launch(base)
    answers = server.post(to_csv(rows)).numbers()
    assert answers.shape[0] == len(rows) > 20
    np.testing.assert_allclose(answers, evaluated.reshape(answers.shape), rtol=1e-6, atol=1e-7)

    monkeypatch.setenv("ENDPOINT_NAME", "demo")
    function = Function(manifest, "")
    function.module.runtime = lambda: Client(server)  # type: ignore[attr-defined]
    cells = np.where(np.isnan(rows), None, rows)  # type: ignore[call-overload]
    named = [dict(zip(manifest["feature_names"], row, strict=True)) for row in cells.tolist()]
    status, document = function({"rows": named})
    assert status == 200
    for found, scores in zip(document["predictions"], answers, strict=True):
        if classes == 1:
            assert found == {"score": pytest.approx(scores[0], rel=1e-6)}
        elif classes == 2:
            assert found == {"label": int(scores[0] > 0.5), "probability": pytest.approx(scores[0])}
        else:
            assert found["label"] == scores.argmax()
            assert found["probability"] == pytest.approx(scores.max())
    assert server.stop() == 0


@pytest.mark.slow
def test_a_model_below_the_minimum_is_not_registered(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.environ.get("CONTRACT_IMAGE"):
        pytest.skip("the same in containers")
    monkeypatch.setenv("NUM_CLASSES", "2")
    (cloud.folder / "train" / "part-1.csv").unlink()
    write_data(cloud.folder / "train", 2)
    cloud.run("push")
    cloud.run("pipeline", "--set", "num_round=2")
    text = cloud.client("sagemaker").describe_pipeline(PipelineName="demo")["PipelineDefinition"]
    (cloud.folder / "steps").mkdir()
    platform = Platform(text, cloud.folder / "steps", started()[1].client, 2)
    platform.known["Parameters.MinimumQuality"] = 1.01
    assert platform.run()[-1] == "NotGoodEnough"
    client = cloud.client("sagemaker")
    assert client.list_model_packages(ModelPackageGroupName="demo")["ModelPackageSummaryList"] == []


def test_preprocessing_splits_every_class_by_the_shares_and_repeats_itself() -> None:
    labels = np.repeat(np.arange(3, dtype=np.float32), [100, 40, 60])
    parts = preprocess.parts_of(labels, True, [0.7, 0.2, 0.1], seed=1)
    for value, size in enumerate([100, 40, 60]):
        counts = np.bincount(parts[labels == value], minlength=3)
        assert counts.tolist() == [size * 7 // 10, size * 2 // 10, size // 10]
    assert (parts == preprocess.parts_of(labels, True, [0.7, 0.2, 0.1], seed=1)).all()
    assert (parts != preprocess.parts_of(labels, True, [0.7, 0.2, 0.1], seed=2)).any()


def test_preprocessing_fits_on_the_training_part_and_keeps_every_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUM_CLASSES", "2")
    monkeypatch.setenv("INPUT_FORMAT", "csv")
    (tmp_path / "input" / "data").mkdir(parents=True)
    rows = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(np.float32)
    table = np.column_stack([labels, rows])
    np.savetxt(tmp_path / "input/data/a.csv", table, "%.9g", ",", header="y,a,b,c", comments="")
    given = argparse.Namespace(
        content_type="text/csv", validation=0.2, test=0.2, clip=0.1, fill=True, seed=0
    )
    preprocess.run(tmp_path, given)
    parts = {
        name: np.loadtxt(
            tmp_path / f"output/{name}/data.csv", np.float32, delimiter=",", skiprows=1
        )
        for name in preprocess.PARTS
    }
    together = np.concatenate(list(parts.values()))
    order, expected = together[:, 1].argsort(), rows[:, 0].argsort()
    assert (together[order, 1:] == rows[expected]).all()
    fitted = json.loads((tmp_path / "output" / "features" / "features.json").read_text())
    train = parts["train"][:, 1:]
    assert fitted["low"] == [float(v) for v in np.quantile(train, 0.1, axis=0, method="nearest")]


def test_fitted_features_clip_and_fill_and_survive_json() -> None:
    rows = np.array([[1, np.nan, 5], [2, np.nan, np.nan], [100, np.nan, 7]], np.float32)
    fitted = json.loads(json.dumps(features.fit(rows, clip=0.4, fill=True)))
    assert fitted == {"low": [2, None, 5], "high": [2, None, 7], "fill": [2, None, 5]}
    values, names = features.transform(rows, ("a", "b", "c"), fitted)
    expected = [[2, np.nan, 5], [2, np.nan, 5], [2, np.nan, 7]]
    np.testing.assert_array_equal(values, expected)
    assert (values.dtype, names) == (np.float32, ("a", "b", "c"))
    assert features.transform(rows, None)[0] is rows


def test_strings_go_through_preprocessing_training_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUM_CLASSES", "2")
    monkeypatch.setenv("INPUT_FORMAT", "csv")
    monkeypatch.setenv("ACCELERATION", "auto")
    random = np.random.default_rng(4)
    frame = pandas.DataFrame(
        {
            "fate": "",
            "age": random.normal(size=900).astype(np.float32),
            "port": random.choice(["Åbo", 'St. "Peter", Port', "=1+1", "7"], 900),
            "deck": random.choice([*"ABC"], 900),
        }
    )
    alive = (frame.port == "Åbo") ^ (frame.deck == "A") | (frame.age > 1)
    frame["fate"] = np.where(alive, "survived", "died")
    frame.loc[::9, ["age", "deck"]] = np.nan
    work = tmp_path / "processing"
    (work / "input" / "data").mkdir(parents=True)
    frame.to_csv(work / "input" / "data" / "part.csv", index=False)
    given = argparse.Namespace(
        content_type="text/csv", validation=0.2, test=0.2, clip=0.01, fill=True, seed=0
    )
    preprocess.run(work, given)
    parts = {name: work / "output" / name / "data.csv" for name in preprocess.PARTS}
    texts = {"port": str}
    together = pandas.concat([pandas.read_csv(part, dtype=texts) for part in parts.values()])
    order = ["label", "age", "port", "deck"]
    together = together.sort_values(order, ignore_index=True)
    wanted = frame.rename(columns={"fate": "label"}).sort_values(order, ignore_index=True)
    pandas.testing.assert_frame_equal(together.astype({"age": np.float32}), wanted)
    fitted = json.loads((work / "output/features/features.json").read_text())
    assert [value is None for value in fitted["fill"]] == [False, True, True]

    job = Job(tmp_path / "ml", {"num_round": "20", "objective": "binary:logistic"})
    job.hyperparameters["enable_categorical"] = "true"
    for name in ("train", "validation"):
        job.put(name, "data.csv", parts[name].read_bytes())
    job.put("features", "features.json", json.dumps(fitted), ContentType="application/json")
    assert job.run().code == 0, job.failure
    (work / "input" / "model").mkdir()
    with tarfile.open(work / "input" / "model" / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "ml" / "model", ".")
    shutil.copytree(work / "output" / "test", work / "input" / "test")
    report = evaluate.run(work)
    assert report["quality"]["value"] > 0.9

    test = pandas.read_csv(parts["test"], dtype=texts)
    client = client_of(tmp_path / "ml", UNSEEN_CATEGORIES="refuse")
    body = test.drop(columns="label").to_csv(index=False, header=False)
    evaluated = np.loadtxt(work / "output" / "evaluation" / "predictions.csv")
    np.testing.assert_allclose(scores_of(client, body, "text/csv"), evaluated, rtol=1e-6)
    right = (evaluated > 0.5) == (test.label == "survived")
    assert report["binary_classification_metrics"]["accuracy"]["value"] == right.mean()


def test_strings_that_the_parts_would_read_as_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUM_CLASSES", "2")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    data = tmp_path / "processing" / "input" / "data"
    data.mkdir(parents=True)
    lines = [{"label": n % 2, "zip": f"{n % 7:03}", "x": n} for n in range(100)]
    (data / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert preprocess.main(["--content-type", "application/jsonlines"]) == 1
    assert "error: column zip holds strings, but" in capsys.readouterr().err
