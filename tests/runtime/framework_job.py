"""Jobs in framework mode: a script, or files made here, in an archive below a temporary /opt/ml."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from training_job import Job, csv_text, numbers

SCRIPTS = Path(__file__).parent / "framework"


def archive(job: Job) -> Path:
    """Return where the job's archive is."""
    return job.base / "sourcedir.tar.gz"


def script_job(
    base: Path, code: str | dict[str, str], program: str = "train.py", **hyperparameters: str
) -> Job:
    """Return a job that brings the folder `code` of SCRIPTS, or files given as texts."""
    job = Job(base, dict(hyperparameters))
    for channel, seed, count in (("train", 0, 600), ("validation", 1, 200)):
        rows, score = numbers(count, seed)
        job.put(channel, "part.csv", csv_text(score.round(3), rows))
    files = (
        {path.name: path.read_text() for path in (SCRIPTS / code).iterdir() if path.is_file()}
        if isinstance(code, str)
        else code
    )
    source = base / "source"
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with tarfile.open(archive(job), "w:gz") as tar:
        for name in files:
            tar.add(source / name, name)
    job.hyperparameters |= {
        "sagemaker_program": json.dumps(program),
        "sagemaker_submit_directory": json.dumps(str(archive(job))),
    }
    return job
