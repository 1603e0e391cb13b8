"""LitServe on XGBoost: an API server and a model worker per CPU, JSON in and out."""

import os

import litserve
import numpy as np
import xgboost


class Scoring(litserve.LitAPI):
    """Decode, predict and encode, as LitServe calls them in a worker.

    It would validate requests and answers by their annotations: there are none.
    """

    def setup(self, device: str) -> None:
        """Load the model once per worker."""
        self.booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])

    def decode_request(self, request):
        """Return the rows, float32 [rows, features]."""
        return np.array(request["rows"], dtype=np.float32)

    def predict(self, x):
        """Return the probabilities, float32 [rows]."""
        return self.booster.inplace_predict(x, validate_features=False)

    def encode_response(self, output):
        """Return what becomes the JSON of the answer."""
        return output.tolist()


if __name__ == "__main__":
    workers = int(os.environ["WORKERS"])
    server = litserve.LitServer(
        Scoring(api_path="/invocations"),
        accelerator="cpu",
        workers_per_device=workers,
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]),
        num_api_servers=workers,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
