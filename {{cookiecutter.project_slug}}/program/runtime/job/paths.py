"""The /opt/ml tree of a SageMaker container.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Every path of the contract, below one base folder (in a container: /opt/ml)."""

    base: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """Take the base from SAGEMAKER_BASE_DIR, as SageMaker's own toolkits do; else /opt/ml.

        It is made absolute at once: the server's processes run in folders of their own.
        """
        source = os.environ if environ is None else environ
        return cls(Path(source.get("SAGEMAKER_BASE_DIR") or "/opt/ml").absolute())

    @property
    def config(self) -> Path:
        """Folder of the training job's JSON files."""
        return self.base / "input" / "config"

    @property
    def data(self) -> Path:
        """Folder with one sub-folder per channel."""
        return self.base / "input" / "data"

    @property
    def code(self) -> Path:
        """Folder of code that the job brings: framework mode."""
        return self.base / "code"

    @property
    def model(self) -> Path:
        """Folder that becomes model.tar.gz after training; read-only when serving."""
        return self.base / "model"

    @property
    def models(self) -> Path:
        """Folder where a multi-model endpoint puts its models."""
        return self.base / "models"

    @property
    def output_data(self) -> Path:
        """Folder of extra artifacts of training."""
        return self.base / "output" / "data"

    @property
    def failure(self) -> Path:
        """File whose first 1,024 characters become the job's FailureReason."""
        return self.base / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        """Default folder of checkpoints; checkpointconfig.json may name another."""
        return self.base / "checkpoints"
