"""Where and with what to deploy: the table [tool.deploy] of pyproject.toml, and its overrides.

A flag wins over the variable DEPLOY_<NAME>, which wins over the table, which wins over the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import settings
from deploy import ROOT
from runtime import parsers

SAMPLE = "ml/input/data/"
MODES = ("real-time", "serverless", "async")
MEDIA_TYPES = {
    "csv": "text/csv",
    "libsvm": "text/libsvm",
    "parquet": "application/x-parquet",
    "recordio-protobuf": "application/x-recordio-protobuf",
    "jsonlines": "application/jsonlines",
}


class DeployError(Exception):
    """A fault that the user can fix. The message says what, and which command fixes it."""


def option(default: Any, help: str) -> Any:
    """Declare a field of `Configuration` with its default and a line of help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Configuration:
    """Every setting of this program. Make one with `load`."""

    hyperparameters: dict[str, Any]
    tune: dict[str, list[Any]]
    name: str = option(settings.PROJECT, "prefix of every name, and value of the Project tag")
    region: str = option("", "AWS region")
    role: str = option("", "execution role, ARN or name; empty: NAME-sagemaker of roles.yaml")
    bucket: str = option("", "S3 bucket; empty: NAME-ACCOUNT-REGION, made when it is needed")
    image: str = option("", "image URI; empty: the newest in the repository NAME")
    data: str = option(SAMPLE + "train", "training data: a file, a folder or an s3:// prefix")
    validation: str = option("", "validation data, likewise; empty: of the sample data its own")
    media_type: str = option("", "media type of data and payloads; empty: the project's format")
    instance_type: str = option("ml.m5.xlarge", "instance of training and transform jobs")
    instance_count: int = option(1, "number of these instances")
    volume_gb: int = option(10, "disk of each of these instances, GB")
    max_seconds: int = option(3600, "longest run of a job, in seconds")
    spot: bool = option(True, "train on spot capacity, with checkpoints")
    tune_jobs: int = option(10, "training jobs of a tuning job")
    tune_parallel: int = option(2, "how many of them at a time")
    tune_metric: str = option("", "such as validation:auc; empty: the objective's own")
    mode: str = option("real-time", "kind of endpoint: " + ", ".join(MODES))
    endpoint_instance: str = option("ml.c5.xlarge", "instance of the endpoint")
    endpoint_count: int = option(1, "instances of the endpoint; when it scales, the least")
    endpoint_max: int = option(2, "the most instances; up to endpoint_count: no scaling")
    target_invocations: int = option(3000, "requests an instance and minute to scale at")
    capture_percent: int = option(0, "share of real-time requests that is kept in S3")
    memory_mb: int = option(2048, "memory of a serverless endpoint, 1024 to 6144")
    max_concurrency: int = option(5, "requests at a time of a serverless endpoint")
    rollback_alarms: str = option("", "names of CloudWatch alarms that undo an update, by commas")

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of everything that this program makes, and the proof that it made it."""
        return [{"Key": "Project", "Value": self.name}, {"Key": "ManagedBy", "Value": "deploy"}]

    @property
    def prefix(self) -> str:
        """What every name begins with, however much of the project's name had to be cut off."""
        return self.name[:18].rstrip("-")


SCALARS = [entry for entry in dataclasses.fields(Configuration) if "help" in entry.metadata]


def add_flags(parser: argparse._ArgumentGroup) -> None:
    """Give `parser` one flag a setting, and --set for hyperparameters."""
    for entry in SCALARS:
        extra: dict[str, Any] = {"metavar": entry.name.upper()}
        if entry.type == "bool":
            extra = {"action": argparse.BooleanOptionalAction}
        flag = "--" + entry.name.replace("_", "-")
        parser.add_argument(flag, default=None, help=entry.metadata["help"], **extra)
    text = "a hyperparameter, any number of times"
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)


def _convert(name: str, value: Any, kind: str) -> Any:
    """Return `value` as the setting's type. Raises DeployError that names the setting."""
    by_kind = {"bool": parsers.flag, "int": parsers.integer(0), "str": parsers.plain}
    parse = by_kind[kind]
    try:
        return parse(str(value))
    except ValueError:
        raise DeployError(f"{name} = {value!r} is not {parse.form}") from None


def load(
    flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, root: Path = ROOT
) -> Configuration:
    """Combine flags, environment, pyproject.toml below `root` and defaults, in that order."""
    source = os.environ if environ is None else environ
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    table = dict(project.get("tool", {}).get("deploy", {}))
    known = {entry.name for entry in dataclasses.fields(Configuration)}
    if unknown := sorted(set(table) - known):
        raise DeployError(f"pyproject.toml: [tool.deploy] has no setting {', '.join(unknown)}")
    values: dict[str, Any] = {}
    for entry in SCALARS:
        given = [flags.get(entry.name), source.get(f"DEPLOY_{entry.name.upper()}")]
        if entry.name == "region":
            given += [source.get(name) or None for name in ("AWS_REGION", "AWS_DEFAULT_REGION")]
        given += [table.get(entry.name), entry.default]
        first = next(value for value in given if value is not None)
        values[entry.name] = _convert(entry.name, first, str(entry.type))
    hyperparameters = dict(table.get("hyperparameters", {"num_round": 100}))
    for pair in flags.get("set") or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise DeployError(f"--set {pair}: write it as --set NAME=VALUE")
        hyperparameters[name] = value
    values["media_type"] = values["media_type"] or MEDIA_TYPES[settings.load(source).input_format]
    if not values["region"]:
        raise DeployError("no region; run: export AWS_REGION=us-east-1 (or pass --region)")
    if values["data"] == SAMPLE + "train":
        values["validation"] = values["validation"] or SAMPLE + "validation"
    if values["mode"] not in MODES:
        raise DeployError(f"mode = {values['mode']!r}; use one of {', '.join(MODES)}")
    tune = dict(table.get("tune", {"eta": [0.01, 0.5], "max_depth": [3, 10]}))
    for name, limits in tune.items():
        numbers = isinstance(limits, list) and all(isinstance(n, int | float) for n in limits)
        if not numbers or len(limits) != 2:
            raise DeployError(f"[tool.deploy.tune] {name} = {limits!r}; write it as [LOW, HIGH]")
    return Configuration(hyperparameters=hyperparameters, tune=tune, **values)
