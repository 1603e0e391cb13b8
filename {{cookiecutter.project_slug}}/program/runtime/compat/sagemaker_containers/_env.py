"""This container, as programs ask for it: folders, and the training job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.job import resources
from runtime.job.description import read_job
from runtime.job.paths import Paths
from runtime.training import environment

_paths = Paths.from_environment()
code_dir, model_dir = str(_paths.code), str(_paths.model)
input_dir, input_config_dir = str(_paths.data.parent), str(_paths.config)
output_dir, output_data_dir = str(_paths.output_data.parent), str(_paths.output_data)


def channel_path(channel: str) -> str:
    """Return the folder of a channel."""
    return str(_paths.data / channel)


def num_cpus() -> int:
    """Return how many CPUs this container may use."""
    return resources.cpu_count()


def num_gpus() -> int:
    """Return how many GPUs this container has."""
    return resources.gpu_count()


class TrainingEnv(Mapping[str, Any]):
    """The training job: a mapping whose keys are attributes as well."""

    def __init__(self) -> None:
        self._job = read_job(_paths)
        self._values = environment.describe(self._job, _paths, num_cpus())

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_cmd_args(self) -> list[str]:
        """Return the arguments of the program."""
        return environment.arguments(self._values)

    def to_env_vars(self) -> dict[str, str]:
        """Return the variables of the program."""
        return environment.variables(self._job, _paths, num_cpus())


def write_env_vars(env_vars: dict[str, str] | None = None) -> None:
    """Set variables of this process."""
    os.environ.update(env_vars or {})
