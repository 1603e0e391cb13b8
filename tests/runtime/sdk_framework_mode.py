"""Train and serve programs with the image through SageMaker's Python SDK 2 in local mode.

    uv run --no-project --with 'sagemaker>=2.245,<3' python sdk_framework_mode.py IMAGE FOLDER

FOLDER/source holds train.py, which trains and has model_fn; FOLDER/train and FOLDER/validation hold
CSV, FOLDER/rows.csv the rows to predict. Writes FOLDER/answers.json and what training left into
FOLDER/output. Needs Docker with Compose.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from sagemaker.deserializers import JSONDeserializer
from sagemaker.local import LocalSession
from sagemaker.serializers import CSVSerializer
from sagemaker.xgboost import XGBoost, XGBoostModel

ROLE = "arn:aws:iam::123456789012:role/unused"


def main(image: str, folder: Path) -> None:
    """Fit with the estimator of the built-in container's framework mode; serve with its model."""
    (folder / "root").mkdir()
    with socket.socket() as listener:  # the SDK's default is 8080, which may be taken
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    session = LocalSession()
    local = {"local_code": True, "container_root": str(folder / "root"), "serving_port": port}
    session.config = {"local": local}
    common = {
        "entry_point": "train.py",
        "source_dir": str(folder / "source"),
        "framework_version": "3.0-5",
        "image_uri": image,
        "role": ROLE,
        "sagemaker_session": session,
    }
    estimator = XGBoost(
        instance_count=1,
        instance_type="local",
        hyperparameters={"num_round": 5, "max_depth": 3},
        output_path=f"file://{folder}/output",
        **common,
    )
    estimator.fit({name: f"file://{folder}/{name}" for name in ("train", "validation")})
    # The location is not used in local mode, but without one the SDK asks AWS for a bucket.
    data = f"file://{folder}/output/model.tar.gz"
    model = XGBoostModel(model_data=data, code_location="s3://unused/code", **common)
    predictor = model.deploy(
        initial_instance_count=1,
        instance_type="local",
        serializer=CSVSerializer(),
        deserializer=JSONDeserializer(),
    )
    try:
        answer = predictor.predict((folder / "rows.csv").read_text())
        (folder / "answers.json").write_text(json.dumps(answer))
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
