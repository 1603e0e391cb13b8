"""Make the models of this folder again: `python make.py WORK [VERSION ...]`.

For each version of XGBoost: an environment below WORK with the Python and the packages that it
needs (python3.7 to python3.12 on PATH, packages from PyPI), in which `train.py` trains small models
and answers `rows.csv` with them. The models and
answers of all versions are packed into models.tar.xz, as VERSION/FILE.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLD = ("3.7", "numpy==1.19.5", "scipy==1.5.4", "scikit-learn==0.24.2")
MIDDLE = ("3.9", "numpy==1.24.4", "scipy==1.10.1", "scikit-learn==1.2.2")
NEW = ("3.11", "numpy==2.2.6", "scipy==1.15.3", "scikit-learn==1.6.1")
NEWEST = ("3.12", "numpy==2.5.5", "scipy==1.18.1", "scikit-learn==1.9.1", "pandas==3.1.1")
VERSIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("0.90", "1.0.2", "1.1.1", "1.2.1", "1.3.3", "1.4.2", "1.5.2"), OLD),
    **dict.fromkeys(("1.6.2", "1.7.6", "2.0.3"), MIDDLE),
    **dict.fromkeys(("2.1.4", "3.0.5", "3.1.3", "3.2.0"), NEW),
    **dict.fromkeys(("3.3.0", "3.4.1"), NEWEST),
}


def environment(work: Path, version: str) -> Path:
    """Return the interpreter of an environment with this XGBoost, made when it is absent."""
    python, *packages = VERSIONS[version]
    folder = work / version
    name = "xgboost-cpu" if version >= "2.1" else "xgboost"
    if not (folder / "done").exists():
        subprocess.run([f"python{python}", "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "pip"), "install", "-q", "--only-binary=:all:"]
        subprocess.run([*install, f"{name}=={version}", *packages], check=True)
        (folder / "done").touch()
    return folder / "bin" / "python"


def pack(work: Path, archive: Path) -> None:
    """Write the models of all versions, with nothing in the archive that depends on the moment."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(work.glob("*-models/*"), key=lambda path: (path.name, path.parent)):
            entry = tarfile.TarInfo(f"{path.parent.name.removesuffix('-models')}/{path.name}")
            data = path.read_bytes()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def main(work: Path, versions: list[str]) -> None:
    """Train and answer, version by version; pack what WORK holds of all."""
    for version in versions or VERSIONS:
        folder = work / f"{version}-models"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        command = [environment(work, version), HERE / "train.py", HERE / "rows.csv", folder]
        subprocess.run([str(part) for part in command], check=True)
        print(f"ok: {version}")
    pack(work, HERE / "models.tar.xz")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
