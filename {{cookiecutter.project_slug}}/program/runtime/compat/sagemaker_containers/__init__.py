"""What programs for SageMaker's older framework containers import under this name."""

from __future__ import annotations

from typing import Any


def training_env() -> Any:
    """Return the description of this training job."""
    from sagemaker_containers import _env

    return _env.TrainingEnv()
