"""FastAPI on ONNX Runtime: a worker per CPU, one thread per worker, CSV in and JSON out."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
import orjson
from fastapi import FastAPI, Request, Response

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    f"{os.environ['SCRATCH']}/model.onnx", options, providers=["CPUExecutionProvider"]
)
(INPUT,) = session.get_inputs()
FEATURES = INPUT.shape[1]
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
    rows = parse(await request.body())
    (probabilities,) = session.run(["probabilities"], {INPUT.name: rows})
    scores = np.ascontiguousarray(probabilities[:, 1])
    answer = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(answer, media_type="application/json")
