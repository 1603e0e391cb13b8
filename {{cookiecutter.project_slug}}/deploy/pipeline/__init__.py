"""The SageMaker pipeline: preprocess, train, evaluate, and register what is good enough."""

from __future__ import annotations

import json

from deploy.aws import Aws
from deploy.images import image_uri
from deploy.jobs import METRICS, check, upload
from deploy.pipeline.definition import document


def _text(aws: Aws) -> str:
    """Upload programs and data, and return the definition as JSON."""
    check(aws.settings)
    image = image_uri(aws, aws.settings.instance_type)
    role, bucket = aws.role(), aws.bucket()
    found = document(
        aws.settings,
        image=image,
        role=role,
        bucket=bucket,
        data=upload(aws, aws.settings.data, "data"),
        preprocess=upload(aws, "deploy/pipeline/preprocess.py", "code"),
        evaluate=upload(aws, "deploy/pipeline/evaluate.py", "code"),
        metrics=METRICS,
    )
    return json.dumps(found, indent=2)


def executions(aws: Aws) -> dict[str, str]:
    """Return the status of each of the pipeline's executions that has not ended, by ARN."""
    listed = aws.pages("sagemaker", "list_pipeline_executions", PipelineName=aws.settings.name)
    found = {one["PipelineExecutionArn"]: one["PipelineExecutionStatus"] for one in listed}
    return {arn: status for arn, status in found.items() if status in {"Executing", "Stopping"}}


def upsert(aws: Aws, *, start: bool = False) -> str:
    """Make the pipeline or bring it up to date, and start it if asked; return its name."""
    text, own = _text(aws), {"PipelineName": aws.settings.name}
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
