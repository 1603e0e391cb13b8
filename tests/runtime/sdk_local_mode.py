"""Train and serve a program with the image through SageMaker's Python SDK 2 in local mode.

    uv run --no-project --with 'sagemaker<3' python sdk_local_mode.py IMAGE FOLDER

The estimator and the model are those of the built-in container's framework mode: FOLDER/source
holds train.py, which trains and has model_fn; FOLDER/train and FOLDER/validation hold CSV, and
FOLDER/rows.csv the rows to predict. Writes FOLDER/answers, and what training left into
FOLDER/output. Needs Docker with Compose.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

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


def framework(image: str, folder: Path, **options: Any) -> Predictor:
    """Fit with the estimator, deploy with the model."""
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
    session, output = session_of(folder), f"file://{folder}/output"
    predictor = framework(image, folder, role=ROLE, sagemaker_session=session, output_path=output)
    try:
        body = (folder / "rows.csv").read_bytes()
        # The predictor of XGBoostModel has serializers of its own, which bytes need none of.
        answer = Predictor(predictor.endpoint_name, session).predict(
            body, initial_args={"ContentType": "text/csv", "Accept": "application/json"}
        )
        (folder / "answers").write_bytes(answer)
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
