"""Make the models of models.tar.xz again: `python make.py WORK`.

For each version of MLflow: an environment below WORK (`environment`), in which this file runs again
and saves the models of that version. All are packed into models.tar.xz, as NAME/FILE.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VERSIONS = {2: "2.22.5", 3: "3.17.2"}  # of MLflow, by the major version
PINNED = {2: ("starlette<0.47", "fastapi<0.116"), 3: ()}  # its scoring server needs those
COLUMNS = ("age", "income", "ratio", "visits", "member")


def environment(work: Path, major: int) -> Path:
    """Return the interpreter of an environment with this MLflow, made when it is absent."""
    folder = work / f"mlflow-{major}"
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True)
        packages = [f"mlflow=={VERSIONS[major]}", "xgboost-cpu==3.2.0", "httpx", *PINNED[major]]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "done").touch()
    return python


def frame(count: int = 200) -> Any:
    """Return training data with a column of each numeric type that a signature may name."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": random.integers(18, 80, count),
            "income": random.normal(50, 15, count).round(2),
            "ratio": random.random(count).round(3).astype(np.float32),
            "visits": random.integers(0, 9, count).astype(np.int32),
            "member": random.random(count) < 0.5,
        }
    )


def labels(data: Any, classes: int) -> Any:
    """Return a number for each row, or its class."""
    score = data.age / 50 + data.income / 50 - data.ratio + data.visits / 9 + data.member
    return score if classes == 1 else score.rank(pct=True).mul(classes * 0.999).astype(int)


def train(data: Any, objective: str, classes: int = 1) -> Any:
    """Return a Booster of three rounds."""
    import xgboost

    given = {"objective": objective, "max_depth": 2, "nthread": 1, "base_score": 0.5}
    given |= {"num_class": classes} if classes > 2 else {}
    return xgboost.train(given, xgboost.DMatrix(data, labels(frame(), classes)), 3)


def models_of_3() -> dict[str, dict[str, Any]]:
    """Return what MLflow 3 saves: arguments of mlflow.xgboost.save_model."""
    import xgboost
    from mlflow.models import infer_signature

    data, small = frame(), {"n_estimators": 3, "max_depth": 2, "n_jobs": 1}
    array = data.to_numpy("float64")
    classifier = xgboost.XGBClassifier(**small).fit(data, labels(data, 2))
    several = xgboost.XGBClassifier(**small).fit(array, labels(data, 3))
    booster = train(data, "reg:squarederror")
    return {
        "booster": {
            "xgb_model": booster,
            "signature": infer_signature(data, booster.predict(xgboost.DMatrix(data))),
            "input_example": data.head(2),
        },
        "classifier": {
            "xgb_model": classifier,
            "model_format": "json",
            "signature": infer_signature(data, classifier.predict(data)),
            "input_example": data.head(3),
        },
        "tensor": {
            "xgb_model": several,
            "signature": infer_signature(array, several.predict(array)),
            "input_example": array[:2],
        },
        "unsigned": {"xgb_model": train(data, "multi:softprob", 3), "signature": False},
    }


def models_of_2() -> dict[str, dict[str, Any]]:
    """Return what MLflow 2 saves."""
    import xgboost
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    data = frame()
    names = [ColSpec("double", name, required=name != "ratio") for name in COLUMNS]
    stopped = xgboost.XGBRegressor(
        n_estimators=20, max_depth=2, n_jobs=1, learning_rate=1.0, early_stopping_rounds=2
    )
    stopped.fit(data[:20], labels(data, 1)[:20], eval_set=[(data[20:], labels(data, 1)[20:])],
                verbose=False)  # fmt: skip
    return {
        "stopped": {
            "xgb_model": stopped,
            "signature": ModelSignature(Schema([ColSpec("double", name) for name in COLUMNS])),
            "input_example": data.astype("float64").head(2),
        },
        "optional": {
            "xgb_model": train(data.to_numpy("float32"), "binary:logistic", 2),
            "model_format": "json",
            "signature": ModelSignature(Schema(names)),
        },
        "unnamed": {
            "xgb_model": train(data.to_numpy("float32"), "reg:squarederror"),
            "signature": ModelSignature(Schema([ColSpec("double")] * len(COLUMNS))),
        },
    }


def save(major: int, folder: Path) -> None:
    """Save the models of the MLflow that is installed here."""
    import mlflow.xgboost

    for name, given in (models_of_2 if major == 2 else models_of_3)().items():
        mlflow.xgboost.save_model(path=folder / name, pip_requirements=["xgboost"], **given)


def pack(work: Path, archive: Path) -> None:
    """Write the models into one archive, with nothing in it that depends on the moment."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(path for path in (work / "models").rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(work / "models").as_posix())
            data = path.read_bytes()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def main(work: Path) -> None:
    """Save the models of all versions below WORK, and pack them."""
    (work / "models").mkdir(parents=True)
    for major in VERSIONS:
        command = [environment(work, major), __file__, str(major), work / "models"]
        subprocess.run([str(part) for part in command], check=True)
    pack(work, HERE / "models.tar.xz")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        save(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve())
