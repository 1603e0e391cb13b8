"""The models of a multi-model endpoint in one worker: loaded when first asked for, then kept.

https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html
"""

from __future__ import annotations

import ctypes
import gc
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson

from runtime import acceleration
from runtime.inference import loading
from runtime.inference.errors import (
    BadModelError,
    NoModelError,
    OutOfMemoryError,
    Response,
    StartError,
)
from runtime.inference.invocation import ServedModel
from runtime.inference.registry import Entry, Registry
from runtime.job import resources
from runtime.job.failures import UserError
from settings import Settings

PAGE = 100  # models in one answer of the list
MEMORY_SHARE = 0.7  # of the container's memory for models; requests and Python need the rest
BYTES_PER_FILE_BYTE = 14  # of memory: XGBoost's trees, oneDAL's, and room for the conversion
BYTES_PER_MODEL = 2 << 20
FAULTS = (acceleration.ModelFileError, UserError, StartError, OSError)  # of a model's files


def budget(settings: Settings) -> int:
    """Return the bytes that models may use: the setting, or a share of the container's memory."""
    return settings.model_memory_mb << 20 or int(resources.memory_limit() * MEMORY_SHARE)


def cost(files: list[Path], workers: int) -> int:
    """Return the bytes that a model may come to take when every worker has loaded it."""
    size = sum(file.stat().st_size for file in files)
    return workers * (BYTES_PER_MODEL + size * BYTES_PER_FILE_BYTE)


class ModelStore:
    """Loads, keeps, lists and drops models. Every method may be called from several threads.

    `folder` is where the workers register the models; `load` turns a model's folder into what
    answers requests.
    """

    def __init__(
        self, folder: Path, settings: Settings, load: Callable[[Path], ServedModel]
    ) -> None:
        self.settings, self.load = settings, load
        self.registry = Registry(folder, budget(settings))
        self.workers = settings.workers or resources.cpu_count()
        self.loaded: dict[str, tuple[str, ServedModel]] = {}
        # XGBoost keeps a copy of a model for each thread that read it, and frees that of the
        # thread which drops the model: so one thread, away from requests, loads and drops all.
        self.loader = ThreadPoolExecutor(1, "loader")
        for package in ("xgboost", "daal4py"):  # once, before the workers fork, for all of them
            with suppress(ImportError):
                importlib.import_module(package)
        acceleration.single_thread()

    def _load(self, entry: Entry) -> ServedModel:
        """Return the model of an entry, in the loader's thread, loading it once."""
        generation, model = self.loaded.get(entry.name, ("", None))
        if model is None or generation != entry.generation:
            model = self.load(Path(entry.url))
            self.loaded[entry.name] = (entry.generation, model)
        return model

    def get(self, name: str) -> ServedModel:
        """Return a model that is loaded somewhere, loading it in this worker if need be.

        Raises UnknownModelError, and NoModelError when its files have changed for the worse.
        """
        entry = self.registry.get(name)
        generation, model = self.loaded.get(name, ("", None))
        if model is not None and generation == entry.generation:
            return model
        try:
            return self.loader.submit(self._load, entry).result()
        except FAULTS as error:
            raise NoModelError(f"model {name!r} cannot be loaded again: {error}") from None

    def add(self, body: bytes) -> Response:
        """Load the model that a request `{"model_name": …, "url": …}` names."""
        name, path = parse_load_request(body)
        try:
            files = loading.model_files(path)
            if not self.settings.inference_ensemble:
                files = [max(files, key=lambda file: file.stat().st_size)]
            entry = self.registry.claim(name, str(path), cost(files, self.workers))
        except FAULTS as error:
            raise BadModelError(f"model {name!r}: {error}") from None
        try:
            self.loader.submit(self._load, entry).result()
        except FAULTS as error:
            self.registry.discard(name)
            raise BadModelError(f"model {name!r}: {error}") from None
        except MemoryError:
            self.registry.discard(name)
            raise OutOfMemoryError(f"model {name!r} does not fit into memory") from None
        except BaseException:
            self.registry.discard(name)
            raise
        self.registry.confirm(entry)
        return Response(200, orjson.dumps(describe(entry)), "application/json")

    def describe(self, name: str) -> Response:
        """Answer GET /models/NAME."""
        return Response(200, orjson.dumps(describe(self.registry.get(name))), "application/json")

    def list(self, query: bytes) -> Response:
        """Answer GET /models: a page of models, those after the `next_page_token` of a query."""
        # Not by werkzeug, which raises where the query is not UTF-8.
        tokens = parse_qs(query.decode("latin-1"), errors="replace").get("next_page_token", [])
        after = "".join(tokens[:1])
        entries = [entry for entry in self.registry.ready() if entry.name > after]
        page = {"models": [describe(entry) for entry in entries[:PAGE]]}
        more = {"nextPageToken": entries[PAGE - 1].name} if len(entries) > PAGE else {}
        return Response(200, orjson.dumps(page | more), "application/json")

    def remove(self, name: str) -> Response:
        """Unload a model: no worker answers for it any more; its memory is free within a second."""
        self.registry.remove(name)
        self.sweep()
        return Response(200)

    def sweep(self) -> None:
        """Drop the models that are no longer registered, in the loader's thread."""
        self.loader.submit(self._drop)

    def _drop(self) -> None:
        before = len(self.loaded)
        for name in list(self.loaded):
            entry = self.registry.find(name)
            if entry is None or entry.generation != self.loaded[name][0]:
                del self.loaded[name]
        if len(self.loaded) < before:
            gc.collect()  # parsed models hold cycles
            ctypes.CDLL(None).malloc_trim(0)


def describe(entry: Entry) -> dict[str, str]:
    """Return a model as the contract shows it."""
    return {"modelName": entry.name, "modelUrl": entry.url}


def parse_load_request(body: bytes) -> tuple[str, Path]:
    """Return name and path of a request to load. Raises BadModelError."""
    expected = '{"model_name": NAME, "url": FOLDER}'
    try:
        document: Any = orjson.loads(body)
        name, url = document["model_name"], document["url"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise BadModelError(
            "the body is not a request to load a model", expected=expected
        ) from None
    if not (isinstance(name, str) and name and isinstance(url, str) and url and "\0" not in url):
        raise BadModelError(
            "model_name and url must be strings that are not empty", expected=expected
        )
    return name, Path(url)
