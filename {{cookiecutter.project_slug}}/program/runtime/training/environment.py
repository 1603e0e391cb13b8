"""A job as SageMaker's own containers show it to users' code: features.py, custom.py, scripts.

One table serves the `SM_*` variables, the arguments of a script, and `training_env()` of the
package `sagemaker_containers`. Source:
https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md
"""

from __future__ import annotations

import json
import os
from typing import Any

from runtime.job import resources
from runtime.job.description import Job, read_document
from runtime.job.paths import Paths

PREFIX = "sagemaker_"  # of hyperparameters for the platform, not for the program
UNPREFIXED = {"_tuning_objective_metric", "default_user_module_name"}  # for the platform too
PLATFORM = {  # what the toolkits read themselves; others with the prefix are a framework's
    "sagemaker_program",
    "sagemaker_submit_directory",
    "sagemaker_enable_cloudwatch_metrics",
    "sagemaker_region",
    "sagemaker_container_log_level",
    "sagemaker_job_name",
    "sagemaker_s3_output",
}
FRAMEWORK_MODULE = "sagemaker_xgboost_container.training:main"  # as the built-in container says
LOG_LEVEL = 20  # INFO
NOT_EXPORTED = {"is_master", "job_name", "master_hostname"}
RENAMED = {  # attributes whose variable has another name
    "additional_framework_parameters": "framework_params",
    "channel_input_dirs": "channels",
    "hyperparameters": "hps",
}

Values = dict[str, Any]


def decoded(hyperparameters: dict[str, str]) -> Values:
    """Return hyperparameters with the JSON in their texts decoded; other texts as they are."""
    values: Values = {}
    for name, text in hyperparameters.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def program_of(job: Job) -> str | None:
    """Return the program that the job brings, a file's or module's name; None without one."""
    named = decoded(job.hyperparameters).get("sagemaker_program")
    program = os.environ.get("SAGEMAKER_PROGRAM") or named
    return str(program) if program else None


def describe(job: Job, paths: Paths, num_cpus: int) -> Values:
    """Return the job under the names of the toolkits' attributes."""
    everything = decoded(job.hyperparameters)
    program = program_of(job)
    hosts = list(job.hosts.names)
    input_data_config = read_document(paths.config / "inputdataconfig.json")
    resource_config = read_document(paths.config / "resourceconfig.json")
    return {
        "additional_framework_parameters": {
            name: value
            for name, value in everything.items()
            if name.startswith(PREFIX) and name not in PLATFORM
        },
        "channel_input_dirs": {name: str(channel.path) for name, channel in job.channels.items()},
        "current_host": job.hosts.current,
        "framework_module": FRAMEWORK_MODULE,
        "hosts": hosts,
        "hyperparameters": {
            name: value
            for name, value in everything.items()
            if not name.startswith(PREFIX) and name not in UNPREFIXED
        },
        "input_config_dir": str(paths.config),
        "input_data_config": input_data_config or {name: {} for name in job.channels},
        "input_dir": str(paths.data.parent),
        "is_master": job.hosts.current == hosts[0],
        "job_name": os.environ.get("TRAINING_JOB_NAME"),
        "log_level": everything.get("sagemaker_container_log_level", LOG_LEVEL),
        "master_hostname": hosts[0],
        "model_dir": str(paths.model),
        "module_dir": str(everything.get("sagemaker_submit_directory", paths.code)),
        "module_name": str(program).removesuffix(".py"),
        "network_interface_name": job.hosts.network_interface,
        "num_cpus": num_cpus,
        "num_gpus": resources.gpu_count(),
        "output_data_dir": str(paths.output_data),
        "output_dir": str(paths.output_data.parent),
        "output_intermediate_dir": str(paths.output_data.parent / "intermediate"),
        "resource_config": resource_config or {"current_host": job.hosts.current, "hosts": hosts},
        "user_entry_point": program,
    }


def arguments(values: Values) -> list[str]:
    """Return a script's arguments: `--name value`, sorted by name, `-n value` for one letter."""
    words: list[str] = []
    for name, value in sorted(values["hyperparameters"].items()):
        if isinstance(value, dict):
            value = ",".join(f"{key}={entry}" for key, entry in sorted(value.items()))
        option = f"{'--' if len(name) > 1 else '-'}{name}" if name else ""
        words += [option, "" if value is None else str(value)]
    return words


def variables(job: Job, paths: Paths, num_cpus: int) -> dict[str, str]:
    """Return the environment variables that describe the job."""
    values = describe(job, paths, num_cpus)
    named = {RENAMED.get(k, k): v for k, v in values.items() if k not in NOT_EXPORTED}
    named |= {
        "channels": sorted(job.channels),
        "current_instance_type": job.hosts.instance_type,
        "input": values["input_dir"],
        "input_training_config_file": str(paths.config / "hyperparameters.json"),
        "input_data_config_file": str(paths.config / "inputdataconfig.json"),
        "checkpoint_config_file": str(paths.config / "checkpointconfig.json"),
        "training_env": values,
        "user_args": arguments(values),
    }
    named |= {f"channel_{name}": path for name, path in values["channel_input_dirs"].items()}
    named |= {f"hp_{name}": value for name, value in values["hyperparameters"].items()}
    everything = decoded(job.hyperparameters)
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
    return {
        **{f"SM_{name.upper()}": _text(value) for name, value in named.items()},
        "CURRENT_HOST": job.hosts.current,
        "SAGEMAKER_JOB_NAME": _text(everything.get("sagemaker_job_name")),
        "SAGEMAKER_REGION": _text(everything.get("sagemaker_region", region)),
    }


def _text(value: object) -> str:
    """Return a value as a variable holds it: texts as they are, None empty, the rest as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def export(job: Job, paths: Paths, num_cpus: int) -> None:
    """Set the variables in this process's environment."""
    os.environ.update(variables(job, paths, num_cpus))
