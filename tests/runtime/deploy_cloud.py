"""A stand-in for AWS: moto's server, with the calls of SageMaker that moto has not, and a docker.

The server is real HTTP, so boto3 checks and serialises every request as it does for AWS.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import stat
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.responses import SageMakerResponse
from moto.server import ThreadedMotoServer

from deploy.__main__ import main

# A shell alone takes milliseconds; only what is pushed must be told to ECR. Words are parted by the
# character 31 and calls by lines, and the path of this Python may hold a space.
DOCKER = f"""#!/bin/sh
printf '%s\\037' "$@" >>"$DOCKER_LOG"
echo >>"$DOCKER_LOG"
case "$1 $2" in
"info ") echo ' Architecture: x86_64' ;;
"info "*) echo ok ;;
"image inspect")
    [ -z "$DOCKER_IMAGE_ID" ] && echo '[]' && exit 1
    echo '[{{"Id": "'"$DOCKER_IMAGE_ID"'"}}]' ;;
"login "*) [ -n "$(cat)" ] ;;
"push "*) exec {shlex.quote(sys.executable)} -S "$(dirname "$0")/push.py" "$2" ;;
"buildx version") [ -n "$DOCKER_BUILDX" ] && echo github.com/docker/buildx ;;
"buildx "*) [ -n "$DOCKER_BUILDX" ] ;;
esac
"""
PUSH = """
import hashlib, json, os, sys, urllib.request
name, tag = sys.argv[1].rpartition("/")[2].split(":")
media = "application/vnd.docker.distribution.manifest.v2+json"
manifest = dict(schemaVersion=2, mediaType=media, config=dict(digest=tag), layers=[])
digest = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
image = dict(repositoryName=name, imageManifest=json.dumps(manifest))
image |= dict(imageTag=tag, imageDigest=digest)
headers = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.PutImage",
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-1/ecr/aws4_request",
}
url, body = os.environ["AWS_ENDPOINT_URL"], json.dumps(image).encode()
urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
"""


def _body(self: Any, *keys: str) -> list[Any]:
    document = json.loads(self.body)
    return [document[key] for key in keys]


def update_endpoint(self: Any) -> str:
    name, config = _body(self, "EndpointName", "EndpointConfigName")
    endpoint = self.sagemaker_backend.endpoints[name]
    assert config in self.sagemaker_backend.endpoint_configs
    endpoint.endpoint_config_name = config
    endpoint.updates = [*getattr(endpoint, "updates", []), json.loads(self.body)]
    return json.dumps({"EndpointArn": endpoint.arn})


def _stop(store: str, word: str) -> Any:
    def stop(self: Any) -> str:
        (name,) = _body(self, f"{word}Name")
        job, field = getattr(self.sagemaker_backend, store)[name], f"{store[:-1]}_status"
        assert getattr(job, field) == "InProgress", "refused, as AWS does"
        setattr(job, field, "Stopping")
        return "{}"

    return stop


def stop_pipeline_execution(self: Any) -> str:
    (arn,) = _body(self, "PipelineExecutionArn")
    pipelines = self.sagemaker_backend.pipelines.values()
    (found,) = [p.pipeline_executions[arn] for p in pipelines if arn in p.pipeline_executions]
    assert found.pipeline_execution_status == "Executing", "refused, as AWS does"
    found.pipeline_execution_status = "Stopping"
    return json.dumps({"PipelineExecutionArn": arn})


def _delete(store: str, key: str) -> Any:
    def delete(self: Any) -> str:
        (name,) = _body(self, key)
        del getattr(self.sagemaker_backend, store)[name]
        return "{}"

    return delete


def delete_model_package(self: Any) -> str:
    (arn,) = _body(self, "ModelPackageName")
    backend = self.sagemaker_backend
    name = backend.model_package_name_mapping.get(arn, arn)
    del backend.model_packages[name]
    return "{}"


def delete_model_package_group(self: Any) -> str:
    (name,) = _body(self, "ModelPackageGroupName")
    left = self.sagemaker_backend.model_packages.values()
    assert not [p for p in left if p.model_package_group_name == name], "not empty, as AWS says"
    del self.sagemaker_backend.model_package_groups[name]
    return "{}"


# What moto 5.2 lacks of SageMaker and this project calls.
GAPS = {
    "update_endpoint": update_endpoint,
    "stop_training_job": _stop("training_jobs", "TrainingJob"),
    "stop_transform_job": _stop("transform_jobs", "TransformJob"),
    "stop_hyper_parameter_tuning_job": _stop(
        "hyper_parameter_tuning_jobs", "HyperParameterTuningJob"
    ),
    "stop_pipeline_execution": stop_pipeline_execution,
    "delete_training_job": _delete("training_jobs", "TrainingJobName"),
    "delete_processing_job": _delete("processing_jobs", "ProcessingJobName"),
    "delete_model_package": delete_model_package,
    "delete_model_package_group": delete_model_package_group,
}


class Cloud:
    """The stand-in's handle: run commands, look at state."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.path = folder, capsys, os.environ["PATH"]

    def client(self, service: str) -> Any:
        """Return a boto3 client of the stand-in."""
        return started()[1].client(service)

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command, expect its exit status, and return what it printed."""
        self.capsys.readouterr()
        code = main([*words, "--poll", "0"])
        captured = self.capsys.readouterr()
        assert code == status, captured.out + captured.err
        return captured.out + captured.err

    def backend(self) -> Any:
        """Return moto's SageMaker: its state can be set to what AWS would show meanwhile."""
        return sagemaker_backends["123456789012"]["eu-west-1"]

    def docker_calls(self) -> list[list[str]]:
        """Return every call of docker so far."""
        log = self.folder / "docker.log"
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        return [line.split("\x1f")[:-1] for line in lines]


def printed(cloud: Cloud, output: str) -> list[tuple[Any, str, dict[str, Any]]]:
    """Return client, operation and parameters of each call that --dry-run printed, as valid as
    botocore's description of AWS finds them.
    """
    calls = []
    for line in output.splitlines():
        words = shlex.split(line.removeprefix("would run: ")) if line[:9] == "would run" else []
        if words[3:4] == ["--cli-input-json"]:
            client = cloud.client({"s3api": "s3"}.get(words[1], words[1]))
            name = client.meta.method_to_api_mapping[words[2].replace("-", "_")]
            operation, call = client.meta.service_model.operation_model(name), json.loads(words[4])
            full = dict.fromkeys(operation.idempotent_members, "x" * 36) | call  # as boto3 and CLI
            report = ParamValidator().validate(full, operation.input_shape).generate_report()
            assert report == "", report
            calls.append((client, name, call))
    return calls


class Session(boto3.Session):
    """A session that makes each client once: botocore takes a tenth of a second for one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._made: dict[tuple[str, str], Any] = {}

    def client(self, service: str, config: Config | None = None) -> Any:  # type: ignore[override]
        """Return the client of `service`; configurations that say the same are the same."""
        key = (service, repr(sorted(vars(config).items())) if config else "")
        if key not in self._made:
            self._made[key] = super().client(service, config=config)
        return self._made[key]


@functools.cache
def started() -> tuple[str, Session]:
    """Start moto's server, and return its address and a session."""
    for name, method in GAPS.items():
        if not hasattr(SageMakerResponse, name):  # a later moto may have it
            setattr(SageMakerResponse, name, method)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}", Session(region_name="eu-west-1")


@pytest.fixture
def cloud(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cloud:
    """An empty AWS account with a role, a docker, and data to train on."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEPLOY_"))]:
        monkeypatch.delenv(name)
    variables = {
        "AWS_ENDPOINT_URL": started()[0],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "DEPLOY_NAME": "demo",
        "DEPLOY_DATA": str(tmp_path / "train"),
        "DEPLOY_VALIDATION": "",
        "DOCKER_LOG": str(tmp_path / "docker.log"),
        "DOCKER_IMAGE_ID": "sha256:" + "12" * 32,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    found = Cloud(tmp_path, capsys)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shared = SimpleNamespace(Session=lambda region_name: started()[1])
    monkeypatch.setattr("deploy.aws.boto3", shared)
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "push.py").write_text(PUSH)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part-1.csv").write_text("1,0.5,2\n0,1.5,3\n")
    reset = urllib.request.Request(f"{started()[0]}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    for name in ("demo-sagemaker", "demo-hosting"):
        found.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    return found
