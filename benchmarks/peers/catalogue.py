"""The peers, the bodies that they read, and the answers that they write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workload

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Format:
    """How a body of rows is written and how its answer is read."""

    content_type: str
    write: Callable[[str], str]  # CSV without a header -> body
    read: Callable[[bytes], Sequence[float]]


def _table(csv: str) -> list[list[float]]:
    """Return the rows of CSV."""
    return [list(map(float, line.split(","))) for line in csv.splitlines()]


def _rows(csv: str) -> str:
    """Return CSV as a JSON object with an array per row."""
    return json.dumps({"rows": _table(csv)}, separators=(",", ":"))


def _tensor(csv: str) -> str:
    """Return CSV as a request of the Open Inference Protocol: one flat tensor."""
    rows = _table(csv)
    tensor = {
        "name": "rows",
        "shape": [len(rows), workload.FEATURES],
        "datatype": "FP32",
        "data": [value for row in rows for value in row],
    }
    return json.dumps({"inputs": [tensor]}, separators=(",", ":"))


def _array(answer: bytes) -> list[float]:
    """Return the numbers of a flat JSON array."""
    return list(json.loads(answer))


OURS = Format("text/csv", str, lambda answer: [float(line) for line in answer.split()])
CSV = Format("text/csv", str, _array)
TEXT = Format("text/plain", str, _array)
ROWS = Format("application/json", _rows, _array)
TENSOR = Format(
    "application/json", _tensor, lambda answer: json.loads(answer)["outputs"][0]["data"]
)


@dataclass(frozen=True)
class Peer:
    """A server that is measured beside this project."""

    name: str
    folder: str
    packages: tuple[str, ...]  # whose versions are published
    format: Format = CSV
    path: str = "/invocations"
    ping: str = "/ping"

    @property
    def place(self) -> Path:
        """Return the folder of its sources."""
        return HERE / self.folder


XGBOOST = "xgboost-cpu"
UVICORN = ("uvicorn", "uvloop", "httptools")
PEERS = (
    Peer("FastAPI + XGBoost", "fastapi_xgboost", ("fastapi", *UVICORN, XGBOOST)),
    Peer("FastAPI + ONNX Runtime", "fastapi_onnx", ("fastapi", *UVICORN, "onnxruntime")),
    Peer("LitServe", "litserve", ("litserve", *UVICORN, XGBOOST), ROWS, ping="/health"),
    Peer("BentoML", "bentoml", ("bentoml", *UVICORN, XGBOOST), TEXT, ping="/readyz"),
    Peer(
        "MLServer",
        "mlserver",
        ("mlserver", *UVICORN, XGBOOST),
        TENSOR,
        "/v2/models/model/infer",
        "/v2/models/model/ready",
    ),
)
