"""The rule that keeps both engines safe under fork: one thread, everywhere, from the start.

XGBoost with several OpenMP threads in a parent hangs in the child after a fork; so does oneDAL
with a large batch. Workers are processes, so one thread each loses nothing.
"""

from __future__ import annotations

import os
import sys

import numpy as np

from runtime.acceleration.engines import Engine
from runtime.job import resources


def single_thread() -> None:
    """Give every numeric library one thread. They read this once: call before the imports."""
    for variable in resources.THREADS:
        os.environ[variable] = "1"
    limit_onedal()


def limit_onedal() -> None:
    """Bypass oneDAL's own thread pool, which OMP_NUM_THREADS does not reach."""
    if "daal4py" in sys.modules:
        sys.modules["daal4py"].daalinit(1)


def after_fork(engine: Engine) -> None:
    """Prepare a worker: one thread again, then a prediction on both code paths, 1 and 32 rows."""
    limit_onedal()
    for count in (1, 32):
        engine.predict(np.zeros((count, engine.num_features), np.float32))
