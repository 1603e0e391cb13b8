"""The `SM_*` variables of SageMaker's own toolkits, for users' code such as features.py.

Source: https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md
"""

from __future__ import annotations

import json
import os

from runtime.job.description import Job
from runtime.job.paths import Paths


def variables(job: Job, paths: Paths, num_cpus: int) -> dict[str, str]:
    """Return the variables that describe the job."""
    hosts = job.hosts
    values: dict[str, object] = {
        "SM_MODEL_DIR": str(paths.model),
        "SM_OUTPUT_DIR": str(paths.output_data.parent),
        "SM_OUTPUT_DATA_DIR": str(paths.output_data),
        "SM_INPUT_DIR": str(paths.data.parent),
        "SM_INPUT_CONFIG_DIR": str(paths.config),
        "SM_CHANNELS": sorted(job.channels),
        "SM_HPS": job.hyperparameters,
        "SM_HOSTS": list(hosts.names),
        "SM_CURRENT_HOST": hosts.current,
        "SM_CURRENT_INSTANCE_TYPE": hosts.instance_type or "",
        "SM_NETWORK_INTERFACE_NAME": hosts.network_interface,
        "SM_NUM_CPUS": num_cpus,
        "SM_NUM_GPUS": 0,
    }
    values |= {f"SM_CHANNEL_{name.upper()}": str(c.path) for name, c in job.channels.items()}
    values |= {f"SM_HP_{name.upper()}": text for name, text in job.hyperparameters.items()}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


def export(job: Job, paths: Paths, num_cpus: int) -> None:
    """Set the variables in this process's environment."""
    os.environ.update(variables(job, paths, num_cpus))
