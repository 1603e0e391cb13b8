"""MLServer on XGBoost: a pool of a worker per CPU, tensors of the Open Inference Protocol."""

from __future__ import annotations

import os

import xgboost
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Scoring(MLModel):
    """One worker's model."""

    async def load(self) -> bool:
        """Load the model."""
        self.booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict the first input, FP32 [rows, features]."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        scores = self.booster.inplace_predict(rows, validate_features=False)
        output = NumpyCodec.encode_output("scores", scores)
        return InferenceResponse(model_name=self.name, outputs=[output])
