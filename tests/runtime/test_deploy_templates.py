"""The documents that AWS reads: CloudFormation, SAM, the pipeline's definition, the requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from deploy_cloud import Cloud, cloud
from locations import PROJECT

__all__ = ["cloud"]
DEPLOY = PROJECT / "deploy"
TEMPLATES = sorted(DEPLOY.rglob("*.yaml"))


def faults(operation: str, parameters: Any) -> str:
    """Return what botocore's description of SageMaker finds wrong with a request."""
    client = boto3.client("sagemaker", region_name="eu-west-1")
    shape = client.meta.service_model.operation_model(operation).input_shape
    return str(ParamValidator().validate(parameters, shape).generate_report())


def definition(cloud: Cloud) -> dict[str, Any]:
    """Return the pipeline's definition as SageMaker has it."""
    cloud.run("push")
    cloud.run("pipeline")
    found = cloud.client("sagemaker").describe_pipeline(PipelineName="demo")
    return dict(json.loads(found["PipelineDefinition"]))


def steps_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return all steps by name, those behind the condition too."""
    steps = {step["Name"]: step for step in document["Steps"]}
    check = steps["GoodEnough"]["Arguments"]
    return steps | {step["Name"]: step for step in check["IfSteps"] + check["ElseSteps"]}


def plain(part: Any) -> Any:
    """Return a part of the definition with a text in the place of each pipeline variable."""
    if isinstance(part, dict):
        if {"Get", "Std:Join"} & set(part):
            return "s3://bucket/variable"
        return {key: plain(value) for key, value in part.items() if key != "AppManaged"}
    return [plain(value) for value in part] if isinstance(part, list) else part


@pytest.mark.slow
def test_cfn_lint_finds_nothing() -> None:
    assert len(TEMPLATES) == 3
    words = [Path(sys.executable).with_name("cfn-lint"), *TEMPLATES]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_statement_of_a_role_allows_every_action_or_every_resource_without_need() -> None:
    needs_all = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}  # AWS knows no resource
    for template in TEMPLATES:
        text = template.read_text()
        assert not re.search(r"Action: .*\*", text)
        for action in re.findall(r"Action: (.*)\n +Resource: \"\*\"", text):
            assert action in needs_all


def test_the_pipeline_runs_every_step_in_this_image(cloud: Cloud) -> None:
    document = definition(cloud)
    defaults = {entry["Name"]: entry.get("DefaultValue") for entry in document["Parameters"]}
    assert document["Version"] == "2020-12-01"
    assert re.fullmatch(r".*/demo@sha256:\w+", defaults["Image"])
    steps, image = steps_of(document), {"Get": "Parameters.Image"}
    for name in ("Preprocess", "Evaluate"):
        assert steps[name]["Arguments"]["AppSpecification"]["ImageUri"] == image
    assert steps["Train"]["Arguments"]["AlgorithmSpecification"]["TrainingImage"] == image
    container = steps["Register"]["Arguments"]["InferenceSpecification"]["Containers"][0]
    assert container["Image"] == image


def test_each_step_of_the_pipeline_is_a_valid_request_of_sagemaker(cloud: Cloud) -> None:
    steps = steps_of(definition(cloud))
    missing = {"ProcessingJobName": "x", "TrainingJobName": "x"}
    operations = {"Preprocess": "CreateProcessingJob", "Evaluate": "CreateProcessingJob"}
    operations |= {"Train": "CreateTrainingJob", "Register": "CreateModelPackage"}
    for name, operation in operations.items():
        client = boto3.client("sagemaker", region_name="eu-west-1")
        known = client.meta.service_model.operation_model(operation).input_shape.members
        extra = {key: value for key, value in missing.items() if key in known}
        parameters = plain(steps[name]["Arguments"]) | extra
        assert set(parameters) <= set(known)
        assert faults(operation, parameters) == ""


def test_what_a_step_refers_to_exists(cloud: Cloud) -> None:
    document = definition(cloud)
    steps, text = steps_of(document), json.dumps(document)
    parameters = {entry["Name"] for entry in document["Parameters"]}
    references = set(re.findall(r'"Get": "([^"]+)"', text))
    assert {r.split(".")[1] for r in references if r.startswith("Parameters.")} == parameters
    outputs = {
        (name, output["OutputName"])
        for name, step in steps.items()
        for output in step["Arguments"].get("ProcessingOutputConfig", {}).get("Outputs", [])
    }
    used = {
        tuple(re.findall(r"Steps\.(\w+)\..*Outputs\['(\w+)'\]", r)[0])
        for r in references
        if "Outputs" in r
    }
    assert used == outputs - {("Evaluate", "evaluation")}  # that one is read as a property file
    (file,) = steps["Evaluate"]["PropertyFiles"]
    assert ("Evaluate", file["OutputName"]) in outputs


def test_the_programs_of_the_steps_are_where_the_steps_look(cloud: Cloud) -> None:
    steps = steps_of(definition(cloud))
    for name in ("Preprocess", "Evaluate"):
        arguments = steps[name]["Arguments"]
        code = next(i["S3Input"] for i in arguments["ProcessingInputs"] if i["InputName"] == "code")
        bucket, _, prefix = code["S3Uri"].removeprefix("s3://").partition("/")
        found = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
        names = [f"{code['LocalPath']}/{item['Key'].removeprefix(prefix)}" for item in found]
        assert names == [arguments["AppSpecification"]["ContainerEntrypoint"][1]]
