"""Train a program with the image through ModelTrainer of SageMaker's Python SDK 3 in local mode.

    uv run --no-project --with "sagemaker>=3" python sdk_model_trainer.py IMAGE FOLDER

FOLDER/source holds train.py; FOLDER/train and FOLDER/validation hold CSV. The model goes into
FOLDER/root/artifacts/model. Needs Docker with Compose.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.model_trainer import Mode

ROLE = "arn:aws:iam::123456789012:role/unused"


def main(image: str, folder: Path) -> None:
    """Train: the SDK brings the source as a channel, and a shell driver as the entry point."""
    (folder / "root").mkdir()
    trainer = ModelTrainer(
        training_image=image,
        training_mode=Mode.LOCAL_CONTAINER,
        role=ROLE,
        source_code=SourceCode(source_dir=str(folder / "source"), entry_script="train.py"),
        compute=Compute(instance_type="local_cpu", instance_count=1),
        hyperparameters={"num_round": 5, "max_depth": 3},
        local_container_root=str(folder / "root"),
        base_job_name="framework",
    )
    channels = ("train", "validation")
    trainer.train(
        input_data_config=[
            InputData(channel_name=name, data_source=str(folder / name)) for name in channels
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
