"""Calls of AWS: reading ones are made; changing ones are announced, and made unless --dry-run."""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

from deploy import requests
from deploy.configuration import Configuration, DeployError
from deploy.requests import Document

ABSENT = {"RepositoryNotFoundException", "ImageNotFoundException", "NoSuchBucket", "NoSuchTagSet"}
ABSENT |= {"404", "NoSuchEntity", "ResourceNotFound", "ResourceNotFoundException"}
BUSY = {"InProgress", "Stopping", "Creating", "Updating", "SystemUpdating"}
BUSY |= {"RollingBack", "Pending"}
VERSION = boto3.__version__
UPGRADE = "pip install --upgrade boto3"


def fingerprint(content: Any) -> str:
    """Return ten characters that stand for `content`, so that a name repeats with its content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def named(name: str, *parts: object, limit: int = 63) -> str:
    """Join `name` and `parts` to at most `limit` characters, keeping the parts."""
    tail = "".join(f"-{part}" for part in parts)
    return name[: limit - len(tail)].rstrip("-") + tail


def word(kind: str) -> str:
    """Return how SageMaker's fields call a kind: of "training_job", "TrainingJob"."""
    return kind.title().replace("_", "")


class Aws:
    """The AWS account as one configuration sees it."""

    def __init__(self, settings: Configuration, *, dry_run: bool = False, poll: float = 10) -> None:
        self.settings, self.dry_run, self.poll = settings, dry_run, poll
        self._session = boto3.Session(region_name=settings.region)
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return the boto3 client of `service`, made once, patient with throttling."""
        if service not in self._clients:
            patient = Config(retries={"mode": "standard", "max_attempts": 6}, read_timeout=70)
            self._clients[service] = self._session.client(service, config=patient)
        return self._clients[service]

    def read(self, service: str, operation: str, **parameters: Any) -> Document:
        """Make a call that changes nothing, under --dry-run too."""
        answer: Document = getattr(self.client(service), operation)(**parameters)
        return answer

    def find(self, service: str, operation: str, **parameters: Any) -> Document | None:
        """Make a reading call; None when what it asks for does not exist."""
        try:
            return self.read(service, operation, **parameters)
        except exceptions.ClientError as problem:
            code, text = problem.response["Error"]["Code"], str(problem).lower()
            gone = any(words in text for words in ("could not find", "does not exist", "not found"))
            if code in ABSENT or (code == "ValidationException" and gone):
                return None
            raise

    def pages(self, service: str, operation: str, **parameters: Any) -> Iterator[Any]:
        """Yield every item of all pages of a listing call."""
        pages = self.client(service).get_paginator(operation).paginate(**parameters)
        for page in pages:
            yield from pages.result_keys[0].search(page) or []

    def change(self, service: str, operation: str, **parameters: Any) -> Document:
        """Announce a changing call as a command line of the AWS CLI, and make it."""
        program = {"s3": "s3api"}.get(service, service)
        text = json.dumps(parameters, default=str)
        self.announce("aws", program, operation.replace("_", "-"), "--cli-input-json", text)
        return {} if self.dry_run else self.read(service, operation, **parameters)

    def ensure(self, kind: str, request: Document, name: str = "") -> str:
        """Return the name of a tagged resource, by its content if not given; make it if absent."""
        name = name or named(self.settings.name, fingerprint(request))
        own = {f"{word(kind)}Name": name}
        if not self.find("sagemaker", f"describe_{kind}", **own):
            self.change("sagemaker", f"create_{kind}", **own, **request, Tags=self.settings.tags)
        return name

    def announce(self, *words: str) -> None:
        """Print a changing command: whole under --dry-run, in short when it is about to run."""
        line = shlex.join(words)
        short = line if len(line) < 140 else line[:137] + "..."
        print(f"would run: {line}" if self.dry_run else f"run: {short}", flush=True)

    def upload(self, path: Path, bucket: str, key: str) -> str:
        """Put a file at s3://bucket/key unless it is there; return that address.

        `key` must hold the content's fingerprint: then the same key means the same content.
        """
        if not self.find("s3", "head_object", Bucket=bucket, Key=key):
            self.announce("aws", "s3", "cp", str(path), f"s3://{bucket}/{key}")
            if not self.dry_run:
                self.client("s3").upload_file(str(path), bucket, key)
        return f"s3://{bucket}/{key}"

    def wait(self, describe: Callable[[], Document], status: str) -> Document:
        """Call `describe` until its `status` is final, printing each change; return the last."""
        shown = ""
        while True:
            answer = describe()
            text = f"{answer[status]} {answer.get('SecondaryStatus', '')}".strip()
            if text != shown:
                print(f"status: {text}", flush=True)
            shown = text
            if answer[status] not in BUSY:
                return answer
            time.sleep(self.poll)

    def shape(self, service: str, operation: str, *path: str) -> Any:
        """Return botocore's description of a request's member; None when this version has none."""
        model = self.client(service).meta.service_model
        found = model.operation_model(operation).input_shape
        for name in path:
            found = found.member if found.type_name == "list" else found
            if name not in getattr(found, "members", {}):
                return None
            found = found.members[name]
        return found

    def known(self, operation: str, request: Document, *path: str) -> Document:
        """Return the request; without its member at `path`, noted, where botocore has none."""
        if self.shape("sagemaker", operation, *path) is not None:
            return request
        print(f"note: boto3 {VERSION} does not know {path[-1]}: left out; run: {UPGRADE}")
        pruned = copy.deepcopy(request)
        parent = pruned
        for name in path[:-1]:
            parent = parent.get(name, {})
        parent.pop(path[-1], None)
        return pruned

    def role(self, *, hosting: bool = False) -> str:
        """Return the ARN of the role of jobs, or of `hosting`."""
        settings = self.settings
        chosen = settings.hosting_role if hosting else settings.role
        name = chosen or named(settings.name, "hosting" if hosting else "sagemaker")
        if name.startswith("arn:"):
            return name
        if found := self.find("iam", "get_role", RoleName=name):
            return str(found["Role"]["Arn"])
        names = {
            "RoleName": settings.role or named(settings.name, "sagemaker"),
            "HostingRoleName": settings.hosting_role or named(settings.name, "hosting"),
        }
        own = [f"{key}={value}" for key, value in names.items() if not value.startswith("arn:")]
        raise DeployError(
            f"no role {name}; run: aws cloudformation deploy --template-file deploy/roles.yaml"
            f" --stack-name {settings.name}-roles --capabilities CAPABILITY_NAMED_IAM"
            f" --region {settings.region} --parameter-overrides Project={settings.name}"
            f" {' '.join([*own, f'Bucket={settings.bucket or self.own_bucket()}'])}"
        )

    def own_bucket(self) -> str:
        """Return the name of the bucket that this project makes for itself."""
        account = self.read("sts", "get_caller_identity")["Account"]
        return named(self.settings.name, account, self.settings.region)

    def bucket(self) -> str:
        """Return the bucket's name; the project's own is made, closed to the public, and tagged.

        Raises DeployError for a bucket that others made: with our tags, destroy would take it.
        """
        if self.settings.bucket:
            return self.settings.bucket
        name, region = self.own_bucket(), self.settings.region
        state = self.state_of(name)
        if state == "foreign":
            raise DeployError(
                f"bucket {name} has not this project's tags; to use it: --bucket {name}"
            )
        if state == "absent":
            self.change("s3", "create_bucket", **requests.bucket(name, region))
        if state != "ours":
            self.change("s3", "put_public_access_block", **requests.bucket_access(name))
            tags = requests.bucket_tags(self.settings, name)
            self.change("s3", "put_bucket_tagging", **tags)
        return name

    def state_of(self, bucket: str) -> str:
        """Return "absent", "ours", "foreign" or "new": empty, left by a run that was cut short."""
        if not self.find("s3", "head_bucket", Bucket=bucket):
            return "absent"
        if tagged := self.find("s3", "get_bucket_tagging", Bucket=bucket):
            return "ours" if self.ours(tagged["TagSet"]) else "foreign"
        return "foreign" if any(self.pages("s3", "list_objects_v2", Bucket=bucket)) else "new"

    def made(self, arn: str) -> bool:
        """Return whether a resource of SageMaker is this project's, by its tags."""
        return self.ours(list(self.pages("sagemaker", "list_tags", ResourceArn=arn)))

    def ours(self, tags: list[dict[str, str]]) -> bool:
        """Return whether `tags` hold all of this project's."""
        return all(tag in tags for tag in self.settings.tags)
