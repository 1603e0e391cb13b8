"""Drift: what training keeps of its data, and what serving makes of the rows of requests."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from flask.testing import FlaskClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import custom
import settings
from conftest import Server, save, to_csv
from predictor import create_app
from runtime import histograms
from runtime.formats import Rows
from runtime.inference import drift, monitor
from runtime.inference.drift import Drift
from runtime.job import artifact
from runtime.job.paths import Paths
from training_job import COLUMNS, Job, numbers, simple_job

pytestmark = pytest.mark.usefixtures("quick_choice")

SHIFTED = 2  # a column that the labels do not depend on
SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from runtime.inference.drift import Ring

ring = Ring(1, Path(sys.argv[1]))
children = []
for number in range(4):
    pid = os.fork()
    children.append(pid)
    if not pid:
        for _ in range(50):
            ring.add(np.full((5, 1), number, np.uint8))
        while len(ring.waiting):
            ring.add(ring.waiting[:0])
        os._exit(0)
for pid in children:
    os.waitpid(pid, 0)
print(*np.bincount(ring.rows()[:, 0]))
pid = os.fork()
if not pid:
    with ring._alone() as alone:
        os.kill(os.getpid(), signal.SIGKILL if alone else signal.SIGTERM)
_, status = os.waitpid(pid, 0)
ring.add(np.zeros((1, 1), np.uint8))
print(os.WTERMSIG(status), len(ring.rows()))
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of 3,000 rows of numbers, and 1,000 to validate on."""
    job = simple_job(tmp_path_factory.mktemp("opt_ml"), 3000, num_round="5")
    assert job.run().code == 0
    return job


def client_of(base: Path, **environ: str) -> FlaskClient:
    chosen = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ACCELERATION": "off", **environ}
    return create_app(settings.load(chosen), Paths(base)).test_client()


@pytest.fixture
def client(job: Job, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A server in this process that counts every row."""
    monkeypatch.setattr(drift, "PER_SECOND", 1e9)
    return client_of(job.base)


def kept(job: Job) -> dict[str, Any]:
    """Return the histograms of the manifest."""
    return dict(job.output("manifest.json")["histograms"])


def counts(values: np.ndarray, bounds: list[float]) -> list[int]:
    """Return the counts of a numeric histogram, as pandas has them."""
    bins = pd.cut(pd.Series(values), [-np.inf, *np.float32(bounds), np.inf])
    return [*bins.value_counts(sort=False).tolist(), int(np.isnan(values).sum())]


def metrics(client: FlaskClient) -> dict[str, dict[str, float]]:
    """Return the gauges of drift: name -> label -> value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        family.name: {"".join(s.labels.values()): s.value for s in family.samples}
        for family in families
        if family.name.startswith("drift_")
    }


def send(client: FlaskClient, rows: np.ndarray) -> Iterator[dict[str, dict[str, float]]]:
    """Post rows, 100 at a time; yield the metrics after every 500."""
    for start in range(0, len(rows), 100):
        np.save(body := io.BytesIO(), rows[start : start + 100])
        answer = client.post("/invocations", data=body.getvalue(), content_type="application/x-npy")
        assert answer.status_code == 200
        if (start + 100) % 500 == 0:
            yield metrics(client)


def stream(seed: int, count: int = 2000, shift: float = 0.0, column: int = SHIFTED) -> np.ndarray:
    """Return rows of the training distribution; those of a column moved by `shift`."""
    rows, _ = numbers(count, seed)
    rows[:, column] += np.float32(shift)
    return rows


def test_training_keeps_the_histogram_of_every_feature(job: Job) -> None:
    rows, _ = numbers(3000, 0)
    features = kept(job)["features"]
    assert [entry["name"] for entry in features] == [f"f{column}" for column in range(COLUMNS)]
    for column, entry in enumerate(features):
        assert entry["position"] == column
        assert entry["counts"] == counts(rows[:, column], entry["bounds"])
        share = np.array(entry["counts"][1:-2]) / np.isfinite(rows[:, column]).sum()
        np.testing.assert_allclose(share, 0.1, atol=0.015)


def test_training_keeps_the_histogram_of_the_scores_of_the_validation_rows(job: Job) -> None:
    rows, _ = numbers(1000, 1)
    scores = kept(job)["scores"]
    (output,) = scores["outputs"]
    assert (scores["channel"], scores["groups"], output["name"]) == ("validation", 1, "score")
    expected = job.booster().predict(xgboost.DMatrix(rows))
    assert output["counts"] == counts(expected, output["bounds"])


def test_without_validation_scores_are_of_the_training_rows_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    job = simple_job(tmp_path, 300, objective="multi:softprob", num_class="3", num_round="2")
    del job.channels["validation"]
    outcome = job.run()
    assert outcome.code == 0
    scores = kept(job)["scores"]
    assert (scores["channel"], scores["groups"]) == ("train", 3)
    assert [output["name"] for output in scores["outputs"]] == ["0", "1", "2"]
    assert "a drift of scores is shown, but raises no alarm" in outcome.log
    found = Drift({**kept(job)}, COLUMNS, None, None)
    assert found.can_alarm.tolist() == [True] * COLUMNS + [False] * 3


@pytest.mark.parametrize(
    "given",
    [{"external_memory": "true"}, {"missing": "0.5"}, {"_kfold": "2"}, {"booster": "gblinear"}],
    ids=lambda given: next(iter(given)),
)
def test_every_way_of_training_keeps_the_same_histograms(
    tmp_path: Path, given: dict[str, str]
) -> None:
    job = simple_job(tmp_path, 300, num_round="2", **given)
    assert job.run().code == 0
    rows, _ = numbers(300, 0)
    if "missing" in given:
        rows[rows == np.float32(0.5)] = np.nan
    for column, entry in enumerate(kept(job)["features"]):
        assert entry["counts"] == counts(rows[:, column], entry["bounds"])
    assert ("scores" in kept(job)) == ("_kfold" not in given)


def test_of_many_features_those_that_the_model_uses_have_histograms(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(200, 80)).astype(np.float32)
    labels = (rows[:, 61] + rows[:, 77] > 0).astype(np.float32)
    job = Job(tmp_path, {"num_round": "3", "objective": "binary:logistic", "max_depth": "2"})
    sparse = "\n".join(
        f"{label:g} " + " ".join(f"{index}:{value:.9g}" for index, value in enumerate(row))
        for label, row in zip(labels, rows, strict=True)
    )
    job.put("train", "part.libsvm", sparse + "\n", ContentType="text/libsvm")
    outcome = job.run()
    assert outcome.code == 0
    entries = {entry["name"]: entry for entry in kept(job)["features"]}
    assert len(entries) == 50
    assert {"f61", "f77", "f0"} <= set(entries)
    assert "drift: histograms of the 50 most important of 80 features" in outcome.log
    assert entries["f77"]["counts"] == counts(rows[:, 77], entries["f77"]["bounds"])
    (tmp_path / "model" / "parity.json").unlink()
    found = create_app(
        settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "libsvm", "ACCELERATION": "off"}),
        Paths(tmp_path),
    ).test_client()
    answer = found.post("/invocations", data=sparse, content_type="text/libsvm")
    assert answer.status_code == 200
    assert metrics(found)["drift_rows"] == {"": 200}


def test_a_job_with_drift_off_keeps_nothing(tmp_path: Path) -> None:
    job = simple_job(tmp_path, 60, num_round="1")
    job.environ["DRIFT"] = "off"
    assert job.run().code == 0
    assert job.output("manifest.json")["histograms"] is None


def test_psi_is_what_its_definition_says() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(size=500).astype(np.float32)
    values[:20] = np.nan
    kinds = (values, np.float32(generator.integers(0, 30, 500)))
    training = [
        histograms.of_column(f"f{number}", number, column, number == 1)
        for number, column in enumerate(kinds)
    ]
    other = np.column_stack([values * 1.3 + 0.2, generator.integers(0, 40, 500)])
    bins = histograms.Binning(training).bins(other.astype(np.float32))
    tallied = histograms.tally(bins)
    found = histograms.Baseline(training).psi(tallied)
    for column, histogram in enumerate(training):
        mine = tallied[column, : len(histogram.counts)].tolist()
        total = sum(mine) + len(mine) / 2, sum(histogram.counts) + len(mine) / 2
        shares = [((q + 0.5) / total[0], (p + 0.5) / total[1])
                  for q, p in zip(mine, histogram.counts, strict=True)]  # fmt: skip
        expected = sum((p - q) * math.log(p / q) for q, p in shares)
        assert found[column] == pytest.approx(expected, rel=1e-9)
    assert tallied[0, : len(training[0].counts)].tolist() == counts(
        other[:, 0].astype(np.float32), list(training[0].bounds)
    )


@pytest.mark.parametrize("column", [[7.0] * 50, [0.0, 1.0] * 25, [np.nan] * 50, [np.inf, 1.0] * 25])
def test_columns_of_few_values_have_histograms_that_notice_another_one(
    column: list[float],
) -> None:
    found = histograms.of_column("x", 0, np.array(column, np.float32), False)
    again = histograms.Histogram.from_document(json.loads(json.dumps(found.document())))
    assert again == found
    others = np.full((50, 1), 0.5, np.float32)
    tallied = histograms.tally(histograms.Binning([found]).bins(others))
    assert histograms.Baseline([found]).psi(tallied)[0] > 1


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_the_same_scores_of_another_engine_fall_into_the_same_bins(scale: float) -> None:
    """Shallow trees give many rows one score; engines give it with another last digit."""
    generator = np.random.default_rng(4)
    leaves = (generator.normal(size=12) * scale).astype(np.float32)
    scores = leaves[generator.integers(0, 12, 2000)]
    near = np.nextafter(scores, np.float32(np.inf))
    mixed = np.where(generator.random(2000) < 0.5, scores, near)
    found = histograms.of_column("score", 0, mixed, False)
    binning = histograms.Binning([found])
    expected = binning.bins(scores[:, None])
    assert len(np.unique(expected)) >= 7
    for other in (near, np.nextafter(scores, np.float32(-np.inf)), scores + scores * 1e-6):
        np.testing.assert_array_equal(binning.bins(other.astype(np.float32)[:, None]), expected)


def test_no_stream_of_the_training_distribution_raises_an_alarm(client: FlaskClient) -> None:
    """20 streams of 2,000 rows, with four looks at each."""
    looks = [look for seed in range(100, 120) for look in send(client, stream(seed))]
    assert len(looks) == 80
    assert {look["drift_alarms"][""] for look in looks} == {0}
    assert [look["drift_rows"][""] for look in looks[:5]] == [500, 1000, 1500, 2000, 2000]
    assert max(max(look["drift_feature_psi"].values()) for look in looks) < 0.1
    assert max(look["drift_score_psi"]["score"] for look in looks) < 0.1


def test_half_a_standard_deviation_raises_an_alarm_within_2000_rows_and_ends_it_after(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert all(look["drift_alarms"][""] == 0 for look in send(client, stream(7)))
    looks = list(send(client, stream(8, shift=0.5)))
    assert looks[-1]["drift_alarms"] == {"": 1}
    psi = looks[-1]["drift_feature_psi"]
    assert psi.pop(f"f{SHIFTED}") > 0.2
    assert max(psi.values()) < 0.1
    assert caplog.text.count(f"drift: feature f{SHIFTED}: PSI 0.") == 1
    assert [look["drift_alarms"][""] for look in send(client, stream(9))][-1] == 0


def test_drift_of_a_feature_that_matters_is_one_of_the_scores_too(client: FlaskClient) -> None:
    look = list(send(client, stream(10, shift=1.5, column=0)))[-1]
    assert look["drift_score_psi"]["score"] > 0.2
    assert look["drift_alarms"][""] == 2


def test_few_rows_show_no_psi(client: FlaskClient) -> None:
    client.post("/invocations", data=to_csv(stream(1, 499, 9.0)), content_type="text/csv")
    look = metrics(client)
    assert look["drift_rows"] == {"": 499}
    assert (look["drift_feature_psi"], look["drift_alarms"]) == ({}, {"": 0})


def test_selected_keys_do_not_hide_the_scores(job: Job) -> None:
    client = client_of(job.base, SAGEMAKER_INFERENCE_OUTPUT="probability,predicted_label")
    for rows in np.array_split(stream(3, 600), 6):
        client.post("/invocations", data=to_csv(rows), content_type="text/csv")
    assert metrics(client)["drift_score_psi"]["score"] < 0.1


def test_scores_are_those_that_postprocess_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "postprocess", lambda scores, rows: scores * 100)
    job = simple_job(tmp_path, 1500, num_round="3")
    assert job.run().code == 0
    assert kept(job)["scores"]["outputs"][0]["bounds"][-1] > 50
    look = list(send(client_of(tmp_path), stream(4)))[-1]
    assert look["drift_score_psi"]["score"] < 0.1


def test_a_name_of_a_column_stays_one_label(job: Job) -> None:
    document = kept(job)
    name = 'a"b\\c} 1 {'
    document["features"][0]["name"] = name
    found = Drift(document, COLUMNS, None, None)
    found.offer(Rows(stream(1)), None)
    found.flush()
    families = text_string_to_metric_families(generate_latest(found).decode())
    psi = next(family for family in families if family.name == "drift_feature_psi")
    assert [sample.labels["feature"] for sample in psi.samples][:2] == [name, "f1"]


def test_what_is_refused_is_not_counted(client: FlaskClient) -> None:
    assert client.post("/invocations", data="1,2\n", content_type="text/csv").status_code == 400
    good = to_csv(stream(1, 3))
    accept = {"Accept": "image/png"}
    refused = client.post("/invocations", data=good, content_type="text/csv", headers=accept)
    assert refused.status_code == 406
    assert metrics(client)["drift_rows"] == {"": 0}


@pytest.mark.parametrize("fault", ["off", "absent", "broken", "other", "duplicate"])
def test_a_model_without_usable_histograms_answers_without_metrics_of_drift(
    job: Job, opt_ml: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    document = job.output("manifest.json")
    features = document["histograms"]["features"]
    if fault == "absent":
        document["histograms"] = None
    elif fault == "broken":
        features[0]["counts"] = [1, "x"]
    elif fault == "other":
        features[-1]["position"] = COLUMNS
    elif fault == "duplicate":
        features[1]["name"] = features[0]["name"]
    save(job.booster(), opt_ml / "model")
    (opt_ml / "model" / artifact.MANIFEST_FILE).write_text(json.dumps(document))
    client = client_of(opt_ml, DRIFT="off" if fault == "off" else "auto")
    answer = client.post("/invocations", data=to_csv(stream(1, 3)), content_type="text/csv")
    assert answer.status_code == 200
    assert metrics(client) == {}
    assert ("drift is not measured" in caplog.text) == (fault not in {"off", "absent"})


def test_categories_have_bins_and_those_that_training_did_not_see_are_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(2)
    names = [f"town {number}" for number in range(15)]
    weights = np.arange(1, 16) / 120
    frame = pd.DataFrame({"label": generator.integers(0, 2, 1500)})
    frame["town"] = generator.choice(names, 1500, p=weights)
    frame["size"] = generator.normal(size=1500)
    frame.loc[:30, "town"] = None
    job = Job(tmp_path, {"num_round": "2", "objective": "binary:logistic",
                         "enable_categorical": "true"})  # fmt: skip
    job.put("train", "part.csv", frame.to_csv(index=False))
    assert job.run().code == 0
    town, size = kept(job)["features"]
    frequent = frame.town.value_counts()
    known = sorted(names)
    assert [known[int(code)] for code in town["categories"]] == frequent.index[:10].tolist()
    assert town["counts"] == [*frequent[:10].tolist(), int(frequent[10:].sum()), 31, 0]
    assert size["name"] == "size"
    monkeypatch.setattr(drift, "PER_SECOND", 1e9)
    client = client_of(tmp_path)
    for alien, alarms in ((0.0, 0), (0.1, 1)):
        towns = generator.choice(names, 2000, p=weights).astype(object)
        towns[generator.random(2000) < 0.02] = None
        towns[generator.random(2000) < alien] = "Atlantis"
        for part in np.array_split(np.arange(2000), 4):
            rows = [[towns[row], float(generator.normal())] for row in part]
            body = json.dumps({"instances": rows})
            answer = client.post("/invocations", data=body, content_type="application/json")
            assert answer.status_code == 200
        look = metrics(client)
        assert look["drift_alarms"] == {"": alarms}
        assert (look["drift_feature_psi"]["town"] > 0.2) == bool(alarms)


def document_of(columns: int) -> dict[str, Any]:
    values = np.random.default_rng(1).normal(size=(300, columns)).astype(np.float32)
    features = [
        histograms.of_column(f"f{column}", column, values[:, column], False).document()
        for column in range(min(columns, 50))
    ]
    return {"features": features}


def test_what_waits_for_the_heartbeat_is_bounded() -> None:
    watcher = Drift(document_of(5000), 5000, None, None)
    watcher.offer(Rows(np.zeros((3000, 5000), np.float32)), None)
    for _ in range(50):
        watcher.offer(Rows(np.zeros((1, 5000), np.float32)), None)
    assert sum(len(values) for values, _, _ in watcher.kept) == drift.BURST
    assert sum(values.nbytes for values, _, _ in watcher.kept) <= 4 * 50 * drift.BURST
    watcher.flush()
    assert watcher.kept == []
    assert watcher.read().rows.max() == drift.WINDOW


def test_a_fault_of_its_own_ends_the_measurement_and_not_the_heartbeat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watcher = Drift(document_of(5) | {"scores": {"channel": "train", "groups": 1, "outputs": []}},
                    5, None, None)  # fmt: skip
    watcher.offer("not rows", None)
    watcher.offer(Rows(np.zeros((2, 5), np.float32)), np.array(["a", "b"], object))
    watcher.flush()
    watcher.offer(Rows(np.zeros((2, 4), np.float32)), None)  # another model's
    watcher.flush()
    watcher.flush()
    assert caplog.text.count("drift is no longer measured in this process") == 1
    assert watcher.room == 0


def test_workers_share_the_window_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        env={**os.environ, "NUM_CLASSES": "2", "INPUT_FORMAT": "csv"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["250 250 250 250", "9 1001"], done.stderr


def test_the_readme_bounds_the_labels_of_drift() -> None:
    most = {family.name: family.most for family in monitor.families()}
    assert {name: most[name] for name, _, _ in drift.GAUGES} == {
        "drift_feature_psi": 50, "drift_score_psi": 10, "drift_rows": 1, "drift_alarms": 1,
    }  # fmt: skip


@pytest.mark.slow
def test_the_real_server_adds_its_workers_up_and_says_what_drifts(
    launch, job: Job, tmp_path: Path
) -> None:
    server: Server = launch(job.base, DRIFT="auto")
    if server.container:
        pytest.skip("reads the log of this machine's server")

    def value(name: str) -> float:
        text = server.request("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith(name + " ")]
        return float(lines[0].split()[1])

    def post(rows: np.ndarray) -> None:
        for part in np.array_split(rows, len(rows) // 5):
            assert server.post(to_csv(part)).status == 200

    def wait(name: str, wanted: float, more: np.ndarray | None = None) -> None:
        limit = time.monotonic() + 30
        while value(name) != wanted:
            assert time.monotonic() < limit, f"{name} is {value(name)}, not {wanted}"
            time.sleep(0.2)
            if more is not None:
                post(more)

    post(stream(31, 1000))
    wait("drift_rows", 1000)
    assert value("drift_alarms") == 0
    post(stream(32, 2000, 0.7))
    wait("drift_alarms", 1, stream(33, 200, 0.7))  # a worker counts 250 rows a second
    server.wait_for(f"drift: feature f{SHIFTED}: PSI")
