"""What this project has in the account, found by name and proven by tags; and its removal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.aws import Aws, named
from deploy.hosting import SCALING, packages, scalable_target
from deploy.pipeline import executions

Call = tuple[str, str, dict[str, Any]]  # service, operation, parameters

# Kinds in the order of removal, the user of a thing before the thing: noun of the API, word of
# its fields, key of its listing.
KINDS = (
    ("endpoint", "Endpoint", "Endpoints"),
    ("endpoint_config", "EndpointConfig", "EndpointConfigs"),
    ("pipeline", "Pipeline", "PipelineSummaries"),
    ("transform_job", "TransformJob", "TransformJobSummaries"),
    ("hyper_parameter_tuning_job", "HyperParameterTuningJob", "HyperParameterTuningJobSummaries"),
    ("training_job", "TrainingJob", "TrainingJobSummaries"),
    ("processing_job", "ProcessingJob", "ProcessingJobSummaries"),
    ("model", "Model", "Models"),
    ("model_package_group", "ModelPackageGroup", "ModelPackageGroupSummaryList"),
)
RUNNING = {"InProgress", "Stopping", "Executing"}


@dataclass(frozen=True)
class Resource:
    """One thing that this project made, and the calls that remove it."""

    kind: str
    name: str
    state: str
    removal: list[Call]


def _removal(aws: Aws, noun: str, word: str, name: str, running: bool) -> list[Call]:
    """Return the calls that remove one SageMaker resource; a running job is stopped first."""
    own, calls = {f"{word}Name": name}, list[Call]()
    if noun == "endpoint" and scalable_target(aws):
        calls.append((SCALING, "deregister_scalable_target", aws.request("scalable")))
    if noun == "pipeline":
        for arn in executions(aws):
            calls.append(("sagemaker", "stop_pipeline_execution", {"PipelineExecutionArn": arn}))
    if noun == "model_package_group":
        for arn in packages(aws):
            calls.append(("sagemaker", "delete_model_package", {"ModelPackageName": arn}))
    if running:
        return [*calls, ("sagemaker", f"stop_{noun}", own)]
    if noun == "transform_job":  # SageMaker keeps its record for good, at no cost
        return calls
    return [*calls, ("sagemaker", f"delete_{noun}", own)]


def _sagemaker(aws: Aws) -> Iterator[Resource]:
    """Yield the tagged resources of SageMaker."""
    prefix = named(aws.settings.name, "x" * 13)[:-14].rstrip("-")  # what every cut name begins with
    for noun, word, key in KINDS:
        query = {"PipelineNamePrefix" if noun == "pipeline" else "NameContains": prefix}
        for entry in aws.pages("sagemaker", f"list_{noun}s", key, **query):
            arn, name = entry[f"{word}Arn"], entry[f"{word}Name"]
            if not aws.made(arn):
                continue
            state = str(entry.get(f"{word}Status", ""))
            if calls := _removal(aws, noun, word, name, state in RUNNING):
                yield Resource(noun.replace("_", " "), name, state, calls)


def _repository(aws: Aws) -> Iterator[Resource]:
    """Yield the repository of images, if it is tagged as ours."""
    name = aws.settings.name
    found = aws.find("ecr", "describe_repositories", repositoryNames=[name])
    if found:
        arn = found["repositories"][0]["repositoryArn"]
        if aws.ours(aws.read("ecr", "list_tags_for_resource", resourceArn=arn)["tags"]):
            call = ("ecr", "delete_repository", {"repositoryName": name, "force": True})
            yield Resource("image repository", name, "with all its images", [call])


def _bucket(aws: Aws) -> Iterator[Resource]:
    """Yield the project's own bucket: tagged, or still empty because a first run was cut short."""
    own = {"Bucket": aws.own_bucket()}
    if not aws.find("s3", "head_bucket", **own):
        return
    keys = [item["Key"] for item in aws.pages("s3", "list_objects_v2", "Contents", **own)]
    tagged = aws.find("s3", "get_bucket_tagging", **own)
    if (tagged and aws.ours(tagged["TagSet"])) or (not tagged and not keys):
        batches = [keys[start : start + 1000] for start in range(0, len(keys), 1000)]
        doomed = [{"Objects": [{"Key": key} for key in batch]} for batch in batches]
        calls: list[Call] = [("s3", "delete_objects", own | {"Delete": part}) for part in doomed]
        calls.append(("s3", "delete_bucket", own))
        yield Resource("bucket", own["Bucket"], f"with {len(keys)} objects", calls)


def resources(aws: Aws) -> list[Resource]:
    """Return everything that this project made and that can be removed, in the order of removal."""
    return [*_sagemaker(aws), *_repository(aws), *_bucket(aws)]


def show(found: list[Resource]) -> None:
    """Print one line a resource."""
    for resource in found:
        print(f"{resource.kind:20} {resource.name}  {resource.state}".rstrip())
    if not found:
        print("nothing")


def destroy(aws: Aws, *, yes: bool) -> bool:
    """List what would go, ask unless `yes`, remove it; tell whether that was done."""
    found = resources(aws)
    show(found)
    if not found:
        return True
    if not yes and not aws.dry_run:
        answer = input(f"remove these {len(found)} for good? type the project's name: ")
        if answer.strip() != aws.settings.name:
            print("note: nothing was removed")
            return False
    for resource in found:
        for service, operation, parameters in resource.removal:
            aws.change(service, operation, **parameters)
    if any(resource.state in RUNNING for resource in found):
        print("note: jobs are stopping; run this again to remove their records")
    return True
