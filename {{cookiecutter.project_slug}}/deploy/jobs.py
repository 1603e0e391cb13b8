"""The jobs: training, tuning and batch transform. Each is named after its own content, so a job
that ran or runs is found again instead of being paid twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import settings as program
from deploy import ROOT, requests
from deploy.aws import Aws, fingerprint, named, word
from deploy.configuration import Configuration, DeployError
from deploy.images import image_uri
from deploy.requests import Document
from runtime.job.failures import UserError
from runtime.training import hyperparameters, metric_table

METRICS = json.loads((ROOT / "metric_definitions.json").read_text(encoding="utf-8"))
METRICS += [
    {"Name": f"validation:{name}", "Regex": rf".*\[[0-9]+\].*#011validation-{name}:([^#\s]+)"}
    for name in metric_table.own_metrics()
]
TRAINING, TUNING = "training_job", "hyper_parameter_tuning_job"
LOGS = "/aws/sagemaker/TrainingJobs"


def _checksum(path: Path) -> str:
    """Return the SHA-256 of a file, which may be larger than memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def upload(aws: Aws, source: str, purpose: str) -> str:
    """Return the s3:// prefix of `source`: itself, or where its files are put by their content."""
    if source.startswith("s3://"):
        return source
    base = ROOT / source
    files = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.is_file())
    if not files:
        raise DeployError(
            f"no data at {source}; run: make sample (or pass a file, a folder or s3://)"
        )
    top = base.parent if base.is_file() else base
    names = [path.relative_to(top).as_posix() for path in files]
    content = [_checksum(path) for path in files]
    bucket, prefix = aws.bucket(), f"{purpose}/{fingerprint([names, content])}"
    for path, name in zip(files, names, strict=True):
        aws.upload(path, bucket, f"{prefix}/{name}")
    return f"s3://{bucket}/{prefix}/"


def check(settings: Configuration, more: Document | None = None) -> None:
    """Check the hyperparameters, and `more`, with the parser that the container starts with.

    Raises DeployError that lists every fault. A job's own program reads hyperparameters of its
    own, and whether XGBoost has CUDA only the image knows.
    """
    texts = requests.texts(settings.hyperparameters | (more or {}))
    if "sagemaker_program" in texts:
        return
    try:
        hyperparameters.parse(texts, program.load().num_classes, cuda=True)
    except UserError as problem:
        raise DeployError(f"{problem}; nothing was started") from None


def _definition(aws: Aws) -> Document:
    """Return what a training job and the jobs of a tuning job have in common."""
    settings, role = aws.settings, aws.role()
    image = image_uri(aws, settings.instance_type)
    sources = {"train": settings.data, "validation": settings.validation}
    several = settings.instance_count > 1  # then each gets its share of the files to train on
    shared = {"train": "ShardedByS3Key" if several else "FullyReplicated"}
    channels = []
    for name, source in sources.items():
        if source:
            place, distribution = upload(aws, source, "data"), shared.get(name, "FullyReplicated")
            channels.append(requests.channel(settings, name, place, distribution))
    where = {"image": image, "role": role, "bucket": aws.bucket()}
    return requests.training(settings, **where, channels=channels, metrics=METRICS)


def _describe(aws: Aws, kind: str, name: str) -> Document | None:
    """Return the job's description with its state below "status"; None when it is absent."""
    found = aws.find("sagemaker", f"describe_{kind}", **{f"{word(kind)}Name": name})
    return found and found | {"status": found[f"{word(kind)}Status"]}


def _run(aws: Aws, kind: str, request: Document, cost: str, wait: bool) -> Document:
    """Start the job unless it runs or has completed; follow it; return its description.

    A job that failed is left as it is; the next attempt has the next number in its name.
    """
    own, limit = f"{word(kind)}Name", 32 if kind == TUNING else 63  # SageMaker's
    base = name = named(aws.settings.name, fingerprint(request), limit=limit)
    attempt = 1
    while (found := _describe(aws, kind, name)) and found["status"] in {"Failed", "Stopped"}:
        attempt += 1
        name = named(aws.settings.name, fingerprint(request), attempt, limit=limit)
    if found:
        print(f"ok: {name} exists: {found['status']}")
    else:
        dashed = kind.replace("_", "-")
        print(f"note: starts {cost}")
        print(f"note: stop it with: aws sagemaker stop-{dashed} --{dashed}-name {name}")
        if kind == TRAINING and aws.settings.spot:  # the next attempt goes on where one ended
            place = f"s3://{aws.bucket()}/checkpoints/{base}/"
            request = request | {"CheckpointConfig": {"S3Uri": place}}
        full = {own: name, **request, "Tags": aws.settings.tags}
        aws.change("sagemaker", f"create_{kind}", **full)
    return {own: name} if aws.dry_run or not wait else _follow(aws, kind, name)


def _follow(aws: Aws, kind: str, name: str) -> Document:
    """Print states and log lines until the job ends. Raises DeployError with a failure's reason."""
    seen: set[str] = set()

    def describe() -> Document:
        found = _describe(aws, kind, name) or {"status": "Absent"}
        if kind == TRAINING:
            _print_log(aws, name, seen)
        return found

    found = aws.wait(describe, "status")
    if found["status"] != "Completed":
        reason = found.get("FailureReason", "no reason given")
        raise DeployError(f"{kind.replace('_', ' ')} {name} {found['status']}: {reason}")
    return found


def _print_log(aws: Aws, name: str, seen: set[str]) -> None:
    """Print the lines of the job's log that are not in `seen`."""
    query = {"logGroupName": LOGS, "logStreamNamePrefix": f"{name}/"}
    if not (aws.find("logs", "describe_log_streams", **query) or {}).get("logStreams"):
        return
    for event in aws.pages("logs", "filter_log_events", **query):
        if event["eventId"] not in seen:
            seen.add(event["eventId"])
            print(event["message"].rstrip().replace("#011", "\t"), flush=True)


def _cost(aws: Aws, times: int = 1) -> str:
    """Return what training jobs may use at most, in words."""
    settings, capacity = aws.settings, "spot" if aws.settings.spot else "on demand"
    size = f"{settings.instance_count} x {settings.instance_type} ({capacity})"
    return f"{times} training job(s), each {size} for at most {settings.max_seconds} s"


def train(aws: Aws, *, wait: bool = True) -> str:
    """Train once with these settings and data; return the job's name."""
    check(aws.settings)
    texts = requests.texts(aws.settings.hyperparameters)
    request = _definition(aws) | {"HyperParameters": texts}
    found = _run(aws, TRAINING, request, _cost(aws), wait)
    if artifacts := found.get("ModelArtifacts"):
        print(f"ok: model {artifacts['S3ModelArtifacts']}")
    return str(found["TrainingJobName"])


def tune(aws: Aws, *, wait: bool = True) -> str:
    """Search the ranges of [tool.deploy.tune]; return the tuning job's name."""
    settings, own = aws.settings, {1: "rmse", 2: "logloss"}
    name = own.get(program.load().num_classes, "mlogloss")
    metric = settings.tune_metric or f"validation:{name}"
    if metric.startswith("validation:") and not settings.validation:
        raise DeployError(f"nothing to compute {metric} on; pass --validation (s3:// or a folder)")
    known = [entry["Name"] for entry in METRICS]
    if metric not in known:
        raise DeployError(
            f"tune_metric = {metric!r} is not in metric_definitions.json: {', '.join(known)} (the "
            "number of a metric, as in ndcg@5, belongs to the hyperparameter eval_metric)"
        )
    larger = metric_table.maximised(metric.partition(":")[2])
    ranges: dict[str, list[dict[str, str]]] = {}
    for key, (low, high) in settings.tune.items():
        kind = "Integer" if isinstance(low, int) and isinstance(high, int) else "Continuous"
        entry = {"Name": key, "MinValue": str(low), "MaxValue": str(high)}
        ranges.setdefault(f"{kind}ParameterRanges", []).append(entry)
    for bound in (0, 1):
        check(settings, {name: limits[bound] for name, limits in settings.tune.items()})
    fixed = {k: v for k, v in settings.hyperparameters.items() if k not in settings.tune}
    request = requests.tuning(
        settings,
        metric=metric,
        direction="Maximize" if larger else "Minimize",
        ranges=ranges,
        definition=_definition(aws) | {"StaticHyperParameters": requests.texts(fixed)},
    )
    found = _run(aws, TUNING, request, _cost(aws, settings.tune_jobs), wait)
    if best := found.get("BestTrainingJob"):
        print(f"ok: best job {best['TrainingJobName']}: {best['TunedHyperParameters']}")
        print(f"note: serve it with: python -m deploy deploy --job {best['TrainingJobName']}")
    return str(found["HyperParameterTuningJobName"])


def transform(aws: Aws, model: str, source: str, *, wait: bool = True) -> str:
    """Predict every row of `source` with `model`; return the s3:// prefix of the answers."""
    kind, data = aws.settings.media_type.partition(";")[0], upload(aws, source, "transform/input")
    lines = kind in {"text/csv", "text/libsvm", "application/jsonlines"}
    output = f"s3://{aws.bucket()}/transform/output/{fingerprint([model, data])}/"
    where = {"model": model, "data": data, "output": output}
    request = requests.transform(aws.settings, **where, media_type=kind, lines=lines)
    cost = f"1 transform job on {aws.settings.instance_count} x {aws.settings.instance_type}"
    _run(aws, "transform_job", request, cost, wait)
    return output
