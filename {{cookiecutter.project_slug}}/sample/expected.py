"""Write what XGBoost itself answers to the sample requests: the truth of the smoke test.

    python sample/expected.py FOLDER

It reads FOLDER/model/xgboost-model and the rows that make_sample.py kept, with nothing of the
runtime in between but the owner's own features.py, and writes FOLDER/sample/expected.json: an
answer per row, by name of the rows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

import custom
import features


def answers(folder: Path, rows: NDArray[np.float32]) -> Any:
    """Return XGBoost's own answers to rows of the data, as the model folder below `folder` gives
    them, and custom.postprocess after it: [rows], or [rows, classes]."""
    file = folder / "model" / "manifest.json"  # models from elsewhere come without one
    manifest = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    names = manifest.get("feature_names")
    values, _ = features.transform(
        rows, tuple(names) if names else None, manifest.get("fitted_features")
    )
    model = (folder / "model" / "xgboost-model").read_bytes()  # its name does not say its format
    booster = xgboost.Booster(model_file=bytearray(model))
    missing = manifest.get("missing")
    matrix = xgboost.DMatrix(values, missing=np.nan if missing is None else missing)
    scores = booster.predict(matrix, validate_features=False)
    return scores if custom.postprocess is None else custom.postprocess(scores, values)


def main() -> None:
    """Predict every .npy file of the sample folder."""
    folder = Path(sys.argv[1])
    found = {
        file.stem: answers(folder, np.load(file)).tolist()
        for file in sorted((folder / "sample").glob("*.npy"))
    }
    (folder / "sample" / "expected.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
