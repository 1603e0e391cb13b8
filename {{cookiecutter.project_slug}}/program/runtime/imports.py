"""Import XGBoost, daal4py and scipy without what they import and nothing here uses.

XGBoost imports scikit-learn for its estimators and daal4py for its own, with a good part of scipy:
more than a second and 60 MB of each process. Where pandas is installed, daal4py imports it to know
its frames: 0.3 s. scipy.sparse imports all of numpy, with its compiler for Fortran and its tools
for tests: half of its time. Whoever asks for any of these later, such as `model_fn` of a program in
framework mode, gets them as usual.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy

ESTIMATORS = ("mb", "sklearn")  # of daal4py
FRAMES = ("DataFrame", "Series")  # of pandas, which daal4py takes
SUBMODULES = ("plotting", "sklearn")  # of xgboost, that need scikit-learn where it is installed
UNUSED_BY_SCIPY = (  # of numpy
    *("char", "core", "ctypeslib", "f2py", "ma", "polynomial", "rec", "strings", "testing"),
)


class ClassOfPandas(type):
    """A stand-in for a class of pandas, which has no instances before pandas is imported."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether this is an instance of pandas' class of that name."""
        pandas = sys.modules.get("pandas")
        return isinstance(instance, getattr(pandas, cls.__name__, ()))


def import_scipy() -> None:
    """Import scipy.sparse without most of numpy's submodules, unless it is imported already.

    Its layer for other array libraries begins with `from numpy import *`, which imports those that
    numpy itself imports only when they are asked for.
    """
    if "scipy.sparse" in sys.modules:
        return
    placeholders = dict.fromkeys(name for name in UNUSED_BY_SCIPY if name not in vars(numpy))
    vars(numpy).update(placeholders)
    try:
        import scipy.sparse  # noqa: F401
    finally:
        for name in placeholders:
            delattr(numpy, name)


def import_expit() -> Any:
    """Return the function `scipy.special.expit`, from the compiled module that has it.

    The package around it spends ten times as long on wrapping its functions for other libraries.
    """
    name = "scipy.special"
    if name not in sys.modules:
        import_scipy()
        package = ModuleType(name)
        package.__path__ = [f"{folder}/special" for folder in sys.modules["scipy"].__path__]
        sys.modules[name] = package
        try:
            importlib.import_module(f"{name}._special_ufuncs")
        finally:
            del sys.modules[name]
    return importlib.import_module(f"{name}._special_ufuncs").expit


def import_engines() -> None:
    """Import xgboost and daal4py without scikit-learn."""
    import_xgboost()
    with suppress(ImportError):  # where it is not installed; `choose` says so, or what is wrong
        _import_daal4py()


def import_xgboost() -> None:
    """Import xgboost without scikit-learn, unless either is imported already."""
    if "xgboost" in sys.modules or "sklearn" in sys.modules:
        return
    import_scipy()
    hidden = ("sklearn", "xgboost.sklearn")
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: cannot be imported
    try:
        import xgboost.data  # by XGBoost itself only when the first matrix is made
    finally:
        for name in hidden:
            del sys.modules[name]
    # Its notes on scikit-learn's presence; xgboost.sklearn takes them anew.
    sys.modules.pop("xgboost.compat", None)

    def late(name: str) -> Any:
        if name in SUBMODULES:
            return importlib.import_module(f"xgboost.{name}")
        if name in xgboost.__all__:
            owner = "sklearn" if name.startswith("XGB") else "plotting"
            return getattr(importlib.import_module(f"xgboost.{owner}"), name)
        raise AttributeError(f"module 'xgboost' has no attribute {name!r}")

    vars(xgboost)["__getattr__"] = late  # see PEP 562


def _import_daal4py() -> None:
    if "daal4py" in sys.modules or "sklearn" in sys.modules:
        return
    hidden = {f"daal4py.{name}": ModuleType(name) for name in ESTIMATORS}
    if "pandas" not in sys.modules:
        hidden["pandas"] = ModuleType("pandas")
        vars(hidden["pandas"]).update({n: ClassOfPandas(n, (), {}) for n in FRAMES})
    sys.modules.update(hidden)
    try:
        import daal4py
    finally:
        for name in hidden:
            del sys.modules[name]
    for name in ESTIMATORS:
        delattr(daal4py, name)

    def late(name: str) -> Any:
        if name in ESTIMATORS:
            return importlib.import_module(f"daal4py.{name}")
        raise AttributeError(f"module 'daal4py' has no attribute {name!r}")

    vars(daal4py)["__getattr__"] = late
