"""`python -m runtime.training.choose_engine FOLDER MODE MISSING`: choose a saved model's engine.

Writes the report of the choice beside the model. Runs as a process of its own, because OpenMP and
oneDAL must have one thread, as in serving, before they are imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from runtime import acceleration
from runtime.job import artifact


def main(folder: Path, mode: str, missing: float | None) -> None:
    """Choose the engine and write parity.json. Raises what `acceleration.choose` raises."""
    acceleration.single_thread()
    booster = acceleration.load_booster(folder / artifact.MODEL_FILE)
    rows = np.load(folder / artifact.PROBE_FILE, allow_pickle=False)
    choice = acceleration.choose(booster, mode=mode, missing=missing, probe_rows=rows, measure=True)
    text = json.dumps(choice.report, indent=2) + "\n"
    (folder / artifact.PARITY_FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
