"""The models of a multi-model endpoint, as all workers see them: a folder with a file each.

A worker that takes a request to load claims the name and the memory under a lock, loads, then
confirms. Names are opaque, so a file is named by the digest of its model's name. The claim of a
worker that died while loading no longer counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from runtime.inference.errors import LoadedModelError, OutOfMemoryError, UnknownModelError
from runtime.job.resources import alive


@dataclass(frozen=True)
class Entry:
    """A model: its name, where its files are, the bytes set aside for it in all workers."""

    name: str
    url: str
    cost: int
    pid: int  # of the worker that loads it
    generation: str  # another one after unloading and loading again under the same name
    ready: bool = False


class Registry:
    """The folder of entries, and the memory that they may use together."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget = folder, budget

    def _path(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _read(path: Path) -> Entry | None:
        """Return the entry of a file; None when there is none, or its loader died."""
        try:
            entry = Entry(**orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        return entry if entry.ready or alive(entry.pid) else None

    def _write(self, entry: Entry) -> None:
        path = self._path(entry.name)
        draft = path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(asdict(entry)))
        draft.rename(path)

    def _entries(self) -> list[Entry]:
        paths = [path for path in self.folder.iterdir() if "." not in path.name]
        found = [entry for path in paths if (entry := self._read(path))]
        return sorted(found, key=lambda entry: entry.name)

    def claim(self, name: str, url: str, cost: int) -> Entry:
        """Reserve a name and memory. Raises LoadedModelError or OutOfMemoryError."""
        with self._locked():
            if self._read(self._path(name)):
                raise LoadedModelError(f"model {name!r} is already loaded")
            used = sum(entry.cost for entry in self._entries())
            if used + cost > self.budget:
                raise OutOfMemoryError(
                    f"model {name!r} needs about {cost >> 20} MB: {used >> 20} of "
                    f"{self.budget >> 20} MB are taken",
                    expected=self.budget - used,
                    found=cost,
                )
            entry = Entry(name, url, cost, os.getpid(), uuid.uuid4().hex)
            self._write(entry)
            return entry

    def confirm(self, entry: Entry) -> None:
        """Let all workers see a model that has been loaded."""
        self._write(replace(entry, ready=True))

    def discard(self, name: str) -> None:
        """Give up a claim."""
        self._path(name).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forget a model that is ready. Raises UnknownModelError."""
        with self._locked():
            self.get(name)
            self.discard(name)

    def find(self, name: str) -> Entry | None:
        """Return the entry of a name, ready or loading."""
        return self._read(self._path(name))

    def get(self, name: str) -> Entry:
        """Return the entry of a model that is ready. Raises UnknownModelError."""
        entry = self.find(name)
        if entry is None or not entry.ready:
            raise UnknownModelError(f"no model {name!r} is loaded")
        return entry

    def ready(self) -> list[Entry]:
        """Return all models that are ready, by name."""
        return [entry for entry in self._entries() if entry.ready]
