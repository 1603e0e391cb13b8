"""A good job: the model is XGBoost's own, byte for byte, and the outputs tell the truth."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

import features
from runtime.job.versions import xgboost_version
from training_job import Job, csv_text, labels_for, numbers, simple_job


def by_hand(params: dict[str, Any], rounds: int, **label_options: Any) -> bytes:
    """Return the model that plain `xgboost.train` makes of the rows of `simple_job`."""
    rows, score = numbers(600, 0)
    labels = labels_for(params["objective"], score)
    data = xgboost.DMatrix(rows, label=labels, **label_options)
    return bytes(xgboost.train({"nthread": 2, **params}, data, rounds).save_raw("ubj"))


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "binary:logistic", "eta": "0.2", "max_depth": "4", "subsample": "0.7"},
        {"objective": "multi:softprob", "num_class": "3", "colsample_bytree": "0.5", "seed": "4"},
        {"objective": "reg:squarederror", "tree_method": "exact", "lambda": "2"},
        {"objective": "count:poisson", "booster": "dart", "rate_drop": "0.2"},
        {"objective": "reg:gamma", "tree_method": "approx", "max_bin": "32"},
    ],
    ids=lambda options: options["objective"],
)
def test_the_model_is_that_of_xgboost_by_hand(tmp_path: Path, options: dict[str, str]) -> None:
    job = simple_job(tmp_path, **options)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert job.model == by_hand(dict(options), 12)


def test_a_run_repeats_to_the_bit_and_logs_what_tuning_jobs_read(tmp_path: Path) -> None:
    jobs = [simple_job(tmp_path / name, eval_metric="logloss,f1,auc") for name in "ab"]
    logs = [job.run().log for job in jobs]
    assert jobs[0].model == jobs[1].model
    lines = [line for line in logs[0].splitlines() if re.match(r"\[\d+\]#011", line)]
    booster, (rows, score) = jobs[0].booster(), numbers(200, 1)
    labels = labels_for("binary:logistic", score)
    predicted = booster.inplace_predict(rows)
    loss = -np.log(np.where(labels == 1, predicted, 1 - predicted)).mean()
    assert lines[-1].startswith("[11]#011train-logloss:")
    fields = dict(entry.split(":") for entry in lines[-1].split("#011")[1:])
    assert list(fields) == [f"{d}-{m}" for d in ("train", "validation")
                            for m in ("logloss", "f1", "auc")]  # fmt: skip
    assert float(fields["validation-logloss"]) == pytest.approx(loss, abs=1e-5)
    assert "NaN" not in json.dumps(jobs[0].output("metrics.json"))


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "reg:quantileerror", "quantile_alpha": "[0.1, 0.9]"},
        {"objective": "reg:expectileerror", "expectile_alpha": "[0.1, 0.5, 0.9]"},
        {"objective": "survival:aft"},
        {"objective": "survival:cox", "eval_metric": "cox-nloglik"},
        {"objective": "binary:hinge", "eval_metric": "error@0.3,accuracy"},
        {"objective": "reg:squarederror", "monotone_constraints": "(1,0,0,0,0,0)"},
        {"objective": "reg:squarederror", "interaction_constraints": "[[0,1],[2,3]]"},
        {"objective": "reg:tweedie", "tweedie_variance_power": "1.3", "eval_metric": "mse,r2"},
        {"objective": "reg:squarederror", "booster": "gblinear"},
        {"objective": "multi:softmax", "num_class": "3", "eval_metric": "f1,merror"},
        {"objective": "multi:softprob", "num_class": "3", "multi_strategy": "multi_output_tree"},
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_every_family_of_objectives_trains_and_reports(
    tmp_path: Path, options: dict[str, str]
) -> None:
    if "expectile_alpha" in options and xgboost_version() < (3, 3):
        pytest.skip("XGBoost 3.3 has brought this objective")
    job = simple_job(tmp_path, **{"num_round": "4", **options})
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    scores = job.output("metrics.json")["metrics"]
    wanted = {name.split("@")[0] for name in options.get("eval_metric", "").split(",")}
    found = {name.split("-", 1)[1].split("@")[0] for name in scores}
    default = {"tweedie-nloglik"} if options.get("eval_metric") == "mse,r2" else set()
    assert found == wanted or (wanted == {""} and found) or found - wanted == default
    assert "Metrics" in (tmp_path / "output" / "data" / "report.html").read_text()


def test_early_stopping_without_a_metric_keeps_the_best_model(tmp_path: Path) -> None:
    job = simple_job(tmp_path, num_round="200", early_stopping_rounds="5", eta="0.9")
    log = job.run().log
    losses = [
        float(line.rsplit(":", 1)[1]) for line in log.splitlines() if "#011validation-" in line
    ]
    best = int(np.argmin(losses))
    assert best + 6 == len(losses) < 200
    assert job.booster().num_boosted_rounds() == best + 1
    rows, score = numbers(600, 0)
    valid, other = numbers(200, 1)
    train = xgboost.DMatrix(rows, label=labels_for("binary:logistic", score))
    watch = xgboost.DMatrix(valid, label=labels_for("binary:logistic", other))
    callback = xgboost.callback.EarlyStopping(rounds=5, save_best=True)
    params = {"objective": "binary:logistic", "eta": 0.9, "nthread": 2}
    booster = xgboost.train(
        params, train, 200, evals=[(train, "train"), (watch, "validation")],
        verbose_eval=False, callbacks=[callback],
    )  # fmt: skip
    assert job.model == booster.save_raw("ubj")


def test_weights_files_gzip_and_folders_make_the_same_model(tmp_path: Path) -> None:
    rows, score = numbers(600, 0)
    labels = labels_for("binary:logistic", score)
    weights = np.linspace(0.5, 2, 600).round(3).astype(np.float32)
    job = Job(tmp_path, {"num_round": "12", "csv_weights": "1", "nthread": "2"})
    text = csv_text(labels, weights, rows)
    half = text.index("\n", len(text) // 2) + 1
    job.put("train", "a/part-0.csv", text[:half])
    job.put("train", "b/part-1.csv.gz", gzip.compress(text[half:].encode()))
    job.put("train", "_SUCCESS", "")
    job.put("train", ".hidden", "no data")
    job.environ = {"NUM_CLASSES": "2"}
    assert job.run().code == 0
    assert job.model == by_hand({"objective": "binary:logistic"}, 12, weight=weights)


def test_libsvm_trains_with_absent_cells_missing(tmp_path: Path) -> None:
    rows, score = numbers(600, 0)
    labels = labels_for("binary:logistic", score)
    lines = [
        f"{label:g} " + " ".join(f"{i + 1}:{v:.9g}" for i, v in enumerate(row) if not np.isnan(v))
        for label, row in zip(labels, rows, strict=True)
    ]
    job = Job(tmp_path, {"num_round": "12", "nthread": "2", "objective": "binary:logistic"})
    job.put("train", "data", "\n".join(lines) + "\n", ContentType="text/libsvm")
    assert job.run().code == 0
    assert job.output("manifest.json")["index_base"] == 1
    expected = xgboost.Booster(model_file=bytearray(by_hand({"objective": "binary:logistic"}, 12)))
    np.testing.assert_allclose(
        job.booster().inplace_predict(rows), expected.inplace_predict(rows), atol=1e-6
    )


def test_ranking_trains_on_query_groups(tmp_path: Path) -> None:
    rows, score = numbers(600, 0)
    labels = labels_for("rank:ndcg", score)
    lines = [
        f"{label:g} qid:{n // 20} " + " ".join(f"{i}:{v}" for i, v in enumerate(np.nan_to_num(row)))
        for n, (label, row) in enumerate(zip(labels, rows, strict=True))
    ]
    job = Job(tmp_path, {"num_round": "4", "objective": "rank:ndcg", "eval_metric": "ndcg@5"})
    job.put("train", "data", "\n".join(lines), ContentType="text/libsvm")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert "[3]#011train-ndcg@5:0.9" in outcome.log


def ranking_files() -> dict[str, tuple[str, bytes]]:
    """Return the same ranking data by format: content type and content."""
    rows, score = numbers(600, 0)
    labels, ids = labels_for("rank:ndcg", score), np.arange(600) // 20
    frame = pd.DataFrame(np.column_stack([labels, rows]), columns=["label", *"abcdef"])
    frame.insert(1, "qid", ids)
    lines = frame.to_json(orient="records", lines=True, double_precision=15)
    parquet = io.BytesIO()
    frame.astype({"label": "float32"}).to_parquet(parquet)
    return {
        "csv": ("text/csv", frame.to_csv(index=False).encode()),
        "jsonlines": ("application/jsonlines", lines.encode()),
        "parquet": ("application/x-parquet", parquet.getvalue()),
    }


@pytest.mark.parametrize("kind", ["csv", "jsonlines", "parquet"])
def test_a_column_called_qid_groups_the_rows_of_a_ranking(tmp_path: Path, kind: str) -> None:
    media_type, content = ranking_files()[kind]
    job = Job(tmp_path, {"num_round": "4", "objective": "rank:ndcg", "nthread": "1"})
    job.put("train", "data", content, ContentType=media_type)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    rows, score = numbers(600, 0)
    data = xgboost.QuantileDMatrix(
        rows, label=labels_for("rank:ndcg", score), qid=np.arange(600) // 20,
        feature_names=list("abcdef"),
    )  # fmt: skip
    params = {"objective": "rank:ndcg", "nthread": 1}
    assert job.model == bytes(xgboost.train(params, data, 4).save_raw("ubj"))


def test_a_header_gives_the_model_its_column_names(tmp_path: Path) -> None:
    rows, score = numbers(300, 0)
    text = "label," + ",".join(f"col_{n}" for n in range(6)) + "\n"
    job = Job(tmp_path, {"num_round": "2", "objective": "reg:squarederror"})
    job.put("train", "x.csv", text + csv_text(labels_for("reg:squarederror", score), rows))
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert job.output("manifest.json")["feature_names"] == [f"col_{n}" for n in range(6)]
    assert job.booster().feature_names == [f"col_{n}" for n in range(6)]


@pytest.mark.parametrize("external_memory", ["false", "true"])
def test_the_projects_features_reach_the_model_and_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external_memory: str
) -> None:
    def ratio(rows: np.ndarray, names: object, fitted: object) -> tuple[np.ndarray, object]:
        return np.column_stack([rows, rows[:, 0] * 2]), names

    monkeypatch.setattr(features, "transform", ratio)
    monkeypatch.setattr(features, "VERSION", "doubled")
    job = simple_job(tmp_path, external_memory=external_memory)
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert job.booster().num_features() == 7
    probe = np.load(tmp_path / "model" / "probe.npy")
    np.testing.assert_array_equal(probe[:, 6], probe[:, 0] * 2)
    manifest = job.output("manifest.json")
    assert (manifest["num_columns"], manifest["features_version"]) == (6, "doubled")


def test_external_memory_gives_the_same_model(tmp_path: Path) -> None:
    job = simple_job(tmp_path, external_memory="true")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    assert job.model == by_hand({"objective": "binary:logistic"}, 12)


def test_cross_validation_scores_rows_it_has_not_seen(tmp_path: Path) -> None:
    job = simple_job(tmp_path, _kfold="3", _num_cv_round="2", num_round="5")
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    names = sorted(path.name for path in (tmp_path / "model").glob("xgboost-model*"))
    assert names == [f"xgboost-model-{n}" for n in range(6)]
    table = np.loadtxt(tmp_path / "output" / "data" / "predictions.csv", delimiter=",")
    assert table.shape == (800, 3)
    _, score = numbers(600, 0)
    assert (table[:600, 0] == labels_for("binary:logistic", score)).all()
    accuracy = (table[:, 0] == table[:, 2]).mean()
    assert 0.8 < accuracy < 1  # out of fold: good, and not the training fold's
    means = job.output("metrics.json")
    folds = [fold["validation-logloss"] for fold in means["folds"]]
    assert means["metrics"]["validation-logloss"] == pytest.approx(np.mean(folds))
    assert f"[5]#011train-logloss:{means['metrics']['train-logloss']:.5f}" in outcome.log


def test_the_outputs_describe_the_model(tmp_path: Path) -> None:
    job = simple_job(tmp_path, label_names="no,yes", missing="-999", eta="0.5")
    job.environ = {"ACCELERATION": "auto"}
    outcome = job.run()
    assert outcome.code == 0, outcome.log
    manifest = job.output("manifest.json")
    assert manifest["label_names"] == ["no", "yes"]
    assert manifest["objective"] == "binary:logistic"
    assert manifest["num_columns"] == 6
    assert manifest["num_classes"] == 2
    assert manifest["missing"] == -999
    assert manifest["input_format"] == "csv"
    assert manifest["hyperparameters"]["eta"] == 0.5
    assert manifest["engine"] == job.output("parity.json")["engine"]
    probe = np.load(tmp_path / "model" / "probe.npy")
    rows, _ = numbers(600, 0)
    known = {row.tobytes() for row in np.nan_to_num(rows, nan=-1)}
    assert probe.shape == (256, 6)
    assert all(row.tobytes() in known for row in np.nan_to_num(probe, nan=-1))
    page = (tmp_path / "output" / "data" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")  # nothing to fetch
    for part in ("Learning curves", "Predictions on validation", "Feature importance", "parity"):
        assert part in page
    booster = job.booster()
    valid, other = numbers(200, 1)
    truth = labels_for("binary:logistic", other) > 0.5
    right = int(((booster.inplace_predict(valid) > 0.5) & truth).sum())
    assert f">{right}<small>" in page
