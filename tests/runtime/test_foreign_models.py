"""Models of XGBoost 0.90 to 3.4 answer as in their own version, or the refusal says what to do.

`foreign/make.py` trained them with those versions, whose own answers are beside them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import settings
from predictor import create_app
from runtime.acceleration.engines import OneDALEngine
from runtime.job.paths import Paths

pytestmark = pytest.mark.usefixtures("quick_choice")

FOREIGN = Path(__file__).with_name("foreign")
HERE = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
VERSIONS = (
    *("0.90", "1.0.2", "1.1.1", "1.2.1", "1.3.3", "1.4.2", "1.5.2", "1.6.2", "1.7.6"),
    *("2.0.3", "2.1.4", "3.0.5", "3.1.3", "3.2.0", "3.3.0", "3.4.1"),
)
ONEDAL = importlib.util.find_spec("daal4py") is not None
CONVERT = ("XGBoost 1.7.6", "save_model")
ROOMS, STORED = 2, ("north", "south", "east", "a b", "5")  # as foreign/train.py has them
Cell = dict[str, Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    with tarfile.open(FOREIGN / "models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def serve(base: Path, file: Path, **options: Any) -> Any:
    """Return the application that serves one file."""
    (base / "model").mkdir(exist_ok=True)
    shutil.copy(file, base / "model" / "xgboost-model")
    config = settings.load({"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "ALLOW_PICKLE": "true"})
    return create_app(dataclasses.replace(config, **options), Paths(base))


def ask(app: Any, body: str) -> tuple[np.ndarray, Any]:
    """Return the answer to a request, and its headers."""
    answer = app.test_client().post("/invocations", data=body, content_type="text/csv")
    assert answer.status_code == 200, answer.data
    lines = answer.data.decode().splitlines()
    return np.array([line.split(",") for line in lines], np.float32), answer.headers


def array(value: dict[str, Any]) -> np.ndarray:
    """Return an answer of the corpus, two-dimensional."""
    shape = [*value["shape"], 1][:2]
    return np.array(value["values"], np.float32).reshape(shape)


def request_of(name: str, version: tuple[int, ...]) -> str:
    """Return the rows as csv. The estimator that takes -999 for missing gets just that, as far as
    its file says so: JSON and UBJSON do not since XGBoost 2.0."""
    text = (FOREIGN / "rows.csv").read_text()
    if name.startswith("regressor-missing") and (version < (2, 0) or name.endswith("pickle")):
        rows = [[cell or "-999" for cell in line.split(",")] for line in text.splitlines()]
        return "\n".join(map(",".join, rows))
    return text


def in_words(name: str, text: str) -> str:
    """Return rows with strings in place of codes, for a model that stores those: one of them is a
    number."""
    if not name.startswith("frame"):
        return text
    rows = [line.split(",") for line in text.splitlines()]
    for row in rows:
        row[ROOMS] = row[ROOMS] and STORED[int(float(row[ROOMS]))]
    return "\n".join(map(",".join, rows))


def way_out(name: str, version: tuple[int, ...], known: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that the refusal of a model must hold; none when it must answer."""
    form = name.rpartition(".")[2]
    if form in ("model", "deprecated") or (form == "pickle" and version < (1, 6)):
        return ("0.90", *CONVERT) if (form, version) == ("pickle", (0, 90)) else CONVERT
    if version > HERE:
        newer = ".".join(map(str, version))
        return (f"XGBoost {newer}", f"this image has {xgboost.__version__}", "requirements.in")
    if version < (1, 4) and "rounds" in known and not name.startswith(("classifier", "five")):
        # How many parallel trees made a round of this single-output model is not in the file.
        trees, used = known["trees"], known["rounds"]
        if any(trees % parallel == 0 and used * parallel <= trees for parallel in (2, 3, 4, 5)):
            return ("BEST_ITERATION=false", "num_parallel_tree")
    return ()


@pytest.mark.parametrize("version", VERSIONS)
def test_foreign_models_answer_as_their_own_version_or_are_refused_with_a_way_out(
    version: str, corpus: Path, opt_ml: Path
) -> None:
    answers = json.loads((corpus / version / "answers.json").read_text())
    numbers = tuple(int(part) for part in version.split(".")[:2])
    outcomes: Counter[str] = Counter()
    for name, known in answers.items():
        mode = "require" if ONEDAL and not name.startswith("linear") else "auto"
        app = serve(opt_ml, corpus / version / name, acceleration=mode)
        service = app.extensions["scoring"]
        if name.endswith(".json"):
            known |= {"trees": (corpus / version / name).read_text().count("tree_param")}
        expected = way_out(name, numbers, known)
        if expected:
            assert all(word in service.failure for word in expected), (name, service.failure)
            outcomes["refused"] += 1
            continue
        assert not service.failure, (name, service.failure)
        body = request_of(name, numbers)
        answer, headers = ask(app, in_words(name, body))
        np.testing.assert_allclose(answer, array(known["answers"]), 1e-5, 1e-6, err_msg=name)
        engine = service.model.model.engines[0]
        if isinstance(engine, OneDALEngine):  # XGBoost, the reference, has the same rounds
            rows = np.genfromtxt(body.splitlines(), np.float32, delimiter=",")
            other = engine._reference.predict(rows).reshape(answer.shape)
            np.testing.assert_allclose(answer, other, 1e-5, 1e-6, err_msg=name)
        if "contributions" in known:
            rows = np.genfromtxt(body.splitlines()[:2], np.float32, delimiter=",")
            shares = np.array(known["contributions"]["values"], np.float32)
            found = engine.contributions(rows).ravel()
            np.testing.assert_allclose(found, shares, 1e-4, 1e-5, err_msg=name)
        cut = not np.allclose(array(known["answers"]), array(known["all"]), 1e-5, 1e-6)
        assert ("X-Model-Iterations" in headers) >= cut, name
        if cut:
            assert headers["X-Model-Iterations"].startswith(f"rounds 0 to {known['rounds'] - 1} of")
            outcomes["cut"] += 1
        outcomes["equal"] += 1
    print(f"\nXGBoost {version}: {dict(outcomes)}")


@pytest.mark.parametrize("version", ["1.0.2", "1.5.2", "1.7.6", "2.1.4", "3.2.0"])
def test_all_rounds_of_a_foreign_model_answer_on_request(
    version: str, corpus: Path, opt_ml: Path
) -> None:
    answers = json.loads((corpus / version / "answers.json").read_text())
    for name, known in answers.items():
        if "stopped" in name and name.endswith(".json"):
            app = serve(opt_ml, corpus / version / name, best_iteration=False)
            answer, headers = ask(app, (FOREIGN / "rows.csv").read_text())
            np.testing.assert_allclose(answer, array(known["all"]), 1e-5, 1e-6, err_msg=name)
            assert "X-Model-Iterations" not in headers
