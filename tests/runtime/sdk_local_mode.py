"""Train and serve an image through SageMaker's Python SDK 2 in local mode, as a user would.

    uv run --no-project --with 'sagemaker>=2.245,<3' python sdk_local_mode.py IMAGE FOLDER

FOLDER/train holds CSV, FOLDER/rows.csv the rows to predict. With FOLDER/source the estimator and
the model are those of the built-in container's framework mode: train.py there trains and has
model_fn, and FOLDER/validation holds CSV too. Writes FOLDER/answers, and what training left into
FOLDER/output. Needs Docker with Compose.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.local import LocalSession
from sagemaker.predictor import Predictor
from sagemaker.xgboost import XGBoost, XGBoostModel

ROLE = "arn:aws:iam::123456789012:role/unused"
LOCAL = {"instance_type": "local"}


def session_of(folder: Path) -> LocalSession:
    """Return a session that keeps its files in the folder, and serves on a port of its own."""
    (folder / "root").mkdir()
    with socket.socket() as listener:  # the SDK's default is 8080, which may be taken
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    session = LocalSession()
    local = {"local_code": True, "container_root": str(folder / "root"), "serving_port": port}
    session.config = {"local": local}
    return session


def algorithm(image: str, folder: Path, **options: Any) -> Predictor:
    """Fit and deploy as with the built-in algorithm."""
    parameters = {"num_round": 5}
    estimator = Estimator(image, instance_count=1, hyperparameters=parameters, **LOCAL, **options)
    estimator.fit({"train": TrainingInput(f"file://{folder}/train", content_type="text/csv")})
    return estimator.deploy(initial_instance_count=1, **LOCAL)


def framework(image: str, folder: Path, **options: Any) -> Predictor:
    """Fit with the estimator of the built-in container's framework mode; serve with its model."""
    output = options.pop("output_path")
    common = {
        "entry_point": "train.py",
        "source_dir": str(folder / "source"),
        "framework_version": "3.0-5",
        "image_uri": image,
        **options,
    }
    parameters = {"num_round": 5, "max_depth": 3}
    estimator = XGBoost(
        instance_count=1, hyperparameters=parameters, output_path=output, **LOCAL, **common
    )
    estimator.fit({name: f"file://{folder}/{name}" for name in ("train", "validation")})
    # The location is not used in local mode, but without one the SDK asks AWS for a bucket.
    data = f"{output}/model.tar.gz"
    model = XGBoostModel(model_data=data, code_location="s3://unused/code", **common)
    return model.deploy(initial_instance_count=1, **LOCAL)


def main(image: str, folder: Path) -> None:
    """Fit, deploy, predict, delete."""
    way = framework if (folder / "source").exists() else algorithm
    session, output = session_of(folder), f"file://{folder}/output"
    predictor = way(image, folder, role=ROLE, sagemaker_session=session, output_path=output)
    try:
        body = (folder / "rows.csv").read_bytes()
        accept = "application/json" if way is framework else "text/csv"
        # The predictor of XGBoostModel has serializers of its own, which bytes need none of.
        answer = Predictor(predictor.endpoint_name, session).predict(
            body, initial_args={"ContentType": "text/csv", "Accept": accept}
        )
        (folder / "answers").write_bytes(answer)
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
