"""BentoML on XGBoost: a worker per CPU, CSV as text in, JSON as text out."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import orjson
import xgboost


@bentoml.service(
    workers=int(os.environ["WORKERS"]),
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Scoring:
    """One worker: its model, and its one route."""

    def __init__(self) -> None:
        """Load the model."""
        self.booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])
        self.features = self.booster.num_features()

    @bentoml.api(route="/invocations")
    async def invocations(self, rows: str, /) -> str:
        """Predict a body of CSV: its numbers with commas between them are a JSON array."""
        numbers = orjson.loads("[" + rows.rstrip().replace("\n", ",") + "]")
        table = np.array(numbers, dtype=np.float32).reshape(-1, self.features)
        scores = self.booster.inplace_predict(table, validate_features=False)
        return orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY).decode()
