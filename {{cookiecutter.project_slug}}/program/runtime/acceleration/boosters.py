"""Load a model file, or say in one line what it is instead and what is supported."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import settings
from runtime.job.failures import UserError

if TYPE_CHECKING:
    import xgboost

SUPPORTED = "supported: XGBoost models saved as UBJSON or JSON (booster.save_model)"
TAIL = 256  # bytes at the end that hold the version in both forms

FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"tree\n", "a LightGBM text model"),
    (b"CBM1", "a CatBoost model"),
    (b"\x1f\x8b", "a gzip archive: unpack it (model.tar.gz holds the model, and is none)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"binf", "XGBoost's old binary format: save it as UBJSON with XGBoost 1.6 to 3.0"),
    (b"CONFIG-offset:", "XGBoost's old serialised form: save it as UBJSON with XGBoost 1.6 to 3.0"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (b"<", "XML (PMML, or an error page of a download)"),
)


class ModelFileError(UserError):
    """A file that cannot be served as a model. One line: the file, what was found, what is read."""


def load_booster(path: Path, *, allow_pickle: bool | None = None) -> xgboost.Booster:
    """Return the Booster of `path`, set to one thread.

    Pickles are read only when `allow_pickle` (default: the setting ALLOW_PICKLE) says so, and only
    of XGBoost's own classes. Raises ModelFileError for anything that is no model this version of
    XGBoost reads.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not data:
        raise ModelFileError(f"{path}: empty file; {SUPPORTED}")
    if data[:1] == b"\x80":
        allowed = settings.load().allow_pickle if allow_pickle is None else allow_pickle
        return _unpickle(path, data, allowed)
    for head, found in FOREIGN:
        if data.startswith(head):
            raise ModelFileError(f"{path}: found {found}; {SUPPORTED}")
    if data[:1] != b"{":
        raise ModelFileError(
            f"{path}: found no known format (first bytes {data[:8]!r}); {SUPPORTED}"
        )
    return _load(path, data)


def _load(path: Path, data: bytes) -> xgboost.Booster:
    import xgboost

    found = _version(data[-TAIL:])
    here = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
    if found and found > here:
        raise ModelFileError(
            f"{path}: found a model of XGBoost {found[0]}.{found[1]}; this image has "
            f"{xgboost.__version__} and reads models up to that: raise xgboost-cpu in "
            "requirements.in, or save the model with the older version"
        )
    try:
        if not data.rstrip().endswith(b"}"):  # XGBoost reads a byte or two past such an end
            raise ValueError("the end is missing")
        return xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        what = "a truncated, damaged or foreign file that begins like an XGBoost model"
        raise ModelFileError(f"{path}: found {what} ({_first_line(error)}); {SUPPORTED}") from None


def _version(tail: bytes) -> tuple[int, int] | None:
    """Return the version (major, minor) that the model was saved with, if it is found."""
    text = re.search(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)', tail)
    if text:
        return int(text[1]), int(text[2])
    # UBJSON: a list with its length in eight bytes, of small integers marked `i`.
    binary = re.search(rb"version\[#L.{8}i(.)i(.)", tail, re.DOTALL)
    return (binary[1][0], binary[2][0]) if binary else None


class _Unpickler(pickle.Unpickler):
    """Builds objects of XGBoost only: a pickle of anything else could run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "xgboost" or (module, name) == ("builtins", "bytearray"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def _unpickle(path: Path, data: bytes, allowed: bool) -> xgboost.Booster:
    import xgboost

    if not allowed:
        raise ModelFileError(
            f"{path}: found a pickle, which can run any program when it is read; {SUPPORTED}. "
            "Save it anew with booster.save_model, or set ALLOW_PICKLE=true if you trust its origin"
        )
    try:
        model = _Unpickler(io.BytesIO(data)).load()
    except Exception as error:
        message = f"{path}: found a pickle that cannot be read ({_first_line(error)}); {SUPPORTED}"
        raise ModelFileError(message) from None
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if not isinstance(booster, xgboost.Booster):
        raise ModelFileError(f"{path}: found a pickle of {type(model).__name__}; {SUPPORTED}")
    booster.set_param({"nthread": 1})
    return booster


def _first_line(error: Exception) -> str:
    """Return an error's first line, without XGBoost's time stamp and source file."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"^\[[\d:]+\] \S+: ", "", line).rstrip(" :")
