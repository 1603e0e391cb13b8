"""What this project has in the account, found by name and proven by tags; and its removal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy import requests
from deploy.aws import BUSY, Aws, word
from deploy.hosting import SCALING, packages, scalable_target, settled
from deploy.pipeline import executions

Call = tuple[str, str, dict[str, Any]]  # service, operation, parameters

# Kinds in the order of removal: the user of a thing before the thing.
KINDS = (
    "endpoint",
    "endpoint_config",
    "pipeline",
    "transform_job",
    "hyper_parameter_tuning_job",
    "training_job",
    "processing_job",
    "model",
    "model_package_group",
)
OF_PIPELINES = {"training_job": "pipelines-", "processing_job": "pipelines-"}  # SageMaker's names
RUNNING = {"InProgress", "Executing"}
ENDING = {"Stopping", "Deleting"}


@dataclass(frozen=True)
class Resource:
    """One thing that this project made, and the calls that remove it."""

    kind: str
    name: str
    state: str
    removal: list[Call]


def _removal(aws: Aws, kind: str, name: str, state: str) -> list[Call]:
    """Return the calls that remove one SageMaker resource; what runs is stopped instead."""
    own, calls = {f"{word(kind)}Name": name}, list[Call]()
    if state in ENDING:
        return []
    if kind == "pipeline" and state in RUNNING:
        running = [arn for arn, status in executions(aws).items() if status in RUNNING]
        stop = "stop_pipeline_execution"
        return [("sagemaker", stop, {"PipelineExecutionArn": arn}) for arn in running]
    if state in RUNNING:
        return [("sagemaker", f"stop_{kind}", own)]
    if kind == "endpoint" and scalable_target(aws):
        calls.append((SCALING, "deregister_scalable_target", requests.scalable(aws.settings)))
    if kind == "model_package_group":
        for arn in packages(aws):
            calls.append(("sagemaker", "delete_model_package", {"ModelPackageName": arn}))
    return [*calls, ("sagemaker", f"delete_{kind}", own)]


def _listed(aws: Aws, kind: str) -> dict[str, Any]:
    """Return by name SageMaker's entries of a kind that may be this project's."""
    found, key = {}, "PipelineNamePrefix" if kind == "pipeline" else "NameContains"
    for part in {aws.settings.prefix, OF_PIPELINES.get(kind, aws.settings.prefix)}:
        for entry in aws.pages("sagemaker", f"list_{kind}s", **{key: part}):
            found[entry[f"{word(kind)}Name"]] = entry
    return found


def _sagemaker(aws: Aws) -> Iterator[Resource]:
    """Yield the tagged resources of SageMaker."""
    for kind in KINDS:
        for name, entry in _listed(aws, kind).items():
            state = str(entry.get(f"{word(kind)}Status", ""))
            if kind == "transform_job" and state not in RUNNING | ENDING:
                continue  # SageMaker keeps its record for good, at no cost
            if not aws.made(entry[f"{word(kind)}Arn"]):
                continue
            if kind == "pipeline":  # it cannot be deleted before they have stopped
                state = min(executions(aws).values(), default="")
            yield Resource(kind.replace("_", " "), name, state, _removal(aws, kind, name, state))


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
    if aws.state_of(own["Bucket"]) in {"ours", "new"}:
        keys = [item["Key"] for item in aws.pages("s3", "list_objects_v2", **own)]
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
    """List what would go, ask unless `yes`, remove it; return whether that was done."""
    found = resources(aws)
    show(found)
    if not found:
        return True
    if not yes and not aws.dry_run:
        try:
            answer = input(f"remove these {len(found)} for good? type the project's name: ")
        except EOFError:  # nobody is there to answer
            answer = ""
        if answer.strip() != aws.settings.name:
            print("note: nothing was removed")
            return False
    for resource in found:
        if resource.kind == "endpoint" and resource.state in BUSY and not aws.dry_run:
            settled(aws)  # SageMaker refuses to delete it now
        for service, operation, parameters in resource.removal:
            aws.change(service, operation, **parameters)
    if any(resource.state in RUNNING | ENDING for resource in found):
        print("note: some are still stopping; run this again to remove what is left of them")
    return True
