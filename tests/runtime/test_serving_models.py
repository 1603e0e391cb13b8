"""Multi-model endpoints: load, list, describe, unload, invoke; every worker agrees."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import xgboost

import settings
from conftest import Response, Server, sample_rows, save, to_csv, train, wait_until
from predictor import create_app
from runtime.job.paths import Paths

ROWS = sample_rows(5, seed=11)


@pytest.fixture(scope="module")
def many(launch, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A multi-model server without models."""
    base = tmp_path_factory.mktemp("opt_ml")
    (base / "models").mkdir()
    return launch(base, SAGEMAKER_MULTI_MODEL="true")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, np.ndarray]]:
    """Five model folders that answer differently, each with XGBoost's answer to ROWS."""
    found = []
    for seed in range(5):
        model = train("reg:squarederror", seed=seed, rounds=4)
        folder = save(model, tmp_path_factory.mktemp("models") / str(seed))
        found.append((folder, model.predict(xgboost.DMatrix(ROWS))))
    return found


def load(server: Server, name: str, folder: Path | str) -> Response:
    body = json.dumps({"model_name": name, "url": str(folder)})
    return server.request("POST", "/models", body, {"Content-Type": "application/json"})


def invoke(server: Server, name: str, body: bytes | None = None, **headers: str) -> Response:
    path = f"/models/{quote(name, safe='')}/invoke"
    named = {"Content-Type": "text/csv", **headers}
    return server.request("POST", path, to_csv(ROWS) if body is None else body, named)


def unload(server: Server, name: str) -> int:
    return server.request("DELETE", f"/models/{quote(name, safe='')}").status


def test_the_server_is_healthy_without_a_model(many: Server) -> None:
    assert many.request("GET", "/ping").status == 200
    assert many.request("GET", "/models").json() == {"models": []}


def test_a_model_lives_from_load_to_unload(many: Server, folders) -> None:
    folder, truth = folders[0]
    assert invoke(many, "a").status == 404
    assert load(many, "a", folder).status == 200
    assert load(many, "a", folder).status == 409
    described = {"modelName": "a", "modelUrl": str(folder)}
    assert many.request("GET", "/models/a").json() == described
    assert many.request("GET", "/models").json() == {"models": [described]}
    for _ in range(8):  # whichever worker answers
        np.testing.assert_allclose(invoke(many, "a").numbers()[:, 0], truth, atol=1e-5)
    assert unload(many, "a") == 200
    assert unload(many, "a") == 404
    for _ in range(8):
        assert invoke(many, "a").status == 404
    assert many.request("GET", "/models/a").status == 404


def test_a_name_can_be_used_again_for_another_model(many: Server, folders) -> None:
    for folder, truth in folders[:3]:
        assert load(many, "again", folder).status == 200
        for _ in range(8):
            np.testing.assert_allclose(invoke(many, "again").numbers()[:, 0], truth, atol=1e-5)
        assert unload(many, "again") == 200


@pytest.mark.parametrize(
    "name", ["a/b.tar.gz", "../x", "a b", "größe", "invoke", "a//b", "x" * 300]
)
def test_names_are_opaque(many: Server, folders, name: str) -> None:
    folder, truth = folders[1]
    assert load(many, name, folder).status == 200
    np.testing.assert_allclose(invoke(many, name).numbers()[:, 0], truth, atol=1e-5)
    assert many.request("GET", f"/models/{quote(name, safe='')}").json()["modelName"] == name
    assert unload(many, name) == 200


def test_errors_and_formats_are_those_of_the_single_model(many: Server, folders) -> None:
    load(many, "forms", folders[0][0])
    assert invoke(many, "forms", b"").status == 204
    assert invoke(many, "forms", b"1,2").status == 400
    assert invoke(many, "forms", b"a,b").status == 415
    assert invoke(many, "forms", Accept="text/html").status == 406
    answer = invoke(many, "forms", Accept="application/json")
    assert len(answer.json()["predictions"]) == len(ROWS)
    assert many.request("GET", "/models/forms/invoke").status == 404
    assert many.post(to_csv(ROWS)).status == 404
    unload(many, "forms")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"model_name": 1, "url": "x"}', b'{"model_name": "x"}', b"\xff"]
)
def test_a_request_to_load_that_makes_no_sense_is_a_400(many: Server, body: bytes) -> None:
    answer = many.request("POST", "/models", body)
    assert (answer.status, answer.json()["code"]) == (400, 400)


def test_what_is_no_model_is_a_400_and_leaves_nothing(many: Server, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"not a model")
    for folder in (tmp_path, tmp_path / "absent"):
        answer = load(many, "bad", folder)
        assert answer.status == 400
        assert "'bad'" in answer.json()["message"]
        assert invoke(many, "bad").status == 404
    assert many.request("GET", "/models").json() == {"models": []}


def test_files_that_vanish_or_do_not_fit_are_told(booster, opt_ml: Path, monkeypatch) -> None:
    (opt_ml / "models").mkdir()
    folder = save(booster("reg:squarederror"), opt_ml / "a")
    config = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "SAGEMAKER_MULTI_MODEL": "true"}
    app = create_app(settings.load(config), Paths(opt_ml))
    client, store = app.test_client(), app.extensions["scoring"].store
    assert client.post("/models", json={"model_name": "a", "url": str(folder)}).status_code == 200
    store.loaded.clear()  # as in another worker, or in a new one
    (folder / "xgboost-model").rename(opt_ml / "elsewhere")
    answer = client.post("/models/a/invoke", data=to_csv(ROWS), content_type="text/csv")
    assert answer.status_code == 503
    assert "cannot be loaded again" in answer.json["message"]

    def fail(path: Path) -> None:
        raise MemoryError

    (opt_ml / "elsewhere").rename(folder / "xgboost-model")
    monkeypatch.setattr(store, "load", fail)
    answer = client.post("/models", json={"model_name": "b", "url": str(folder)})
    assert answer.status_code == 507
    assert client.get("/models/b").status_code == 404


def test_the_list_comes_in_pages(many: Server, folders) -> None:
    names = [f"page {number:03d}" for number in range(130)]
    for name in names:
        assert load(many, name, folders[0][0]).status == 200
    first = many.request("GET", "/models").json()
    token = quote(first["nextPageToken"])
    second = many.request("GET", f"/models?next_page_token={token}").json()
    assert [m["modelName"] for m in first["models"] + second["models"]] == names
    assert "nextPageToken" not in second
    assert all(unload(many, name) == 200 for name in names)


def test_a_killed_worker_knows_the_models_again(many: Server, folders) -> None:
    folder, truth = folders[2]
    load(many, "kept", folder)
    workers = many.workers()
    assert workers
    for pid in workers:
        many.kill(pid)
    many.wait_until_ready()
    assert not set(workers) & set(many.workers())
    np.testing.assert_allclose(invoke(many, "kept").numbers()[:, 0], truth, atol=1e-5)
    assert unload(many, "kept") == 200


def test_over_the_budget_is_507_and_the_rest_keep_answering(launch, folders, tmp_path) -> None:
    (tmp_path / "models").mkdir()
    server = launch(tmp_path, SAGEMAKER_MULTI_MODEL="true", MODEL_MEMORY_MB="20")
    statuses = [load(server, str(number), folders[0][0]).status for number in range(8)]
    fitting = statuses.count(200)
    assert 1 < fitting < 8
    assert statuses == [200] * fitting + [507] * (8 - fitting)
    assert all(invoke(server, str(number)).status == 200 for number in range(fitting))
    assert unload(server, "0") == 200
    assert load(server, "9", folders[1][0]).status == 200


def test_loading_one_model_does_not_stall_another(launch, folders, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    server = launch(tmp_path, SAGEMAKER_MULTI_MODEL="true", WEB_CONCURRENCY="1")
    large = save(train("reg:squarederror", rounds=1500, max_depth=8), tmp_path / "large")
    load(server, "small", folders[0][0])
    invoke(server, "small")
    durations = []
    loader = threading.Thread(target=load, args=(server, "large", large))
    start = time.monotonic()
    loader.start()
    while loader.is_alive():
        before = time.monotonic()
        assert invoke(server, "small").status == 200
        durations.append(time.monotonic() - before)
    whole = time.monotonic() - start
    assert len(durations) > 3
    assert max(durations) < max(0.5, whole / 2)


@pytest.mark.slow
def test_fifty_models_and_eight_clients_never_mix_answers(many: Server, folders) -> None:
    def life(number: int) -> None:
        folder, truth = folders[number % len(folders)]
        name = f"model-{number}"
        assert load(many, name, folder).status == 200
        for _ in range(6):
            np.testing.assert_allclose(invoke(many, name).numbers()[:, 0], truth, atol=1e-5)
        barrier_of_all.wait(60) if number < 8 else None
        assert unload(many, name) == 200

    barrier_of_all = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(life, range(50)))
    assert many.request("GET", "/models").json() == {"models": []}


@pytest.mark.slow
def test_memory_returns_after_unloading(launch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    server = launch(tmp_path, SAGEMAKER_MULTI_MODEL="true")
    large = save(train("reg:squarederror", rounds=400, max_depth=8), tmp_path / "large")
    names = [str(number) for number in range(6)]

    def live() -> int:
        """Load the models, let them answer and unload them; return the memory of all of them."""
        for name in names:
            assert load(server, name, large).status == 200
        for name in names * 4:
            assert invoke(server, name).status == 200
        full = server.memory()
        assert all(unload(server, name) == 200 for name in names)
        return full

    full = live()
    time.sleep(3)  # the worker that was not asked unloads them after a while
    first = server.memory()
    assert first < full * 0.8
    live()
    wait_until(lambda: server.memory() < first * 1.05, 20, lambda: f"{first}, {server.memory()}")
