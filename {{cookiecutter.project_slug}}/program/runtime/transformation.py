"""The owner's features.py, as training and serving use it: its version, and its answer checked."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

import features
from runtime.job import artifact
from runtime.job.failures import UserError

Names = tuple[str, ...] | None
FORMER_NAME = "identity"  # what the template's file called itself before versions were digests
# The template's own features.py, now and as it was then: it changes nothing unless something was
# fitted. This is known by what the file is, not by what it says of itself: an owner forgets that.
UNTOUCHED = {
    "23d61b910b36551f612ceb8e9c025acb5baba7a901af5fe8bc6a93b4acd64ff1",
    "81730daff8fc71ce518102a79b1b6932ca7de3368b3aea3d788766257be8c402",
    "abdb1649a8b87571ee847a7ed3a0ab6418afdf7c3fc1732725617664343f826c",
}

log = logging.getLogger(__name__)


def is_untouched() -> bool:
    """Return whether features.py is the template's own file."""
    return artifact.source_digest(features) in UNTOUCHED


def version() -> str:
    """Return the version of features.py: its own VERSION, or else a digest of its source.

    A VERSION of "identity" does not count: files of the former template have it, whoever has edited
    them since.
    """
    explicit = getattr(features, "VERSION", None)
    return (
        str(explicit)
        if explicit not in (None, "", FORMER_NAME)
        else artifact.source_digest(features)
    )


def is_version_of(trained: str | None) -> bool:
    """Return whether a model that was trained with features `trained` can be served with these.

    A model without a version, of the built-in algorithm for example, is taken: its columns are
    compared at least.
    """
    if trained in (None, version()):
        return True
    return trained in {FORMER_NAME, *UNTOUCHED} and is_untouched()


def apply(
    rows: NDArray[np.float32], names: Names, fitted: dict[str, Any] | None
) -> tuple[NDArray[np.float32], Names]:
    """Return `features.transform` of the rows, float32 [rows, columns], and the columns' names.

    Raises UserError when it fails or answers something else: it is the owner's program.
    """
    try:
        values, names = features.transform(rows, names, fitted)
    except Exception as problem:
        log.exception("features.transform failed")
        raise UserError(f"features.transform failed: {type(problem).__name__}: {problem}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype != np.float32:
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values)
        raise UserError(f"features.transform returned {found}: it must be float32 [rows, columns]")
    if len(values) != len(rows):
        raise UserError(f"features.transform made {len(values)} rows of {len(rows)}")
    if names is not None and len(names) != values.shape[1]:
        raise UserError(
            f"features.transform returned {len(names)} names for {values.shape[1]} columns"
        )
    return values, names
