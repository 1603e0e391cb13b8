"""The SageMaker pipeline: preprocess, train, evaluate, and register what is good enough."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from deploy.aws import Aws
from deploy.images import image_uri
from deploy.jobs import METRICS, upload
from deploy.requests import Document

DEFINITION = Path(__file__).with_name("definition.json")


def fill(part: Any, values: Document) -> Any:
    """Put `values` in the place of "$name" and "${name}", and drop the keys whose value is None."""
    if isinstance(part, dict):
        filled = {key: fill(value, values) for key, value in part.items()}
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(part, list):
        return [fill(value, values) for value in part]
    if isinstance(part, str) and part.startswith("$") and part[1:] in values:
        return values[part[1:]]
    return Template(part).substitute(values) if isinstance(part, str) else part


def definition(aws: Aws) -> str:
    """Upload programs and data, and return the definition with settings and addresses filled in."""
    texts = {key: str(value) for key, value in aws.settings.hyperparameters.items()}
    values: Document = {
        **vars(aws.settings),
        "tags": aws.settings.tags,
        "bucket": aws.bucket(),
        "image": image_uri(aws),
        "role": aws.role(),
        "source": upload(aws, aws.settings.data, "data"),
        "preprocess": upload(aws, "deploy/pipeline/preprocess.py", "code"),
        "evaluate": upload(aws, "deploy/pipeline/evaluate.py", "code"),
        "metrics": METRICS,
        "hyperparameters": texts,
    }
    return json.dumps(fill(json.loads(DEFINITION.read_text(encoding="utf-8")), values), indent=2)


def executions(aws: Aws) -> dict[str, str]:
    """Return the status of each of the pipeline's executions that has not ended, by ARN."""
    listed = aws.pages("sagemaker", "list_pipeline_executions", PipelineName=aws.settings.name)
    found = {one["PipelineExecutionArn"]: one["PipelineExecutionStatus"] for one in listed}
    return {arn: status for arn, status in found.items() if status in {"Executing", "Stopping"}}


def upsert(aws: Aws, *, start: bool = False) -> str:
    """Make the pipeline or bring it up to date, and start it if asked; return its name."""
    text, own = definition(aws), {"PipelineName": aws.settings.name}
    aws.ensure("model_package_group", {}, aws.settings.name)  # here, so that it carries the tags
    wanted = {**own, "PipelineDefinition": text, "RoleArn": aws.role()}
    found = aws.find("sagemaker", "describe_pipeline", **own)
    if not found:
        aws.change("sagemaker", "create_pipeline", **wanted, Tags=aws.settings.tags)
    elif found["PipelineDefinition"] != text or found["RoleArn"] != wanted["RoleArn"]:
        aws.change("sagemaker", "update_pipeline", **wanted)
    if start and found and (running := executions(aws)):
        print(f"ok: runs already: {', '.join(running)}")
    elif start:
        print(f"note: starts three jobs on {aws.settings.instance_type}, one after the other")
        print(
            "note: stop it with: python -m deploy destroy, or aws sagemaker stop-pipeline-execution"
        )
        aws.change("sagemaker", "start_pipeline_execution", **own)
    return aws.settings.name
