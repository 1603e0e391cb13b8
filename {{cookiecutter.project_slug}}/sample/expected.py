"""Write what XGBoost itself answers to the sample requests: the truth of the smoke test.

    python sample/expected.py FOLDER

It reads FOLDER/model/xgboost-model and the rows that make_sample.py kept, with nothing of the
program in between, and writes FOLDER/sample/expected.json: an answer a row, by name of the rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import xgboost


def main() -> None:
    """Predict every .npy file of the sample folder."""
    folder = Path(sys.argv[1])
    model = (folder / "model" / "xgboost-model").read_bytes()  # its name does not say its format
    booster = xgboost.Booster(model_file=bytearray(model))
    answers = {}
    for file in sorted((folder / "sample").glob("*.npy")):
        matrix = xgboost.DMatrix(np.load(file))
        answers[file.stem] = booster.predict(matrix, validate_features=False).tolist()
    (folder / "sample" / "expected.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
