"""The four JSON files that describe a training job.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.job.failures import UserError
from runtime.job.paths import Paths


@dataclass(frozen=True)
class Channel:
    """One input channel, as inputdataconfig.json describes it."""

    name: str
    path: Path
    content_type: str | None = None
    input_mode: str = "File"
    distribution: str = "FullyReplicated"
    record_wrapper: str = "None"


@dataclass(frozen=True)
class Hosts:
    """The hosts of the job; `names` is sorted, so every host names the same first one."""

    current: str = "localhost"
    names: tuple[str, ...] = ("localhost",)
    network_interface: str = "eth0"
    instance_type: str | None = None


@dataclass(frozen=True)
class Job:
    """A training job: hyperparameters (all strings), channels by name, hosts, checkpoint folder."""

    hyperparameters: dict[str, str]
    channels: dict[str, Channel]
    hosts: Hosts
    checkpoints: Path | None


def read_document(path: Path) -> dict[str, Any]:
    """Return the JSON object of `path`; empty when the file is absent."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(text or "{}")
    except ValueError as problem:
        raise UserError(f"{path.name} is not valid JSON: {problem}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path.name} holds {type(document).__name__}, not a JSON object")
    return document


def _channel(name: str, entry: dict[str, Any], path: Path) -> Channel:
    return Channel(
        name=name,
        path=path,
        content_type=entry.get("ContentType") or None,
        input_mode=entry.get("TrainingInputMode") or "File",
        distribution=entry.get("S3DistributionType") or "FullyReplicated",
        record_wrapper=entry.get("RecordWrapperType") or "None",
    )


def read_job(paths: Paths) -> Job:
    """Read the job's four files below `paths.config`. Absent files take the platform's defaults.

    Without inputdataconfig.json (local harnesses) every folder below input/data is a channel.
    Raises UserError for a file that is not a JSON object.
    """
    hyperparameters = read_document(paths.config / "hyperparameters.json")
    inputs = read_document(paths.config / "inputdataconfig.json")
    if not inputs and paths.data.is_dir():
        inputs = {entry.name: {} for entry in sorted(paths.data.iterdir()) if entry.is_dir()}
    resources = read_document(paths.config / "resourceconfig.json")
    checkpoint = read_document(paths.config / "checkpointconfig.json")
    defaults = Hosts()
    hosts = tuple(sorted(resources.get("hosts") or defaults.names))
    local = checkpoint.get("LocalPath")
    return Job(
        hyperparameters={
            str(key): value if isinstance(value, str) else json.dumps(value)
            for key, value in hyperparameters.items()
        },
        channels={
            name: _channel(name, entry or {}, paths.data / name) for name, entry in inputs.items()
        },
        hosts=Hosts(
            current=resources.get("current_host") or hosts[0],
            names=hosts,
            network_interface=resources.get("network_interface_name") or defaults.network_interface,
            instance_type=resources.get("current_instance_type"),
        ),
        checkpoints=Path(local) if local else None,
    )
