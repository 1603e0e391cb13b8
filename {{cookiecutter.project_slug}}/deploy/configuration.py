"""Where and with what to deploy: the table [tool.deploy] of pyproject.toml, and its overrides.

A flag wins over the variable DEPLOY_<NAME>, which wins over the table, which wins over the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
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


JOBS = ("train", "tune", "pipeline", "transform")
ALL = (
    "push", "train", "tune", "deploy", "invoke",
    "transform", "register", "pipeline", "status", "destroy",
)  # fmt: skip


def option(default: Any, help: str, *commands: str) -> Any:
    """Declare a field of `Configuration`: default, line of help, and the commands that read it."""
    return dataclasses.field(default=default, metadata={"help": help, "commands": commands or ALL})


@dataclass(frozen=True)
class Configuration:
    """Every setting of this program. Make one with `load`."""

    hyperparameters: dict[str, Any]
    tune: dict[str, list[Any]]
    environment: dict[str, str]
    name: str = option(settings.PROJECT, "prefix of every name, and value of the Project tag")
    region: str = option("", "AWS region; empty: AWS_REGION")
    role: str = option("", "role of jobs, ARN or name; empty: NAME-sagemaker of roles.yaml", *JOBS)
    hosting_role: str = option(
        "", "role of endpoints, ARN or name; empty: NAME-hosting of roles.yaml", "deploy"
    )
    bucket: str = option(
        "",
        "S3 bucket; empty: NAME-ACCOUNT-REGION, made when it is needed",
        *JOBS, "deploy", "invoke", "status", "destroy",
    )  # fmt: skip
    image: str = option(
        "", "image URI; empty: the newest in the repository NAME", *JOBS, "deploy", "register"
    )
    platforms: str = option(
        "linux/amd64", "platforms to push an image for, by commas; linux/arm64: Graviton", "push"
    )
    data: str = option(
        SAMPLE + "train",
        "training data: a file, a folder or an s3:// prefix",
        "train", "tune", "pipeline",
    )  # fmt: skip
    validation: str = option(
        "", "validation data, likewise; empty: of the sample data its own", "train", "tune"
    )
    media_type: str = option(
        "", "media type of data and payloads; empty: the project's format", *JOBS, "invoke"
    )
    instance_type: str = option(
        "ml.m5.xlarge", "instance of training and transform jobs", *JOBS, "register"
    )
    instance_count: int = option(1, "number of these instances", "train", "tune", "transform")
    volume_gb: int = option(10, "disk of each of these instances, GB", "train", "tune", "pipeline")
    max_seconds: int = option(3600, "longest run of a job, in seconds", "train", "tune", "pipeline")
    spot: bool = option(True, "train on spot capacity, with checkpoints", "train", "tune")
    tune_jobs: int = option(10, "training jobs of a tuning job", "tune")
    tune_parallel: int = option(2, "how many of them at a time", "tune")
    tune_metric: str = option("", "such as validation:auc; empty: the objective's own", "tune")
    mode: str = option(
        "real-time", "kind of endpoint: " + ", ".join(MODES), "deploy", "invoke", "destroy"
    )
    endpoint_instance: str = option(
        "ml.c5.xlarge", "instance of the endpoint", "deploy", "register", "pipeline"
    )
    graviton_instance: str = option(
        "", "Graviton instance to prefer, such as ml.c7g.xlarge; needs an arm64 image", "deploy"
    )
    endpoint_count: int = option(
        1, "instances of the endpoint; when it scales, the least", "deploy"
    )
    endpoint_max: int = option(2, "the most instances; up to endpoint_count: no scaling", "deploy")
    target_invocations: int = option(3000, "requests an instance and minute to scale at", "deploy")
    capture_percent: int = option(0, "share of real-time requests that is kept in S3", "deploy")
    observability: bool = option(
        True, "send the container's /metrics to CloudWatch; serverless has no such thing", "deploy"
    )
    metrics_seconds: int = option(60, "seconds between these metrics: 10, 30, 60 or more", "deploy")
    memory_mb: int = option(2048, "memory of a serverless endpoint, 1024 to 6144", "deploy")
    max_concurrency: int = option(5, "requests at a time of a serverless endpoint", "deploy")
    rollback_alarms: str = option(
        "", "names of CloudWatch alarms that undo an update, by commas", "deploy"
    )

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of everything that this program makes, and the proof that it made it."""
        return [{"Key": "Project", "Value": self.name}, {"Key": "ManagedBy", "Value": "deploy"}]

    @property
    def prefix(self) -> str:
        """What every name begins with, however much of the project's name had to be cut off."""
        return self.name[:18].rstrip("-")


SCALARS = [entry for entry in dataclasses.fields(Configuration) if "help" in entry.metadata]


def add_flags(parser: argparse._ArgumentGroup, command: str) -> None:
    """Give `parser` a flag for each setting that `command` reads, --set and --env."""
    for entry in SCALARS:
        if command not in entry.metadata["commands"]:
            continue
        extra: dict[str, Any] = {"metavar": entry.name.upper()}
        default = str(entry.default)
        if entry.type == "bool":
            extra = {"action": argparse.BooleanOptionalAction}
            default = "on" if entry.default else "off"
        text = entry.metadata["help"] + (f" (default: {default})" if default else "")
        flag = "--" + entry.name.replace("_", "-")
        parser.add_argument(flag, default=None, help=text, **extra)
    pairs: dict[str, Any] = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
    if command in {"train", "tune", "pipeline"}:
        text = "a hyperparameter, any number of times (default: [tool.deploy.hyperparameters])"
        parser.add_argument("--set", help=text, **pairs)
    if command in {"deploy", "transform", "register", "pipeline"}:
        text = "a variable of the model, any number of times (default: [tool.deploy.environment])"
        parser.add_argument("--env", help=text, **pairs)


def _convert(name: str, value: Any, kind: str) -> Any:
    """Return `value` as the setting's type. Raises DeployError that names the setting."""
    by_kind = {"bool": parsers.flag, "int": parsers.integer(0), "str": parsers.plain}
    parse = by_kind[kind]
    try:
        return parse(str(value))
    except ValueError:
        raise DeployError(f"{name} = {value!r} is not {parse.form}") from None


def _pairs(flag: str, given: list[str] | None) -> dict[str, str]:
    """Return the values by name of a flag of the form NAME=VALUE."""
    found = dict[str, str]()
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise DeployError(f"--{flag} {pair}: write it as --{flag} NAME=VALUE")
        found[name] = value
    return found


def _environment(
    table: Mapping[str, Any], given: dict[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the model's variables, after the check that the container makes at its start."""
    found = {name: text_of(value) for name, value in table.items()} | given
    for name in found:
        if not re.fullmatch(r"[a-zA-Z_]\w*", name, re.ASCII):
            raise DeployError(f"[tool.deploy.environment] {name!r} is not a name of a variable")
    try:
        settings.load({**environ, **found})
    except settings.SettingError as problem:
        raise DeployError(f"[tool.deploy.environment] {problem}") from None
    return found


def text_of(value: Any) -> str:
    """Return a value of TOML as the text that the container's parsers read."""
    return value if isinstance(value, str) else json.dumps(value)


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
    hyperparameters |= _pairs("set", flags.get("set"))
    given_environment = _pairs("env", flags.get("env"))
    environment = _environment(table.get("environment", {}), given_environment, source)
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
    tables: dict[str, Any] = {
        "hyperparameters": hyperparameters,
        "tune": tune,
        "environment": environment,
    }
    return Configuration(**tables, **values)
