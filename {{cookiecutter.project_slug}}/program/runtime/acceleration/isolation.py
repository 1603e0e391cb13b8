"""Rehearse a risky conversion in a process of its own, so that an abort ends only that.

`python -m runtime.acceleration.isolation` reads a model from standard input, converts it and
predicts.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xgboost

TIME_LIMIT = 120.0  # seconds
PROGRAM = Path(__file__).resolve().parents[2]


def rehearse(booster: xgboost.Booster, time_limit: float = TIME_LIMIT) -> str:
    """Convert and predict in a child process. Return what went wrong; empty when nothing did."""
    try:
        child = subprocess.run(
            [sys.executable, "-m", "runtime.acceleration.isolation"],
            input=bytes(booster.save_raw("ubj")),
            cwd=PROGRAM,
            capture_output=True,
            timeout=time_limit,
        )
    except subprocess.TimeoutExpired:
        return (
            f"the conversion did not end within {time_limit:g} s in its rehearsal: it hangs, or "
            "this machine is too busy"
        )
    except OSError as error:
        return f"the rehearsal of the conversion could not start: {error}"
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the conversion died of {name} in its rehearsal{hint}"
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        return f"the conversion failed in its rehearsal: {lines[-1] if lines else 'no message'}"
    return ""


def main() -> None:
    """Convert the model on standard input and predict its probe rows."""
    from runtime.acceleration import conversion, document, probes
    from runtime.acceleration.engines import XGBoostEngine, single_thread

    single_thread()
    import daal4py
    import xgboost

    daal4py.daalinit(1)
    booster = xgboost.Booster(model_file=bytearray(sys.stdin.buffer.read()))
    model = document.read(booster)
    engine = conversion.convert(model, XGBoostEngine(booster))
    for _, rows in probes.cases(model, None, None):
        engine.predict(rows)


if __name__ == "__main__":
    main()
