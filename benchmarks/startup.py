"""Seconds from the start of `serve` to the first good /ping, and memory of the whole tree."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import servers, workload

MODELS = ((300, 6), (5_000, 8))  # trees, depth


def run(folder: Path, turns: int) -> dict[str, Any]:
    """Start the server `turns` times on each model; print and return the medians."""
    results: dict[str, Any] = {}
    for trees, depth in MODELS:
        with tempfile.TemporaryDirectory() as name:
            base = Path(name)
            workload.train_model(base / "model" / "xgboost-model", trees, depth)
            size = (base / "model" / "xgboost-model").stat().st_size
            starts, memory = [], []
            for _ in range(turns):
                with servers.serve(base) as server:
                    starts.append(server.start_seconds)
                    memory.append(server.memory_bytes())
            middle = sorted(starts)[turns // 2]
            case = f"{trees:,} trees of depth {depth}"
            print(
                f"{case}: model {size / 1e6:.0f} MB, first good /ping after {middle:.2f} s "
                f"({min(starts):.2f} to {max(starts):.2f}), memory {max(memory) / 1e6:.0f} MB"
            )
            results[case] = {"model_bytes": size, "start_seconds": starts, "memory_bytes": memory}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "startup.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return results
