"""SageMaker's own SDKs in local mode with the image (CONTRACT_IMAGE=NAME).

XGBoost and XGBoostModel of SDK 2 train a program and serve its model_fn; ModelTrainer of SDK 3
trains one.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xgboost

from framework_job import SCRIPTS, csv_text
from test_deploy_sdk import IMAGE, SDK_2, SDK_3, has_compose, run_sdk
from training_job import numbers

MODEL_FN = """

def model_fn(model_dir):
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model.ubj"))
"""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGE, reason="needs CONTRACT_IMAGE=NAME"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with data and a program."""
    if not has_compose():
        pytest.skip("needs Docker Compose")
    for channel, seed in (("train", 0), ("validation", 1)):
        rows, score = numbers(300, seed)
        (tmp_path / channel).mkdir()
        (tmp_path / channel / "part.csv").write_text(csv_text(score.round(3), rows))
    (tmp_path / "source").mkdir()
    script = (SCRIPTS / "single" / "train.py").read_text()
    (tmp_path / "source" / "train.py").write_text(script + MODEL_FN)
    return tmp_path


def test_the_framework_classes_of_sdk_2_train_and_serve_the_image(folder: Path) -> None:
    rows = np.nan_to_num(numbers(20, 3)[0])
    (folder / "rows.csv").write_text(csv_text(rows).strip())
    run_sdk(SDK_2, "sdk_local_mode.py", folder)
    with tarfile.open(folder / "output" / "model.tar.gz") as archive:
        archive.extractall(folder / "model", filter="data")
    booster = xgboost.Booster(model_file=folder / "model" / "xgboost-model.ubj")
    answers = json.loads((folder / "answers").read_text())
    expected = booster.predict(xgboost.DMatrix(rows))
    np.testing.assert_allclose(answers, expected, rtol=1e-6)


def test_model_trainer_of_sdk_3_trains_with_the_image(folder: Path) -> None:
    """Its driver starts the program itself: the modules are on the import path of the image."""
    run_sdk(SDK_3, "sdk_model_trainer.py", folder)
    model = folder / "root" / "artifacts" / "model" / "xgboost-model.ubj"
    assert xgboost.Booster(model_file=model).num_boosted_rounds() == 5
