"""Framework mode of serving: the program that the deployer brings, found, installed and imported.

https://sagemaker.readthedocs.io/en/stable/frameworks/xgboost/using_xgboost.html#deploy-open-source-xgboost-models
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import runtime
from runtime.inference.errors import StartError
from runtime.inference.handlers import Program
from runtime.job import code, packages
from runtime.job.commands import Runner
from runtime.job.failures import UserError
from runtime.job.paths import Paths
from settings import Settings

COMPAT = Path(runtime.__file__).parent / "compat"  # the modules that such programs import
STEPS = ("input_fn", "predict_fn", "output_fn")

log = logging.getLogger(__name__)


def bring(settings: Settings, paths: Paths) -> Program | None:
    """Return the program that SAGEMAKER_PROGRAM names, imported; None without that variable.

    Code in a model's archive alone never runs. Raises StartError when the program is forbidden,
    UserError when it cannot be brought, installed or imported, or defines what excludes each other.
    """
    if not settings.program:
        return None
    if settings.allow_code == "never":
        raise StartError("SAGEMAKER_PROGRAM is set, but ALLOW_CODE=never forbids it")
    folder = _folder(settings, paths)
    added = packages.install(folder, Runner())
    sys.path[:0] = [path for path in (str(folder), *added, str(COMPAT)) if path not in sys.path]
    try:
        module = _import(settings.program, folder)
    except Exception as problem:
        log.exception("the program %s cannot be imported", settings.program)
        message = f"{settings.program} cannot be imported: {type(problem).__name__}: {problem}"
        raise UserError(message) from problem
    names = [field.name for field in dataclasses.fields(Program) if field.name.endswith("_fn")]
    functions = {name: getattr(module, name, None) for name in names}
    program = Program(settings, **functions)
    excluded = [name for name in STEPS if functions[name]]
    if program.transform_fn and excluded:
        raise UserError(f"{settings.program}: transform_fn excludes {', '.join(excluded)}")
    if program.model_fn is None and (program.transform_fn or program.predict_fn):
        raise UserError(f"{settings.program} has no model_fn, which its own functions need")
    found = [name for name in names if functions[name]]
    log.info("framework mode: %s with %s", settings.program, ", ".join(found) or "no function")
    return program


def _folder(settings: Settings, paths: Paths) -> Path:
    """Return the folder of the program, in place where it is one."""
    uri = settings.submit_directory
    if not uri:
        inside = paths.model / "code"
        uri = str(inside if inside.is_dir() else paths.code)
    folder = Path(uri.removeprefix("file://"))
    if not folder.is_dir():
        writable = paths.base.is_dir() and os.access(paths.base, os.W_OK)
        target = paths.code if writable else Path(tempfile.mkdtemp(prefix="code-"))
        if not (target.is_dir() and any(target.iterdir())):
            code.bring(uri, target)
        folder = target
    if settings.program.endswith(".py") and not (folder / settings.program).is_file():
        raise UserError(f"SAGEMAKER_PROGRAM={settings.program} is not in {uri}")
    return folder


def _import(program: str, folder: Path) -> ModuleType:
    """Import the program under its own name, unless a module of this server has that name."""
    name = program.removesuffix(".py").replace("/", ".")
    path = folder / program
    if not path.is_file():
        return importlib.import_module(name)
    if name in sys.modules:
        name = f"program_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
