"""Train and serve an image through SageMaker's Python SDK in local mode, as a user would.

    uv run --no-project --with 'sagemaker>=2.245,<3' python tests/sdk_local_mode.py IMAGE FOLDER

FOLDER/train holds CSV, FOLDER/rows.csv the rows to predict. Writes FOLDER/answers.csv, and what
training left into FOLDER/output. Needs Docker with Compose.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.local import LocalSession

ROLE = "arn:aws:iam::123456789012:role/unused"


def main(image: str, folder: Path) -> None:
    """Fit, deploy, predict, delete."""
    (folder / "root").mkdir()
    with socket.socket() as listener:  # the SDK's default is 8080, which may be taken
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    session = LocalSession()
    local = {"local_code": True, "container_root": str(folder / "root"), "serving_port": port}
    session.config = {"local": local}
    estimator = Estimator(
        image,
        role=ROLE,
        instance_count=1,
        instance_type="local",
        sagemaker_session=session,
        hyperparameters={"num_round": 5},
        output_path=f"file://{folder}/output",
    )
    estimator.fit({"train": TrainingInput(f"file://{folder}/train", content_type="text/csv")})
    predictor = estimator.deploy(initial_instance_count=1, instance_type="local")
    try:
        body = (folder / "rows.csv").read_bytes()
        answer = predictor.predict(body, initial_args={"ContentType": "text/csv"})
        (folder / "answers.csv").write_bytes(answer)
    finally:
        predictor.delete_endpoint()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
