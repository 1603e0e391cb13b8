"""Run AWS's own code on the table of cases and write what it gives to `figures/`.

    cd tests/runtime && PYTHONHASHSEED=0 python -m differential.record SOURCE serving

and with `training`, or `models`, in place of `serving`.
SOURCE is the folder `src` of a checkout of github.com/aws/sagemaker-xgboost-container (these
figures: commit cb8df91). The Python has its requirements, with XGBoost 3.2.0 as we have it, and
nothing of this project. `models` trains the models of `models/` anew, which changes every answer.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from differential import recordio, serving_cases, training_cases

HERE = Path(__file__).resolve().parent
FIGURES, MODELS = HERE / "figures", HERE / "models"
MARKERS = ("Loading csv data failed", "Loading libsvm data failed",
           "Loading recordio-protobuf data failed")  # fmt: skip


def train_models() -> None:
    """Train the models that the requests are sent to: three rounds of depth 2."""
    import numpy as np
    import xgboost

    generator = np.random.default_rng(5)
    rows = generator.normal(size=(400, serving_cases.COLUMNS)).round(2).astype(np.float32)
    score = rows[:, 0] - rows[:, 1] + rows[:, 2] * rows[:, 3] + 0.3 * rows[:, 4]

    def labels(objective: str) -> np.ndarray:
        if objective.startswith("multi:"):
            return np.digitize(score, [-0.7, 0.7])
        if objective.startswith(("binary:", "reg:logistic")):
            return score > 0
        return score if objective == "reg:squarederror" else np.abs(score).round() + 1

    def train(objective: str, seed: int = 0) -> xgboost.Booster:
        options = {"num_class": 3} if objective.startswith("multi:") else {}
        given = {"objective": objective, "max_depth": 2, "subsample": 0.5, "nthread": 1}
        data = xgboost.DMatrix(rows, labels(objective))
        return xgboost.train(given | options | {"seed": seed}, data, 3)

    MODELS.mkdir(exist_ok=True)
    for objective in serving_cases.OBJECTIVES:
        save(train(objective), objective.replace(":", "-"))
    for kind, objective in (("ensemble", "binary:logistic"), ("votes", "multi:softmax"),
                            ("hinge", "binary:hinge")):  # fmt: skip
        for seed, letter in enumerate("abc"):
            save(train(objective, seed), f"{kind}-{letter}")
    stopped = train("reg:squarederror")
    stopped.set_attr(best_iteration="0")  # as early stopping leaves it
    save(stopped, "stopped")
    (MODELS / "pickled").write_bytes(pickle.dumps(train("binary:logistic")))


def save(booster: Any, name: str) -> None:
    """Write a model in UBJSON."""
    (MODELS / name).write_bytes(bytes(booster.save_raw("ubj")))


def figure(status: int, media_type: str | None, body: bytes) -> dict[str, Any]:
    """Return an answer as data. Of a refusal the status counts, and the words that clients know."""
    media_type = (media_type or "").partition(";")[0]
    if status != 200:
        found = next((mark for mark in MARKERS if mark.encode() in body), "")
        kind = {"type": media_type} if body else {}
        return {"status": status} | kind | ({"says": found} if found else {})
    if body.startswith(recordio.MAGIC.to_bytes(4, "little")):
        text = json.dumps(recordio.labels_of(body))
    else:
        text = body.decode()
    if len(text) > 4000:
        text = f"{len(text.splitlines())} lines"
    text = re.sub(r"\d+\.\d{9,}", lambda found: f"{float(found[0]):.8g}", text)  # float32 all
    return {"status": status, "type": media_type, "body": text}


def folder_of(models: tuple[str, ...], base: str) -> str:
    """Return a model folder as training leaves it: one file, or numbered ones."""
    for index, name in enumerate(models):
        file = "xgboost-model" if len(models) == 1 else f"xgboost-model-{index}"
        Path(base, file).write_bytes((MODELS / name).read_bytes())
    return base


def ask_application(requests: list[serving_cases.Request]) -> dict[str, Any]:
    """Send requests to AWS's Flask application, whose environment is this process's."""
    from sagemaker_xgboost_container.algorithm_mode import serve

    client = serve.ScoringService.csdk_start().test_client()
    found = {}
    for request in requests:
        headers = {"Accept": request.accept} if request.accept else {}
        method, path = request.route.split()
        answer = client.open(path, method=method, data=request.body, headers=headers,
                             content_type=request.content_type)  # fmt: skip
        found[request.id] = figure(answer.status_code, answer.content_type, answer.data)
    return found


class Context:
    """What the multi-model server gives to a handler, and takes from it."""

    def __init__(self, folder: str, headers: dict[str, str]) -> None:
        self._system_properties = {"model_dir": folder}
        self.status, self.media_type = 200, ""
        processor = SimpleNamespace(get_request_properties=lambda: headers)
        processor.report_status = self.report_status
        self.request_processor = [processor]

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        self.status = int(code)

    def set_response_status(self, code: int, **rest: Any) -> None:
        self.status = int(code)

    def set_response_content_type(self, index: int, value: str) -> None:
        self.media_type = value

    def get_request_header(self, index: int, name: str) -> str | None:
        return None


def ask_handler(requests: list[serving_cases.Request], folder: str) -> dict[str, Any]:
    """Send requests to the handler that AWS's multi-model server calls."""
    from sagemaker_xgboost_container.algorithm_mode import handler_service

    found = {}
    for request in requests:
        headers = {"Content-Type": request.content_type, "Accept": request.accept}
        service = handler_service.HandlerService()
        context = Context(folder, {key: value for key, value in headers.items() if value})
        try:
            (body,) = service._service.transform([{"body": bytearray(request.body)}], context)
            body = body if isinstance(body, bytes) else str(body).encode()
        except Exception:  # of any kind: the multi-model server says "Prediction failed"
            context.status, body = 503, b""
        found[request.id] = figure(context.status, context.media_type, body)
    return found


def serve_in_this_process(name: str, model: str) -> dict[str, Any]:
    """Return the figures of one server, or of one of its models."""
    server = serving_cases.SERVERS[name]
    requests = [case for case in serving_cases.CASES if (case.server, case.model) == (name, model)]
    with tempfile.TemporaryDirectory() as base:
        folder = folder_of((model,) if model else server.models, base)
        os.environ |= {"SM_MODEL_DIR": folder, **server.environ}
        if server.many and "SAGEMAKER_INFERENCE_OUTPUT" not in server.environ:
            return ask_handler(requests, folder)
        return ask_application(requests)  # selected keys are for one model; ours has both


def in_a_child(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return what the work gives in a process of its own, {} if it is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as stream:
            stream.write(json.dumps(work(*arguments)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        found = stream.read()
    os.waitpid(child, 0)
    return json.loads(found) if found else {}


def serving() -> dict[str, Any]:
    """Return the figures of all requests; each server reads its variables when it is imported."""
    import flask  # noqa: F401  # what takes long, once
    import sagemaker_containers.beta.framework  # noqa: F401
    import scipy.stats  # noqa: F401
    import xgboost  # noqa: F401

    found: dict[str, Any] = {}
    for name, model in dict.fromkeys((case.server, case.model) for case in serving_cases.CASES):
        answers = in_a_child(serve_in_this_process, name, model)
        if not answers:
            raise SystemExit(f"{name} {model}: no answers")
        found |= answers
    return found


def train_in_this_process(job: training_cases.Job) -> dict[str, Any]:
    """Run a job with AWS's code; the files go where the platform would put them."""
    from sagemaker_xgboost_container.algorithm_mode.train import sagemaker_train

    with tempfile.TemporaryDirectory() as base, tempfile.TemporaryFile("w+") as log:
        paths, config = {}, {}
        for name, channel in job.channels.items():
            paths[name] = str(Path(base, "data", name))
            Path(paths[name]).mkdir(parents=True)
            config[name] = {"TrainingInputMode": channel.mode,
                            "S3DistributionType": channel.distribution}  # fmt: skip
            if channel.content_type is not None:
                config[name]["ContentType"] = channel.content_type
            for file, content in channel.files.items():
                target = Path(paths[name], file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        os.environ |= {"SM_OUTPUT_DATA_DIR": base, "SM_NUM_GPUS": "0"}
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        verdict = "trained"
        try:
            sagemaker_train(dict(job.hyperparameters), config, paths.get("train"),
                            paths.get("validation"), str(Path(base, "model")), ["algo-1"],
                            "algo-1", {})  # fmt: skip
        except Exception as problem:
            verdict = type(problem).__name__
        sys.stdout.flush()
        log.seek(0)
        models = sorted(path.name for path in Path(base, "model").glob("*"))
        return {"verdict": verdict, "models": models, **last_metrics(log.read())}


def last_metrics(log: str) -> dict[str, Any]:
    """Return round and metrics of the last line that has any."""
    lines = re.findall(r"^\[(\d+)\]((?:(?:\t|#011)\S+:\S+)+)$", log, re.M)
    if not lines:
        return {}
    index, rest = lines[-1]
    pairs = [pair.rpartition(":") for pair in re.split(r"\t|#011", rest)[1:]]
    return {"round": int(index), "metrics": {name: float(value) for name, _, value in pairs}}


def training() -> dict[str, Any]:
    """Return the figures of all jobs and choices."""
    import sagemaker_xgboost_container.algorithm_mode.train  # noqa: F401  # takes long, once

    jobs = {job.id: job for job in training_cases.JOBS}
    jobs |= {choice.id: training_cases.as_job(choice) for choice in training_cases.CHOICES}
    return {key: in_a_child(train_in_this_process, job) for key, job in jobs.items()}


def write(name: str, figures: dict[str, Any]) -> None:
    """Write figures, one per line."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(figures.items())]
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(source: str, what: str) -> None:
    """Record what is asked for."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, source)
    if what == "models":
        train_models()
    else:
        write(what, {"serving": serving, "training": training}[what]())


if __name__ == "__main__":
    main(*sys.argv[1:])
