"""Load a model file, or say in one line what it is instead and what to do.

What a file knows and a Booster has no place for is kept in the Booster's attributes: the version
that saved it, and the parameters of the scikit-learn estimator that it was part of.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import settings
from runtime.acceleration import pickles, soundness
from runtime.job.failures import UserError
from runtime.job.versions import xgboost_version

if TYPE_CHECKING:
    import xgboost

SAVED_WITH, ESTIMATOR = "saved_with", "scikit_learn"  # attributes; the second is XGBoost's own
SUPPORTED = "supported: XGBoost models saved as UBJSON or JSON (booster.save_model)"
ENDS = 256  # bytes at each end of a file, one of which holds the version
CONVERTER = "XGBoost 1.7.6"  # reads all that was saved from 0.90 on, but for the pickles of 0.90
CONVERT = (
    f"convert it with {CONVERTER}: xgboost.Booster(model_file=OLD).save_model('xgboost-model.json')"
)
CONVERT_PICKLE = f"convert it: unpickle it with {CONVERTER}, then save_model('xgboost-model.json')"

OLD: tuple[tuple[bytes, str], ...] = (
    (b"binf", f"XGBoost's old binary format, which XGBoost 3.1 and later do not read: {CONVERT}"),
    (b"CONFIG-offset:", f"XGBoost's old serialised form: {CONVERT}"),
)
JOBLIB = (
    "a compressed file of joblib: load it with joblib where it was written, and save its model "
    "with get_booster().save_model"
)
FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"tree\n", "a LightGBM text model"),
    (b"CBM1", "a CatBoost model"),
    (b"\x1f\x8b", "a gzip archive: unpack it (model.tar.gz is an archive that holds the model)"),
    (b"PK\x03\x04", "a zip archive"),
    *((head, JOBLIB) for head in (b"x\x01", b"x^", b"x\x9c", b"x\xda")),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (b"<", "XML (PMML, or an error page of a download)"),
)
# XGBoost before 1.1 saved without a header: a structure of 136 bytes, then the objective's name.
HEADERLESS = re.compile(rb".{136}[\x01-\x40]\x00{7}[a-z]+:[a-z]+", re.DOTALL)


class ModelFileError(UserError):
    """A file that cannot be served as a model. One line: the file, what was found, what to do."""


class ForeignFileError(ModelFileError):
    """A file that is not a model of XGBoost at all, such as one that lies beside models."""


def load_booster(path: Path, *, allow_pickle: bool | None = None) -> xgboost.Booster:
    """Return the Booster of `path`, set to one thread.

    Pickles are read only when `allow_pickle` (default: the setting ALLOW_PICKLE) says so. Raises
    ForeignFileError for a file of something else, ModelFileError for a model that this version of
    XGBoost does not read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ModelFileError(f"{path}: empty file; {SUPPORTED}")
    if data[:1] == pickles.FIRST_BYTE:
        allowed = settings.load().allow_pickle if allow_pickle is None else allow_pickle
        return _unpickle(path, data, allowed)
    for head, found in OLD:
        if data.startswith(head):
            raise ModelFileError(f"{path}: found {found}")
    if HEADERLESS.match(data):
        raise ModelFileError(f"{path}: found a binary file of XGBoost before 1.1: {CONVERT}")
    for head, found in FOREIGN:
        if data.startswith(head):
            raise ForeignFileError(f"{path}: found {found}; {SUPPORTED}")
    if data[:1] != b"{":
        raise ForeignFileError(
            f"{path}: found no known format (first bytes {data[:8]!r}); {SUPPORTED}"
        )
    return _load(path, data)


def estimator(booster: xgboost.Booster) -> dict[str, Any]:
    """Return the parameters of the scikit-learn estimator that a model was saved by, if known."""
    try:
        found = json.loads(booster.attr(ESTIMATOR) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def missing_value(booster: xgboost.Booster) -> float | None:
    """Return the value besides NaN that means missing to the estimator that saved the model."""
    value = estimator(booster).get("missing")
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def _load(path: Path, data: bytes) -> xgboost.Booster:
    import xgboost

    version = _version(data[:ENDS] + data[-ENDS:])
    _check_version(path, version)
    try:
        if not data.rstrip().endswith(b"}"):  # XGBoost reads a byte or two past such an end
            raise ValueError("the end is missing")
        is_text = data[1:].lstrip()[:1] in (b'"', b"}")
        if not is_text:
            soundness.check(data.rstrip())
        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
        if is_text:
            soundness.check(booster.save_raw("ubj"))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        kind = ModelFileError if b"learner" in data else ForeignFileError
        what = "a truncated, damaged or foreign file that begins like an XGBoost model"
        raise kind(f"{path}: found {what} ({_first_line(error)}); {SUPPORTED}") from None
    return _noted(booster, version)


def _noted(booster: xgboost.Booster, version: tuple[int, int] | None) -> xgboost.Booster:
    """Return the Booster with the version that saved it among its attributes."""
    if version:
        booster.set_attr(**{SAVED_WITH: ".".join(map(str, version))})
    return booster


def _version(data: bytes | bytearray) -> tuple[int, int] | None:
    """Return the version (major, minor) that a model was saved with, if it is found."""
    text = re.search(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)', data)
    if text:
        return int(text[1]), int(text[2])
    # UBJSON: a list with its length in eight bytes, of small integers marked `i`.
    binary = re.search(rb"version\[#L.{8}i(.)i(.)", data, re.DOTALL)
    return (binary[1][0], binary[2][0]) if binary else None


def _check_version(path: Path, found: tuple[int, int] | None) -> None:
    """Raise ModelFileError when a model is of a later XGBoost, whose files may mean another."""
    import xgboost

    here = xgboost_version()
    if found and here and found > here:
        python = ", which needs a base image with Python 3.12 or newer," if found >= (3, 3) else ""
        raise ModelFileError(
            f"{path}: found a model of XGBoost {found[0]}.{found[1]}; this image has "
            f"{xgboost.__version__}, which reads models up to its own version: ask for "
            f"xgboost-cpu>={found[0]}.{found[1]}{python} in requirements.in, then `make lock "
            f"build`; or train the model with XGBoost {here[0]}.{here[1]}"
        )


def _unpickle(path: Path, data: bytes, allowed: bool) -> xgboost.Booster:
    import xgboost

    try:
        found = pickles.read(data)
    except pickles.UnreadablePickleError as error:
        raise ForeignFileError(f"{path}: found a pickle {error}; {SUPPORTED}") from None
    if found.buffer.startswith((b"CONFIG-offset:", b'{"')):  # until 1.3, of 1.4 and 1.5
        raise ModelFileError(f"{path}: found a pickle of XGBoost before 1.6: {CONVERT_PICKLE}")
    if not found.buffer.startswith(b"{"):  # UBJSON since 1.6
        raise ModelFileError(
            f"{path}: found a pickle of XGBoost before 1.0, which no later version reads: unpickle "
            f"it with the version that wrote it (0.90?), save_model(OLD), then {CONVERT}"
        )
    version = _version(found.buffer)
    _check_version(path, version)
    if not allowed:
        raise ModelFileError(
            f"{path}: found a pickle; {SUPPORTED}. Save it again with booster.save_model, or set "
            "ALLOW_PICKLE=true: XGBoost's model is taken out of it, and nothing else in it is run"
        )
    booster = xgboost.Booster.__new__(xgboost.Booster)
    try:
        soundness.check(found.buffer)
        booster.__setstate__({"handle": found.buffer})
        booster.set_param({"nthread": 1})
    except (xgboost.core.XGBoostError, ValueError) as error:
        message = f"{path}: found a damaged pickle ({_first_line(error)}); {SUPPORTED}"
        raise ModelFileError(message) from None
    if found.missing is not None:
        booster.set_attr(**{ESTIMATOR: json.dumps({"missing": found.missing})})
    return _noted(booster, version)


def _first_line(error: Exception) -> str:
    """Return an error's first line, without XGBoost's time stamp and source file."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"^\[[\d:]+\] \S+: ", "", line).rstrip(" :")
