"""What deployment says when something is missing, and that --dry-run only says it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.exceptions import S3UploadFailedError
from botocore import exceptions
from moto.sagemaker.responses import SageMakerResponse

from deploy.__main__ import explain
from deploy.aws import named
from deploy.configuration import DeployError, load
from deploy_cloud import Cloud, cloud, printed
from locations import PROJECT

__all__ = ["cloud"]


def client_error(code: str, message: str = "no") -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}}, "CreateEndpoint")


def one_line(output: str) -> str:
    """Return the error, which must be the last line and the only one of its kind."""
    lines = output.strip().splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    assert lines[-1].startswith("error: ")
    return lines[-1]


@pytest.mark.parametrize("command", ["train", "tune", "pipeline"])
def test_without_an_image_the_command_that_pushes_one_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("DEPLOY_VALIDATION", str(cloud.folder / "train"))
    assert "run: python -m deploy push" in one_line(cloud.run(command, status=1))


def test_without_validation_data_nothing_is_tuned(cloud: Cloud) -> None:
    cloud.run("push")
    assert "pass --validation" in one_line(cloud.run("tune", status=1))
    assert cloud.backend().hyper_parameter_tuning_jobs == {}


def test_a_bucket_that_does_not_exist_is_one_line(cloud: Cloud) -> None:
    cloud.run("push")
    line = one_line(cloud.run("train", "--bucket", "no-such-bucket", status=1))
    assert "NoSuchBucket" in line
    assert line.endswith("run: aws s3 ls")


def test_a_bucket_of_others_under_the_own_name_is_neither_tagged_nor_removed(cloud: Cloud) -> None:
    name, client = "demo-123456789012-eu-west-1", cloud.client("s3")
    cloud.run("push")
    place = {"LocationConstraint": "eu-west-1"}
    client.create_bucket(Bucket=name, CreateBucketConfiguration=place)
    client.put_object(Bucket=name, Key="theirs", Body=b"")
    assert f"--bucket {name}" in one_line(cloud.run("train", status=1))
    cloud.run("destroy", "--yes")
    assert client.list_objects_v2(Bucket=name)["KeyCount"] == 1
    client.delete_object(Bucket=name, Key="theirs")  # empty, as a run left it that was cut short
    cloud.run("push")
    cloud.run("train")
    assert client.get_bucket_tagging(Bucket=name)["TagSet"][0] == {
        "Key": "Project",
        "Value": "demo",
    }


def test_an_update_that_alarms_undid_is_an_error(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.run("push")
    cloud.run("train")
    cloud.run("deploy")
    monkeypatch.setattr(SageMakerResponse, "update_endpoint", lambda self: "{}")
    line = one_line(cloud.run("deploy", "--capture-percent", "7", status=1))
    assert "the update was undone" in line


@pytest.mark.parametrize("status", ["Failed", "Deleting"])
def test_an_endpoint_that_failed_or_goes_is_made_anew(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    cloud.run("push")
    cloud.run("train")
    cloud.run("deploy")
    endpoints = cloud.backend().endpoints
    endpoints["demo"].endpoint_status = status

    def delete(_: object) -> str:  # as AWS does, it takes a while
        endpoints["demo"].endpoint_status = "Deleting"
        return "{}"

    monkeypatch.setattr(SageMakerResponse, "delete_endpoint", delete)
    waited = list[object]()  # for moto lets one endpoint be made over another
    monkeypatch.setattr("deploy.hosting.time.sleep", lambda _: waited.append(endpoints.pop("demo")))
    output = cloud.run("deploy")
    assert waited
    assert ("delete-endpoint" in output) is (status == "Failed")
    assert "create-endpoint" in output
    assert endpoints["demo"].endpoint_status == "InService"


def test_no_text_of_a_request_is_longer_than_aws_takes(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_NAME", "n" * 63)
    monkeypatch.setenv("DEPLOY_ROLE", "demo-sagemaker")
    monkeypatch.setenv("DEPLOY_HOSTING_ROLE", "demo-hosting")
    monkeypatch.setenv("DEPLOY_VALIDATION", str(cloud.folder / "train"))
    cloud.run("push")
    for words in (["train"], ["tune"]):  # and the names of the attempts after these
        cloud.run(*words)
    for job in cloud.backend().training_jobs.values():
        assert len(job.training_job_name) == 63
    for job in cloud.backend().hyper_parameter_tuning_jobs.values():
        job.hyper_parameter_tuning_job_status = "Failed"
    checked = set()
    for words in (["tune"], ["train", "--set", "eta=1"], ["deploy"], ["register"], ["pipeline"]):
        for client, name, call in printed(cloud, cloud.run(*words, "--dry-run")):
            shape = client.meta.service_model.operation_model(name).input_shape
            assert list(too_long(shape, call)) == []
            checked.add(name)
    assert {
        "CreateHyperParameterTuningJob",
        "CreateTrainingJob",
        "CreateEndpoint",
    } <= checked


def too_long(shape: Any, value: Any) -> Iterator[str]:
    """Yield the texts of a request that are longer than botocore's description of AWS allows."""
    if shape.type_name == "structure":
        for key, item in value.items():
            yield from too_long(shape.members[key], item)
    elif shape.type_name == "list":
        for item in value:
            yield from too_long(shape.member, item)
    elif shape.type_name == "string" and len(value) > shape.metadata.get("max", len(value)):
        yield value


def test_without_a_role_the_command_that_makes_it_is_whole(cloud: Cloud) -> None:
    cloud.run("push")
    line = one_line(cloud.run("train", "--role", "absent", status=1))
    words = shlex.split(line.partition("run: ")[2])
    template = PROJECT / words[words.index("--template-file") + 1]
    given = [word.partition("=")[0] for word in words[words.index("--parameter-overrides") + 1 :]]
    text = template.read_text()
    assert all(f"\n  {name}:\n" in text for name in given)
    assert "RoleName=absent" in words
    assert cloud.client("s3").list_buckets()["Buckets"] == []  # nothing was begun


def test_without_data_the_command_that_makes_some_is_named(cloud: Cloud) -> None:
    cloud.run("push")
    line = one_line(cloud.run("train", "--data", "nowhere", status=1))
    assert "no data at nowhere; run: make sample" in line


def test_without_a_model_the_command_that_trains_one_is_named(cloud: Cloud) -> None:
    assert "run: python -m deploy train" in one_line(cloud.run("deploy", status=1))
    assert "run: python -m deploy train" in one_line(cloud.run("deploy", "--job", "x", status=1))


def test_without_docker_there_is_one_line(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "no docker on PATH" in one_line(cloud.run("push", status=1))


def test_without_credentials_nothing_is_built(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise exceptions.NoCredentialsError

    monkeypatch.setattr("deploy.aws.Aws.client", refuse)
    assert "aws configure sso" in one_line(cloud.run("push", status=1))
    assert "build" not in [words[0] for words in cloud.docker_calls()]


def test_without_the_local_image_the_command_that_builds_it_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_IMAGE_ID", "")
    assert "no local image x; run: make build" in one_line(
        cloud.run("push", "--local", "x", status=1)
    )


def test_without_credentials_there_is_one_line() -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    more = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "DEPLOY_NAME": "demo"}
    more |= {"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none"}
    words = [sys.executable, "-m", "deploy", "status"]
    done = subprocess.run(words, env=kept | more, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: Unable to locate credentials; run: aws configure sso\n"


def test_a_failed_job_shows_its_reason_and_the_next_attempt_has_another_name(cloud: Cloud) -> None:
    cloud.run("push")
    name = cloud.run("train", "--no-wait").splitlines()[-1].removeprefix("ok: job ")
    jobs = cloud.backend().training_jobs
    job = jobs[name]
    job.training_job_status, job.failure_reason = "InProgress", None
    cloud.run("train", "--no-wait")
    assert len(jobs) == 1
    job.training_job_status, job.failure_reason = "Failed", "UserError: no rows"
    again = cloud.run("train", "--no-wait").splitlines()[-1].removeprefix("ok: job ")
    assert again == f"{name}-2"
    second = jobs[again]
    assert second.checkpoint_config == job.checkpoint_config  # goes on where the first one ended


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (exceptions.NoCredentialsError(), "aws configure sso"),
        (exceptions.ProfileNotFound(profile="x"), "aws configure list-profiles"),
        (exceptions.EndpointConnectionError(endpoint_url="x"), "aws ec2 describe-regions"),
        (exceptions.UnauthorizedSSOTokenError(), "aws sso login"),
        (client_error("ExpiredTokenException"), "aws sso login"),
        (client_error("AccessDeniedException"), "aws sts get-caller-identity"),
        (client_error("403", "Forbidden"), "aws sts get-caller-identity"),
        (client_error("ThrottlingException"), "the same command again"),
        (S3UploadFailedError(f"Failed: {client_error('NoSuchBucket')}"), "aws s3 ls"),
        (client_error("ResourceLimitExceeded"), "aws service-quotas"),
        (client_error("UnrecognizedClientException"), "aws sts get-caller-identity"),
    ],
)
def test_a_failure_of_aws_is_one_line_with_the_command_that_mends_it(
    problem: Exception, words: str
) -> None:
    text = explain(problem)
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"region": ""}, "run: export AWS_REGION="),
        ({"mode": "batch"}, "real-time, serverless, async"),
        ({"tune_jobs": "many"}, "tune_jobs = 'many' is not an integer"),
        ({"spot": "perhaps"}, "spot = 'perhaps' is not true or false"),
        ({"set": ["eta"]}, "--set NAME=VALUE"),
    ],
)
def test_a_bad_setting_is_refused_by_name(flags: dict[str, object], words: str) -> None:
    environ = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "DEPLOY_REGION": "eu-west-1"}
    with pytest.raises(DeployError, match=words.replace("'", ".").replace("[", r"\[")):
        load(flags, environ)


def test_a_flag_wins_over_a_variable_and_that_over_the_table(tmp_path: Path) -> None:
    table = '[tool.deploy]\nregion = "a"\nmax_seconds = 60\nrole = "table"\n'
    (tmp_path / "pyproject.toml").write_text(table)
    environ = {"NUM_CLASSES": "2", "INPUT_FORMAT": "libsvm", "DEPLOY_ROLE": "variable"}
    found = load({"region": "flag"}, environ | {"AWS_REGION": "other"}, tmp_path)
    assert (found.region, found.role, found.max_seconds) == ("flag", "variable", 60)
    assert found.media_type == "text/libsvm"
    assert load({}, environ | {"AWS_REGION": "other"}, tmp_path).region == "other"
    (tmp_path / "pyproject.toml").write_text('[tool.deploy]\nregoin = "a"\n')
    with pytest.raises(DeployError, match="no setting regoin"):
        load({}, environ, tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.deploy.tune]\neta = 0.1\n")
    with pytest.raises(DeployError, match=r"eta = 0.1; write it as \[LOW, HIGH\]"):
        load({"region": "a"}, environ, tmp_path)


def test_the_validation_data_of_the_sample_go_with_the_data_of_the_sample_alone() -> None:
    environ = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "AWS_REGION": "a"}
    assert load({}, environ).validation == "ml/input/data/validation"
    assert load({"data": "s3://bucket/train/"}, environ).validation == ""


def test_dry_run_prints_commands_of_the_aws_cli_and_changes_nothing(cloud: Cloud) -> None:
    cloud.run("push")
    cloud.run("train")
    before = cloud.run("status")
    rows = str(cloud.folder / "train" / "part-1.csv")
    commands = {
        ("train", "--set", "eta=0.5"): "create-training-job",
        ("tune", "--validation", rows): "create-hyper-parameter-tuning-job",
        ("deploy",): "create-endpoint ",
        ("transform", rows): "create-transform-job",
        ("register",): "create-model-package ",
        ("pipeline", "--start"): "start-pipeline-execution",
        ("destroy",): "delete-repository",
    }
    for words, expected in commands.items():
        output = cloud.run(*words, "--dry-run")
        assert expected in output
        if words[0] in {"train", "tune", "deploy", "transform", "pipeline"}:  # they cost
            assert output.index("note: starts ") < output.index(expected)
            assert output.index("note: stop it with: ") < output.index(expected)
        calls = [line for line in output.splitlines() if line.startswith("would run: ")]
        assert all(shlex.split(line)[2] in ("aws", "docker") for line in calls)
        assert "\nrun: " not in output
    assert cloud.run("status") == before


def test_names_keep_their_fingerprint_within_63_characters() -> None:
    assert named("a" * 63, "0123456789", 2) == "a" * 50 + "-0123456789-2"
    assert named("demo", "0123456789") == "demo-0123456789"
