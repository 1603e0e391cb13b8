"""The pipeline's definition, as SageMaker's schema 2020-12-01 has it.

Source: https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
"""

from __future__ import annotations

from typing import Any

from deploy import requests
from deploy.configuration import Configuration
from deploy.requests import Document

WORK = "/opt/ml/processing"
CSV, JSON = "text/csv", "application/json"


def get(name: str) -> Document:
    """Return a reference to a parameter or to what a step or the execution knows at run time."""
    return {"Get": name}


def join(separator: str, *parts: Any) -> Document:
    """Return texts and references joined at run time."""
    return {"Std:Join": {"On": separator, "Values": list(parts)}}


def parameter(name: str, default: Any, type: str = "String") -> Document:
    """Declare a parameter that an execution may override."""
    return {"Name": name, "Type": type, "DefaultValue": default}


def variable(name: str) -> str:
    """Return the name of the parameter that holds an environment variable of the model."""
    return f"Environment_{name}"


def output_of(step: str, name: str) -> Document:
    """Return the address of a processing step's output."""
    return get(f"Steps.{step}.ProcessingOutputConfig.Outputs['{name}'].S3Output.S3Uri")


def source(name: str, uri: Any) -> Document:
    """Return one input of a processing job."""
    place = {"S3Uri": uri, "LocalPath": f"{WORK}/input/{name}"}
    mode = {"S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "AppManaged": False, "S3Input": place | mode}


def result(name: str, bucket: str) -> Document:
    """Return one output of a processing job, below the execution's own prefix."""
    uri = join("/", f"s3://{bucket}/pipeline", get("Execution.PipelineExecutionId"), name)
    place = {"S3Uri": uri, "LocalPath": f"{WORK}/output/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "AppManaged": False, "S3Output": place}


def processing(
    settings: Configuration,
    *,
    role: str,
    program: str,
    inputs: list[Document],
    outputs: list[Document],
    arguments: list[Any] | None = None,
    environment: Document | None = None,
) -> Document:
    """Return the arguments of a processing step that runs `program` of the input `code`."""
    cluster = {
        "InstanceType": get("Parameters.InstanceType"),
        "InstanceCount": 1,
        "VolumeSizeInGB": settings.volume_gb,
    }
    return requests.given(
        {
            "ProcessingResources": {"ClusterConfig": cluster},
            "AppSpecification": {
                "ImageUri": get("Parameters.Image"),
                "ContainerEntrypoint": ["python3", f"{WORK}/input/code/{program}"],
                "ContainerArguments": arguments,
            },
            "Environment": environment or None,
            "RoleArn": role,
            "NetworkConfig": {"EnableNetworkIsolation": True},
            "StoppingCondition": {"MaxRuntimeInSeconds": settings.max_seconds},
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": outputs},
            "Tags": settings.tags,
        }
    )


def training(
    settings: Configuration, *, role: str, bucket: str, metrics: list[Document]
) -> Document:
    """Return the arguments of the training step."""
    channels = []
    for name, kind in {"train": CSV, "validation": CSV, "features": JSON}.items():
        data = {"S3DataType": "S3Prefix", "S3Uri": output_of("Preprocess", name)}
        entry = {"ChannelName": name, "ContentType": kind, "DataSource": {"S3DataSource": data}}
        channels.append(entry)
    return {
        "AlgorithmSpecification": {
            "TrainingImage": get("Parameters.Image"),
            "TrainingInputMode": "File",
            "MetricDefinitions": metrics,
        },
        "RoleArn": role,
        "HyperParameters": requests.texts(settings.hyperparameters),
        "EnableNetworkIsolation": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": settings.max_seconds},
        "ResourceConfig": {
            "InstanceType": get("Parameters.InstanceType"),
            "InstanceCount": 1,
            "VolumeSizeInGB": settings.volume_gb,
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/output/"},
        "InputDataConfig": channels,
        "Tags": settings.tags,
    }


def registration(settings: Configuration, bucket: str, environment: Document) -> Document:
    """Return the arguments of the step that registers the model."""
    execution = get("Execution.PipelineExecutionId")
    report = join("/", f"s3://{bucket}/pipeline", execution, "evaluation/evaluation.json")
    return requests.package(
        settings,
        image=get("Parameters.Image"),
        data=get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
        environment=environment,
        evaluation=report,
    )


def decision(settings: Configuration, bucket: str, environment: Document) -> Document:
    """Return the arguments of the condition: register the model, or fail."""
    file = get("Steps.Evaluate.PropertyFiles.Evaluation")
    quality = {"Std:JsonGet": {"PropertyFile": file, "Path": "quality.value"}}
    minimum = get("Parameters.MinimumQuality")
    reason = join(" ", "the quality on the test part is below", minimum)
    register = registration(settings, bucket, environment)
    return {
        "Conditions": [
            {"Type": "GreaterThanOrEqualTo", "LeftValue": quality, "RightValue": minimum}
        ],
        "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": register}],
        "ElseSteps": [
            {"Name": "NotGoodEnough", "Type": "Fail", "Arguments": {"ErrorMessage": reason}}
        ],
    }


def document(
    settings: Configuration,
    *,
    image: str,
    role: str,
    bucket: str,
    data: str,
    preprocess: str,
    evaluate: str,
    metrics: list[Document],
) -> Document:
    """Return the definition; `data`, `preprocess` and `evaluate` are s3:// addresses."""
    environment = {name: get(f"Parameters.{variable(name)}") for name in settings.environment}
    prepared = processing(
        settings,
        role=role,
        program="preprocess.py",
        arguments=["--content-type", get("Parameters.ContentType")],
        inputs=[source("code", preprocess), source("data", get("Parameters.InputData"))],
        outputs=[result(name, bucket) for name in ("train", "validation", "test", "features")],
    )
    model = get("Steps.Train.ModelArtifacts.S3ModelArtifacts")
    evaluated = processing(
        settings,
        role=role,
        program="evaluate.py",
        environment=environment,
        inputs=[
            source("code", evaluate),
            source("model", model),
            source("test", output_of("Preprocess", "test")),
        ],
        outputs=[result("evaluation", bucket)],
    )
    fitted = training(settings, role=role, bucket=bucket, metrics=metrics)
    file = {"PropertyFileName": "Evaluation", "OutputName": "evaluation"}
    chosen = decision(settings, bucket, environment)
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [
            parameter("InputData", data),
            parameter("ContentType", settings.media_type),
            parameter("Image", image),
            parameter("InstanceType", settings.instance_type),
            parameter("MinimumQuality", 0.5, "Float"),
            *(parameter(variable(name), text) for name, text in settings.environment.items()),
        ],
        "Steps": [
            {"Name": "Preprocess", "Type": "Processing", "Arguments": prepared},
            {"Name": "Train", "Type": "Training", "Arguments": fitted},
            {
                "Name": "Evaluate",
                "Type": "Processing",
                "Arguments": evaluated,
                "PropertyFiles": [file | {"FilePath": "evaluation.json"}],
            },
            {"Name": "GoodEnough", "Type": "Condition", "Arguments": chosen},
        ],
    }
