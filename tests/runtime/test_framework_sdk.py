"""SageMaker's own SDK 2, its XGBoost and XGBoostModel classes, in local mode with the image
(CONTRACT_IMAGE=NAME): a program trains, and its model_fn serves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xgboost

from framework_job import SCRIPTS, csv_text
from test_deploy_sdk import IMAGE, has_compose, remove_stopped
from training_job import numbers

MODEL_FN = """

def model_fn(model_dir):
    return xgboost.Booster(model_file=os.path.join(model_dir, "xgboost-model.ubj"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not IMAGE, reason="needs CONTRACT_IMAGE=NAME")
def test_the_sdks_framework_classes_train_and_serve_the_image(tmp_path: Path) -> None:
    if not has_compose():
        pytest.skip("needs Docker Compose")
    for channel, seed in (("train", 0), ("validation", 1)):
        rows, score = numbers(300, seed)
        (tmp_path / channel).mkdir()
        (tmp_path / channel / "part.csv").write_text(csv_text(score.round(3), rows))
    (tmp_path / "source").mkdir()
    script = (SCRIPTS / "single" / "train.py").read_text()
    (tmp_path / "source" / "train.py").write_text(script + MODEL_FN)
    rows = np.nan_to_num(numbers(20, 3)[0])
    (tmp_path / "rows.csv").write_text(csv_text(rows).strip())
    tool = [sys.executable, "-m", "uv", "run", "--no-project", "--with", "sagemaker>=2.245,<3"]
    environ = {
        **os.environ,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
    }
    program = str(Path(__file__).with_name("sdk_framework_mode.py"))
    words = [*tool, "python", program, IMAGE, str(tmp_path)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    remove_stopped()
    assert done.returncode == 0, done.stderr[-3000:]
    with tarfile.open(tmp_path / "output" / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "model", filter="data")
    booster = xgboost.Booster(model_file=tmp_path / "model" / "xgboost-model.ubj")
    answers = json.loads((tmp_path / "answers.json").read_text())
    expected = booster.predict(xgboost.DMatrix(rows))
    np.testing.assert_allclose(answers, expected, rtol=1e-6)
