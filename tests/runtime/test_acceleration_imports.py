"""Serving and training leave scikit-learn alone; an owner's code finds everything as usual."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from locations import PROGRAM

pytest.importorskip("sklearn")
pytest.importorskip("daal4py")
LEAN = "import sys\nfrom runtime.acceleration import single_thread\nsingle_thread()\n"
ESTIMATOR = """
import numpy as np
from sklearn.base import BaseEstimator
found = XGBClassifier(n_estimators=2).fit(np.eye(4), [0, 1, 0, 1])
assert isinstance(found, BaseEstimator)
assert found.predict_proba(np.eye(4)).shape == (4, 2)
"""


def run(code: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(PROGRAM), "NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_neither_engine_brings_scikit_learn() -> None:
    run(
        LEAN + "import numpy, xgboost, daal4py, predictor\n"
        "matrix = xgboost.DMatrix(numpy.eye(4), numpy.arange(4))\n"
        "booster = xgboost.train({}, matrix, 1)\n"
        "booster.predict(xgboost.DMatrix(numpy.eye(4))), booster.inplace_predict(numpy.eye(4))\n"
        "xgboost.Booster(model_file=booster.save_raw('ubj')).get_dump()\n"
        "heavy = {'sklearn', 'scipy.stats', 'daal4py.sklearn', 'daal4py.mb', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'xgboost' in sys.modules and 'daal4py' in sys.modules\n"
        "assert not [name for name, module in sys.modules.items() if module is None]\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("from xgboost import XGBClassifier", id="from xgboost"),
        pytest.param("from xgboost.sklearn import XGBClassifier", id="from xgboost.sklearn"),
        pytest.param("import xgboost; XGBClassifier = xgboost.XGBClassifier", id="attribute"),
        pytest.param(
            "import xgboost; XGBClassifier = xgboost.sklearn.XGBClassifier", id="submodule"
        ),
        pytest.param("from xgboost import *", id="star"),
    ],
)
def test_estimators_come_when_they_are_asked_for(code: str) -> None:
    run(LEAN + code + ESTIMATOR)


def test_the_rest_of_both_packages_is_there() -> None:
    run(
        LEAN + "import pickle, daal4py, xgboost\n"
        "from xgboost import plot_importance\n"
        "assert plot_importance is xgboost.plotting.plot_importance\n"
        "from xgboost import XGBRegressor\n"
        "assert isinstance(pickle.loads(pickle.dumps(XGBRegressor())), XGBRegressor)\n"
        "assert all(hasattr(xgboost, name) for name in xgboost.__all__)\n"
        "assert not hasattr(xgboost, 'nothing') and not hasattr(daal4py, 'nothing')\n"
        "assert daal4py.mb.convert_model and daal4py.sklearn.ensemble\n"
    )


def test_daal4py_takes_frames_of_a_pandas_that_is_imported_after_it() -> None:
    run(
        LEAN + "import daal4py, numpy\n"
        "covariance = lambda rows: daal4py.covariance().compute(rows).covariance\n"
        "rows = numpy.random.default_rng(0).normal(size=(50, 3))\n"
        "expected = covariance(rows)\n"
        "import pandas\n"
        "frame = pandas.DataFrame(rows, columns=[*'abc'])\n"
        "for given in (frame, frame.astype({'b': 'float32'})):\n"
        "    numpy.testing.assert_allclose(covariance(given), expected, rtol=1e-6, atol=1e-7)\n"
        "numpy.testing.assert_allclose(covariance(frame['a']), expected[:1, :1])\n"
    )


def test_training_imports_nothing_for_other_formats_or_for_requests() -> None:
    run(
        "import sys\nfrom runtime.imports import import_xgboost\nimport_xgboost()\n"
        "from runtime.training import pipeline\n"
        "heavy = {'sklearn', 'scipy.special', 'numpy.f2py', 'numpy.testing', 'werkzeug',\n"
        "    'google.protobuf', 'pandas', 'pyarrow', 'daal4py'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )


def test_the_rest_of_numpy_and_scipy_is_there() -> None:
    run(
        LEAN + "import numpy\n"
        "from runtime.acceleration.links import expit\n"
        "assert 'scipy.special' not in sys.modules and 'numpy.f2py' not in sys.modules\n"
        "assert numpy.f2py.run_main and numpy.testing.assert_allclose and numpy.rec.array\n"
        "assert None not in [getattr(numpy, name) for name in set(numpy.__all__) - {'newaxis'}]\n"
        "import scipy.special, scipy.stats\n"
        "assert scipy.special.expit is expit and scipy.special._ufuncs.expit is expit\n"
        "assert scipy.special.softmax([0.0, 0.0]).tolist() == [0.5, 0.5]\n"
        "assert scipy.stats.norm.cdf(0.0) == 0.5\n"
    )


def test_packages_that_are_imported_already_stay_as_they_are() -> None:
    run("import sklearn.base, xgboost\n" + LEAN + "from xgboost import XGBClassifier" + ESTIMATOR)
    run("import sklearn.base\n" + LEAN + "from xgboost import XGBClassifier" + ESTIMATOR)
