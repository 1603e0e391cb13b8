"""A Booster -> the fastest engine whose answers equal XGBoost's, with the proof attached.

    single_thread()                  before xgboost or daal4py is imported
    booster = load_booster(path)     or ModelFileError: one line, what was found, what is supported
    stored_categories(booster)       the strings of its columns, where it has them
    choice = choose(booster)         choice.engine, choice.reason, choice.report (parity.json)
    after_fork(choice.engine)        in each worker

Nothing here imports xgboost or daal4py at import time, so that `single_thread` comes first.
"""

from runtime.acceleration.boosters import ForeignFileError, ModelFileError, load_booster
from runtime.acceleration.choose import AccelerationError, Choice, choose
from runtime.acceleration.engines import (
    Engine,
    NoContributionsError,
    after_fork,
    engine_for,
    single_thread,
)
from runtime.acceleration.shadow import ShadowChecker
from runtime.acceleration.stored import stored_categories

__all__ = [
    "AccelerationError",
    "Choice",
    "Engine",
    "ForeignFileError",
    "ModelFileError",
    "NoContributionsError",
    "ShadowChecker",
    "after_fork",
    "choose",
    "engine_for",
    "load_booster",
    "single_thread",
    "stored_categories",
]
