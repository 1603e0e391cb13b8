"""Which XGBoost runs here. Its versions differ in what they take and in what they answer."""

from __future__ import annotations

import functools


@functools.cache
def xgboost_version() -> tuple[int, int] | None:
    """Return the version (major, minor) of XGBoost; None on a machine that only deploys."""
    try:
        import xgboost
    except ModuleNotFoundError:
        return None
    major, minor, *_ = xgboost.__version__.split(".")
    return int(major), int(minor)
