"""The names under which programs import the parts of `sagemaker_containers`."""

from sagemaker_containers import _content_types as content_types
from sagemaker_containers import _encoders as encoders
from sagemaker_containers import _env as env
from sagemaker_containers import _errors as errors
from sagemaker_containers import _mapping as mapping
from sagemaker_containers import _worker as worker
from sagemaker_containers import entry_point, training_env

__all__ = [
    "content_types",
    "encoders",
    "entry_point",
    "env",
    "errors",
    "mapping",
    "training_env",
    "worker",
]
