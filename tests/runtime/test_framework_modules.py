"""The modules that programs import in framework mode: the same models as with AWS's own code."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xgboost

from framework_job import SCRIPTS, csv_text, libsvm_text, script_job
from runtime.job.versions import xgboost_version

EXPECTED = json.loads((SCRIPTS / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(EXPECTED["trained"]))
def test_the_model_has_the_bytes_of_aws(tmp_path: Path, name: str) -> None:
    """One machine, rabit_run's script, and checkpoints that a second run continues."""
    write: Callable = libsvm_text if name == "distributed" else csv_text
    for hyperparameters in EXPECTED["trained"][name]:
        job = script_job(tmp_path, name, write=write, **hyperparameters)
        outcome = job.run_program()
        assert outcome.code == 0, outcome.log
    model = tmp_path / "model" / "xgboost-model.ubj"
    assert xgboost.Booster(model_file=model).num_boosted_rounds() > 0
    if name == "checkpoint":  # five of each run
        assert sorted(int(path.suffix[1:]) for path in (tmp_path / "checkpoints").iterdir()) == [
            *range(1, 11)
        ]
        assert re.search(r"\[10\]\s+train-rmse", outcome.log)
    if xgboost_version() != (3, 2):
        pytest.skip(f"XGBoost {xgboost.__version__} trains other trees than the built-in's 3.2")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert {model.name: digest} == EXPECTED["models"][name]


def test_modules_do_not_touch_the_owners_files(tmp_path: Path) -> None:
    """A program may have files that are named like those of this project."""
    names = ("settings", "features", "custom", "predictor")
    source = "".join(f"import {name}; assert {name}.mine\n" for name in names)
    source += (
        "import sagemaker_containers, sagemaker_xgboost_container.checkpointing\n"
        "from sagemaker_containers.beta.framework import encoders, env, mapping, worker\n"
        "from sagemaker_xgboost_container import data_utils, distributed, encoder\n"
        "import sagemaker_containers.entry_point, sagemaker_algorithm_toolkit.exceptions\n"
        "job = sagemaker_containers.training_env()\n"
        "assert job.hyperparameters == job['hyperparameters'] == {'depth': 3}, job\n"
        "assert job.to_cmd_args() == ['--depth', '3']\n"
        "assert job.to_env_vars()['SM_HP_DEPTH'] == '3'\n"
        "assert job.is_master and job.channel_input_dirs['train'] == env.channel_path('train')\n"
    )
    files = {"train.py": source} | {f"{name}.py": "mine = True" for name in names}
    job = script_job(tmp_path, files, depth="3")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log


def test_modules_are_not_importable_outside_of_framework_mode() -> None:
    with pytest.raises(ImportError):
        __import__("sagemaker_xgboost_container")


def test_a_matrix_has_several_paths_and_weights_and_bad_data_is_a_user_error(
    tmp_path: Path,
) -> None:
    source = (
        "import os\n"
        "from sagemaker_algorithm_toolkit.exceptions import UserError\n"
        "from sagemaker_xgboost_container.data_utils import get_dmatrix\n"
        "train, validation = os.environ['SM_CHANNEL_TRAIN'], os.environ['SM_CHANNEL_VALIDATION']\n"
        "both = get_dmatrix([train, validation], 'text/csv')\n"
        "assert (both.num_row(), both.num_col()) == (800, 6)\n"
        "weighted = get_dmatrix(validation, 'csv', csv_weights=1)\n"
        "assert weighted.num_col() == 5 and len(weighted.get_weight()) == 200\n"
        "assert get_dmatrix('/nowhere', 'csv') is None and get_dmatrix(None, 'csv') is None\n"
        "try: get_dmatrix(os.environ['SM_CHANNEL_BAD'], 'csv')\n"
        "except UserError as problem: print('refused:', problem)\n"
    )

    def positive(labels: np.ndarray, rows: np.ndarray) -> str:
        return csv_text(labels, np.abs(np.nan_to_num(rows)))

    job = script_job(tmp_path, {"train.py": source}, write=positive)
    job.put("bad", "part.csv", "1,2\n0,x\n")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert "refused: Failed to load csv data with exception:" in outcome.log
