"""The endpoint: model, configuration, endpoint, scaling, requests; and the registered model."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from deploy import requests
from deploy.aws import UPGRADE, Aws
from deploy.configuration import DeployError
from deploy.images import ARM, architecture, image_uri
from deploy.requests import Document

SCALING = "application-autoscaling"
VARIANTS = ("sagemaker", "CreateEndpointConfig", "ProductionVariants")


def trained(aws: Aws, job: str = "") -> tuple[str, str, Document]:
    """Return image, model.tar.gz and description of the completed `job`, default: the newest.

    The trials of a tuning job are passed over: the newest of them is not the best.
    """
    for name in [job] if job else _completed(aws):
        found = aws.find("sagemaker", "describe_training_job", TrainingJobName=name)
        good = found and found["TrainingJobStatus"] == "Completed"
        if found and good and (job or "TuningJobArn" not in found):
            image = aws.settings.image or found["AlgorithmSpecification"]["TrainingImage"]
            return image, found["ModelArtifacts"]["S3ModelArtifacts"], found
    raise DeployError(
        f"no completed training job {job}; run: python -m deploy train (or pass --job)"
    )


def _completed(aws: Aws) -> Iterator[str]:
    """Yield the names of this project's completed training jobs, the newest first."""
    query = {"NameContains": aws.settings.prefix, "StatusEquals": "Completed"}
    listed = aws.pages("sagemaker", "list_training_jobs", **query)
    for entry in sorted(listed, key=lambda one: one["CreationTime"], reverse=True):
        if aws.made(entry["TrainingJobArn"]):
            yield entry["TrainingJobName"]


def ensure_model(aws: Aws, job: str = "", data: str = "", *, instance: str, hosted: bool) -> str:
    """Return the name of the model of `data` (a model.tar.gz) or of a job; make it when absent.

    A job's model is served by the image that trained it, where that runs on `instance`. A model
    that is not `hosted` is for transform jobs, and has their role.
    """
    url, image = data, ""
    if not data:
        image, url, found = trained(aws, job)
        trainer = found.get("ResourceConfig", {}).get("InstanceType", "")
        if aws.settings.image or architecture(trainer) != architecture(instance):
            image = ""
    request = requests.model(
        aws.settings,
        image=image or image_uri(aws, instance),
        data=url,
        role=aws.role(hosting=hosted),
        hosted=hosted,
    )
    if "ContainerMetricsConfig" in request["PrimaryContainer"]:
        path = ("PrimaryContainer", "ContainerMetricsConfig")
        request = aws.known("CreateModel", request, *path)
    return aws.ensure("model", request)


def _configuration(aws: Aws, job: str, data: str) -> str:
    """Return the name of the endpoint configuration of a model; make both when absent."""
    settings, other = aws.settings, ""
    pools = bool(settings.graviton_instance) and settings.mode != "serverless"
    if pools and aws.shape(*VARIANTS, "InstancePools") is None:
        raise DeployError(f"graviton_instance: this boto3 does not know InstancePools; {UPGRADE}")
    instance = "" if settings.mode == "serverless" else settings.endpoint_instance
    model = ensure_model(aws, job, data, instance=instance, hosted=True)
    if pools:
        graviton = settings.graviton_instance
        if architecture(graviton) != ARM:
            raise DeployError(f"graviton_instance = {graviton!r} is no Graviton, as ml.c7g.xlarge")
        other = ensure_model(aws, job, data, instance=graviton, hosted=True)
    request = requests.endpoint_config(
        settings, model=model, bucket=aws.bucket(), graviton_model=other
    )
    if "MetricsConfig" in request:
        request = aws.known("CreateEndpointConfig", request, "MetricsConfig")
    return aws.ensure("endpoint_config", request)


def _cost(aws: Aws, old: str = "") -> str:
    """Return what the endpoint costs, and what its configuration `old` does meanwhile, in words."""
    settings = aws.settings
    if settings.mode == "serverless":
        text = "a serverless endpoint, billed by request"
    else:
        several = f" (up to {settings.endpoint_max})" if _scales(aws) else ""
        kinds = " or ".join(filter(None, [settings.graviton_instance, settings.endpoint_instance]))
        text = f"{settings.endpoint_count}{several} x {kinds}, billed until it is deleted"
    if not old:
        return text
    found = aws.read("sagemaker", "describe_endpoint_config", EndpointConfigName=old)
    if "ServerlessConfig" in found["ProductionVariants"][0]:
        return f"{text}; the serverless {old} that it replaces is billed by request until then"
    return f"{text}; the instances of {old} are billed as well, until traffic has moved"


def _scales(aws: Aws) -> bool:
    """Return whether the endpoint has scaling."""
    settings = aws.settings
    return settings.mode != "serverless" and settings.endpoint_max > settings.endpoint_count


def deploy(aws: Aws, job: str = "", data: str = "", *, wait: bool = True) -> str:
    """Serve a model: make the endpoint, or update it blue/green; then set its scaling."""
    settings, endpoint = aws.settings, aws.settings.name
    config = _configuration(aws, job, data)
    names = {"EndpointName": endpoint, "EndpointConfigName": config}
    found = _usable(aws)
    old = found["EndpointConfigName"] if found else ""
    if old != config:
        print(f"note: starts {_cost(aws, old)}")
        print("note: stop it with: python -m deploy destroy")
    if not found:
        aws.change("sagemaker", "create_endpoint", **names, Tags=settings.tags)
    elif old != config:
        _in_service(aws)
        _scale(aws, off=True)
        serverless = settings.mode == "serverless"
        guard = {} if serverless else {"DeploymentConfig": requests.blue_green(settings)}
        aws.change("sagemaker", "update_endpoint", **names, **guard)
    if wait:
        served = _in_service(aws).get("EndpointConfigName", config)
        if served != config:  # alarms, or the health check of the new fleet
            raise DeployError(
                f"the update was undone: {endpoint} serves {served}, not {config}, unscaled;"
                " look at its alarms, then run: python -m deploy deploy"
            )
        _scale(aws, off=not _scales(aws))
    else:
        print("note: run this again once it is in service: that sets its scaling")
    return endpoint


def _usable(aws: Aws) -> Document | None:
    """Return the endpoint's description; None when there is none, after removing a failed one."""
    own = {"EndpointName": aws.settings.name}
    found = aws.find("sagemaker", "describe_endpoint", **own)
    if not found or found["EndpointStatus"] not in {"Failed", "Deleting"}:
        return found
    if found["EndpointStatus"] == "Failed":
        aws.change("sagemaker", "delete_endpoint", **own)
    while not aws.dry_run and aws.find("sagemaker", "describe_endpoint", **own):
        time.sleep(aws.poll)  # until it is gone its name is taken
    return None


def settled(aws: Aws) -> Document:
    """Wait until nothing changes the endpoint; return its description."""
    own = {"EndpointName": aws.settings.name}
    return aws.wait(lambda: aws.read("sagemaker", "describe_endpoint", **own), "EndpointStatus")


def _in_service(aws: Aws) -> Document:
    """Wait until the endpoint is in service. Raises DeployError with the reason when it fails."""
    if aws.dry_run:
        return {}
    found = settled(aws)
    if found["EndpointStatus"] != "InService":
        reason = found.get("FailureReason", "no reason given")
        raise DeployError(f"endpoint {aws.settings.name} {found['EndpointStatus']}: {reason}")
    return found


def scalable_target(aws: Aws) -> Document | None:
    """Return the endpoint's entry in Application Auto Scaling; None when it has none."""
    target = requests.scalable(aws.settings)
    query = {"ServiceNamespace": "sagemaker", "ResourceIds": [target["ResourceId"]]}
    return next(aws.pages(SCALING, "describe_scalable_targets", **query), None)


def _scale(aws: Aws, *, off: bool) -> None:
    """Bring target tracking to what the settings say: requests per instance, or the backlog."""
    settings, target, found = aws.settings, requests.scalable(aws.settings), scalable_target(aws)
    if off:
        if found:
            aws.change(SCALING, "deregister_scalable_target", **target)
        return
    limits = {"MinCapacity": settings.endpoint_count, "MaxCapacity": settings.endpoint_max}
    if not found or any(found[key] != value for key, value in limits.items()):
        tags = {tag["Key"]: tag["Value"] for tag in settings.tags}
        aws.change(SCALING, "register_scalable_target", **target, **limits, Tags=tags)
    key, wanted = "TargetTrackingScalingPolicyConfiguration", requests.scaling(settings)
    query = {"ServiceNamespace": "sagemaker", "ResourceId": target["ResourceId"]}
    policies = aws.pages(SCALING, "describe_scaling_policies", **query)
    if not any(policy[key] == wanted for policy in policies):
        policy = {"PolicyName": settings.name, "PolicyType": "TargetTrackingScaling", key: wanted}
        aws.change(SCALING, "put_scaling_policy", **target, **policy)


def invoke(aws: Aws, payload: Path, accept: str = "") -> bytes:
    """Post a file to the endpoint; return the answer's body, or of async: where it will be."""
    settings, service = aws.settings, "sagemaker-runtime"
    request: Document = {"EndpointName": settings.name, "ContentType": settings.media_type}
    request |= {"Accept": accept} if accept else {}
    if aws.dry_run:
        kind = "invoke-endpoint-async" if settings.mode == "async" else "invoke-endpoint"
        aws.announce("aws", service, kind, "--endpoint-name", settings.name, str(payload))
        return b""
    if settings.mode == "async":
        answer = aws.read(service, "invoke_endpoint_async", **request, **_input(aws, payload))
        return f"{answer['OutputLocation']}\n".encode()
    answer = aws.read(service, "invoke_endpoint", **request, Body=payload.read_bytes())
    return bytes(answer["Body"].read())


def _input(aws: Aws, payload: Path) -> Document:
    """Return the input of an asynchronous request: inline where it fits, otherwise in S3."""
    body = aws.shape("sagemaker-runtime", "InvokeEndpointAsync", "Body")
    if body is None:
        print(f"note: boto3 takes no inline body: goes through S3; {UPGRADE}", file=sys.stderr)
    elif payload.stat().st_size <= body.metadata["max"]:
        return {"Body": payload.read_bytes()}
    place = aws.upload(payload, aws.bucket(), f"async/input/{uuid.uuid4().hex}")
    return {"InputLocation": place}


def packages(aws: Aws) -> list[str]:
    """Return the ARNs of the registered versions; empty when there is no group."""
    group = {"ModelPackageGroupName": aws.settings.name}
    if not aws.find("sagemaker", "describe_model_package_group", **group):
        return []
    listed = aws.pages("sagemaker", "list_model_packages", **group)
    return [package["ModelPackageArn"] for package in listed]


def register(aws: Aws, job: str = "", evaluation: str = "") -> str:
    """Register a job's model as a version that waits for approval; return the package's ARN.

    `evaluation` is the s3:// address of its quality report; the job's metrics go along.
    """
    settings, (image, url, found) = aws.settings, trained(aws, job)
    aws.ensure("model_package_group", {}, settings.name)  # it has the tags, versions have none
    for arn in packages(aws):
        known = aws.read("sagemaker", "describe_model_package", ModelPackageName=arn)
        container = known.get("InferenceSpecification", {}).get("Containers", [{}])[0]
        if [container.get(key) for key in ("Image", "ModelDataUrl", "Environment")] == [
            image,
            url,
            settings.environment or None,
        ]:
            return arn
    scores = found.get("FinalMetricDataList", [])
    metadata = {score["MetricName"]: str(score["Value"]) for score in scores}
    metadata["TrainingJobName"] = found["TrainingJobName"]
    version: Document = {"image": image, "data": url, "metadata": metadata}
    request = requests.package(
        settings, **version, evaluation=evaluation, environment=settings.environment
    )
    made = aws.change("sagemaker", "create_model_package", **request)
    return str(made.get("ModelPackageArn", "(not registered)"))
