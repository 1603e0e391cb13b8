"""FastAPI on XGBoost: a worker per CPU, one thread per worker, CSV in and JSON out."""

from __future__ import annotations

import os

import numpy as np
import orjson
import xgboost
from fastapi import FastAPI, Request, Response

booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])
FEATURES = booster.num_features()
app = FastAPI()


def parse(body: bytes) -> np.ndarray:
    """Return the rows of CSV, float32 [rows, FEATURES]: numbers with commas are a JSON array."""
    numbers = orjson.loads(b"[" + body.rstrip().replace(b"\n", b",") + b"]")
    return np.array(numbers, dtype=np.float32).reshape(-1, FEATURES)


@app.get("/ping")
async def ping() -> Response:
    """Answer a health check."""
    return Response()


@app.post("/invocations")
async def invocations(request: Request) -> Response:
    """Predict a body of CSV; hand the work to no thread, since every CPU has a process."""
    scores = booster.inplace_predict(parse(await request.body()), validate_features=False)
    answer = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(answer, media_type="application/json")
