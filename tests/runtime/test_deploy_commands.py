"""Every command against a stand-in for AWS, each twice; and what destroy leaves behind."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from moto.s3.models import s3_backends

from deploy.inventory import KINDS
from deploy_cloud import Cloud, cloud

__all__ = ["cloud"]
BUCKET = "demo-123456789012-eu-west-1"
TAGS = [{"Key": "Project", "Value": "demo"}, {"Key": "ManagedBy", "Value": "deploy"}]


def changes(output: str) -> list[str]:
    """Return the changing calls that a command printed."""
    return [line for line in output.splitlines() if line.startswith("run: ")]


def twice(cloud: Cloud, *words: str) -> str:
    """Run a command twice; the second run must change nothing. Return the first one's output."""
    first = cloud.run(*words)
    second = cloud.run(*words)
    assert changes(first), first
    assert changes(second) == [], second
    return first


def pushed(cloud: Cloud) -> str:
    """Push the image and return its URI."""
    return cloud.run("push").splitlines()[-1].removeprefix("ok: image ")


def trained(cloud: Cloud) -> str:
    """Push and train; return the job's name."""
    pushed(cloud)
    return cloud.run("train").splitlines()[-1].removeprefix("ok: job ")


def scaling(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the scalable targets."""
    client = cloud.client("application-autoscaling")
    return list(client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"])


def test_push_makes_a_repository_with_scanning_and_immutable_tags_and_gives_the_digest(
    cloud: Cloud,
) -> None:
    output = cloud.run("push")
    found = cloud.client("ecr").describe_repositories()["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert (
        cloud.client("ecr").list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        == TAGS
    )
    image = cloud.client("ecr").describe_images(repositoryName="demo")["imageDetails"][0]
    assert output.splitlines()[-1] == f"ok: image {found['repositoryUri']}@{image['imageDigest']}"
    build = next(words for words in cloud.docker_calls() if words[0] == "build")
    assert build[1:3] == ["--platform", "linux/amd64"]


def test_push_of_the_same_image_pushes_once(cloud: Cloud) -> None:
    first, second = pushed(cloud), pushed(cloud)
    assert first == second
    assert [words[0] for words in cloud.docker_calls()].count("push") == 1


def test_push_of_a_local_image_builds_nothing(cloud: Cloud) -> None:
    cloud.run("push", "--local", "other:1")
    calls = [words[:2] for words in cloud.docker_calls()]
    assert ["tag", "other:1"] in calls
    assert "build" not in [words[0] for words in calls]


def test_push_of_another_image_keeps_the_first(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pushed(cloud)
    monkeypatch.setenv("DOCKER_IMAGE_ID", "sha256:" + "34" * 32)
    assert pushed(cloud) != first
    assert len(cloud.client("ecr").describe_images(repositoryName="demo")["imageDetails"]) == 2


def test_train_uploads_and_starts_one_tagged_spot_job_with_checkpoints(cloud: Cloud) -> None:
    image = pushed(cloud)
    output = twice(cloud, "train", "--set", "max_depth=4")
    client = cloud.client("sagemaker")
    (job,) = client.list_training_jobs()["TrainingJobSummaries"]
    found = client.describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert found["AlgorithmSpecification"]["TrainingImage"] == image
    assert found["HyperParameters"] == {"num_round": "100", "max_depth": "4"}
    assert found["EnableManagedSpotTraining"] is True
    assert found["StoppingCondition"]["MaxWaitTimeInSeconds"] == 7200
    assert found["CheckpointConfig"]["S3Uri"].startswith(f"s3://{BUCKET}/checkpoints/demo-")
    assert found["RoleArn"].endswith(":role/demo-sagemaker")
    (channel,) = found["InputDataConfig"]
    key = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    body = cloud.client("s3").get_object(Bucket=BUCKET, Key=key + "part-1.csv")["Body"].read()
    assert body == (cloud.folder / "train" / "part-1.csv").read_bytes()
    assert client.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == TAGS
    assert "note: starts 1 training job(s), each 1 x ml.m5.xlarge (spot)" in output
    assert f"aws sagemaker stop-training-job --training-job-name {job['TrainingJobName']}" in output


def test_train_on_demand_has_no_wait_time_and_no_checkpoints(cloud: Cloud) -> None:
    pushed(cloud)
    name = cloud.run("train", "--no-spot").splitlines()[-1].removeprefix("ok: job ")
    found = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert "MaxWaitTimeInSeconds" not in found["StoppingCondition"]
    assert "CheckpointConfig" not in found


def test_train_on_several_instances_shares_the_training_files_out(cloud: Cloud) -> None:
    pushed(cloud)
    words = ("--instance-count", "2", "--validation", str(cloud.folder / "train"))
    name = cloud.run("train", *words).splitlines()[-1].removeprefix("ok: job ")
    found = cloud.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3DataDistributionType"]
        for channel in found["InputDataConfig"]
    } == {"train": "ShardedByS3Key", "validation": "FullyReplicated"}


def test_train_again_with_other_data_is_another_job(cloud: Cloud) -> None:
    first = trained(cloud)
    (cloud.folder / "train" / "part-1.csv").write_text("1,0.5,2\n0,1.5,4\n")
    assert trained(cloud) != first


def test_train_prints_the_log_once(cloud: Cloud) -> None:
    pushed(cloud)
    name = cloud.run("train", "--no-wait").splitlines()[-1].removeprefix("ok: job ")
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    stream = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": f"{name}/algo-1"}
    logs.create_log_stream(**stream)
    import time

    event = {"timestamp": int(time.time() * 1000), "message": "[0]#011train-rmse:0.5"}
    logs.put_log_events(**stream, logEvents=[event])
    assert cloud.run("train").count("[0]\ttrain-rmse:0.5") == 1


def test_the_log_lines_of_training_match_the_metric_definitions() -> None:
    import re

    from deploy.jobs import METRICS

    found = {entry["Name"]: entry["Regex"] for entry in METRICS}
    line = "2026-01-01 [12]#011train-rmse:0.51000#011validation-rmse:0.62000"
    assert re.match(found["validation:rmse"], line)[1] == "0.62000"  # type: ignore[index]
    assert re.match(found["validation:mae"], line) is None
    assert len(found) <= 40  # AWS's limit


def test_tune_searches_the_ranges_of_pyproject(cloud: Cloud) -> None:
    pushed(cloud)
    data = str(cloud.folder / "train")
    output = twice(cloud, "tune", "--tune-metric", "validation:auc", "--validation", data)
    assert "note: starts 10 training job(s), each 1 x ml.m5.xlarge (spot) for at most 3600 s" in (
        output
    )
    assert "deploy --job FakeTrainingJobName" in output
    client = cloud.client("sagemaker")
    (job,) = client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    found = client.describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=job["HyperParameterTuningJobName"]
    )
    config = found["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]
    assert objective == {"Type": "Maximize", "MetricName": "validation:auc"}
    assert config["ParameterRanges"]["IntegerParameterRanges"][0]["Name"] == "max_depth"
    assert config["ParameterRanges"]["ContinuousParameterRanges"][0]["MaxValue"] == "0.5"


@pytest.mark.parametrize("metric", ["precision", "f1_binary", "map", "r2", "error", "mse"])
def test_tune_optimises_each_metric_in_its_own_direction(cloud: Cloud, metric: str) -> None:
    pushed(cloud)
    data = str(cloud.folder / "train")
    cloud.run("tune", "--tune-metric", f"validation:{metric}", "--validation", data)
    client = cloud.client("sagemaker")
    (job,) = client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"]
    name = job["HyperParameterTuningJobName"]
    found = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    objective = found["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    direction = "Minimize" if metric in {"error", "mse"} else "Maximize"
    assert objective == {"Type": direction, "MetricName": f"validation:{metric}"}


def test_tune_refuses_a_metric_that_no_log_line_defines(cloud: Cloud) -> None:
    pushed(cloud)
    data = str(cloud.folder / "train")
    text = cloud.run("tune", "--tune-metric", "validation:acc", "--validation", data, status=1)
    assert "'validation:acc' is not in metric_definitions.json" in text


def test_deploy_makes_an_isolated_tagged_scaled_endpoint_of_the_newest_job(cloud: Cloud) -> None:
    job = trained(cloud)
    output = twice(cloud, "deploy", "--capture-percent", "5")
    client = cloud.client("sagemaker")
    endpoint = client.describe_endpoint(EndpointName="demo")
    config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 5
    model = client.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    url = f"s3://{BUCKET}/output/{job}/output/model.tar.gz"
    assert model["PrimaryContainer"]["ModelDataUrl"] == url
    for arn in (endpoint["EndpointArn"], config["EndpointConfigArn"], model["ModelArn"]):
        assert client.list_tags(ResourceArn=arn)["Tags"] == TAGS
    (target,) = scaling(cloud)
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    assert "billed until it is deleted" in output


def test_deploy_does_not_take_the_newer_job_of_a_project_whose_name_begins_alike(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trained(cloud)
    monkeypatch.setenv("DEPLOY_NAME", "demo-two")
    monkeypatch.setenv("DEPLOY_ROLE", "demo-sagemaker")
    monkeypatch.setenv("DEPLOY_HOSTING_ROLE", "demo-hosting")
    assert trained(cloud).startswith("demo-two-")
    monkeypatch.setenv("DEPLOY_NAME", "demo")
    assert f"/{job}/" in cloud.run("deploy", "--dry-run")


def test_deploy_passes_over_the_trials_of_a_tuning_job(cloud: Cloud) -> None:
    first = trained(cloud)
    (cloud.folder / "train" / "part-1.csv").write_text("1,0.5,2\n0,1.5,4\n")
    second = trained(cloud)
    cloud.backend().training_jobs[second].tuning_job_arn = "arn:aws:sagemaker:eu-west-1:1:x/y"
    assert f"/{first}/" in cloud.run("deploy", "--dry-run")
    assert f"/{second}/" in cloud.run("deploy", "--dry-run", "--job", second)


def test_deploy_of_a_new_model_updates_the_endpoint_blue_green(cloud: Cloud) -> None:
    trained(cloud)
    cloud.run("deploy")
    before = cloud.client("sagemaker").describe_endpoint(EndpointName="demo")["EndpointConfigName"]
    (cloud.folder / "train" / "part-1.csv").write_text("1,0.5,2\n0,1.5,4\n")
    job = trained(cloud)
    assert f"/{job}/" in cloud.run("deploy", "--dry-run")
    output = twice(cloud, "deploy", "--endpoint-count", "2", "--rollback-alarms", "demo-5xx")
    after = cloud.client("sagemaker").describe_endpoint(EndpointName="demo")["EndpointConfigName"]
    assert after != before
    assert "update-endpoint" in output
    assert "create-endpoint " not in output
    (update,) = cloud.backend().endpoints["demo"].updates
    policy = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert policy["CanarySize"] == {"Type": "INSTANCE_COUNT", "Value": 1}
    alarms = update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert alarms == [{"AlarmName": "demo-5xx"}]


def test_a_serverless_endpoint_has_neither_scaling_nor_isolation(cloud: Cloud) -> None:
    trained(cloud)
    cloud.run("deploy")
    assert scaling(cloud)
    twice(cloud, "deploy", "--mode", "serverless", "--memory-mb", "3072")
    assert scaling(cloud) == []
    client = cloud.client("sagemaker")
    name = client.describe_endpoint(EndpointName="demo")["EndpointConfigName"]
    variant = client.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 5}
    assert not client.describe_model(ModelName=variant["ModelName"])["EnableNetworkIsolation"]


def test_an_asynchronous_endpoint_scales_on_its_backlog(cloud: Cloud) -> None:
    trained(cloud)
    twice(cloud, "deploy", "--mode", "async")
    client = cloud.client("application-autoscaling")
    (policy,) = client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    metric = policy["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    assert metric["MetricName"] == "ApproximateBacklogSizePerInstance"


def test_invoke_posts_a_file_and_prints_the_answer(cloud: Cloud, tmp_path: Path) -> None:
    trained(cloud)
    cloud.run("deploy")
    payload = tmp_path / "rows.csv"
    payload.write_text("0.5,2\n")
    assert cloud.run("invoke", str(payload), "--accept", "text/csv") == "body"  # as moto answers
    output = cloud.run("invoke", str(payload), "--mode", "async")
    assert output.splitlines()[-1].startswith("s3://")
    for mode in ("real-time", "async"):
        output = cloud.run("invoke", str(payload), "--mode", mode, "--dry-run")
        assert output.startswith("would run: aws sagemaker-runtime invoke-endpoint")
        assert len(output.splitlines()) == 1


def test_transform_predicts_a_folder_with_the_newest_model(cloud: Cloud) -> None:
    trained(cloud)
    rows = cloud.folder / "rows.csv"
    rows.write_text("0.5,2\n")
    output = twice(cloud, "transform", str(rows), "--media-type", "text/csv")
    client = cloud.client("sagemaker")
    (job,) = client.list_transform_jobs()["TransformJobSummaries"]
    found = client.describe_transform_job(TransformJobName=job["TransformJobName"])
    assert found["TransformInput"]["SplitType"] == "Line"
    assert found["BatchStrategy"] == "MultiRecord"
    assert found["TransformOutput"]["S3OutputPath"] in output
    assert "note: starts 1 transform job on 1 x ml.m5.xlarge" in output
    assert "note: stop it with: aws sagemaker stop-transform-job --transform-job-name" in output


def test_register_makes_one_version_that_waits_for_approval(cloud: Cloud) -> None:
    job = trained(cloud)
    twice(cloud, "register", "--evaluation", f"s3://{BUCKET}/evaluation.json")
    client = cloud.client("sagemaker")
    (package,) = client.list_model_packages(ModelPackageGroupName="demo")["ModelPackageSummaryList"]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    found = client.describe_model_package(ModelPackageName=package["ModelPackageArn"])
    assert found["CustomerMetadataProperties"]["TrainingJobName"] == job
    assert found["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].endswith("evaluation.json")


def test_pipeline_is_made_once_and_updated_when_its_settings_change(cloud: Cloud) -> None:
    pushed(cloud)
    twice(cloud, "pipeline")
    output = twice(cloud, "pipeline", "--set", "eta=0.2")
    assert "update-pipeline" in output
    text = cloud.client("sagemaker").describe_pipeline(PipelineName="demo")["PipelineDefinition"]
    train = next(step for step in json.loads(text)["Steps"] if step["Name"] == "Train")
    assert train["Arguments"]["HyperParameters"] == {"num_round": "100", "eta": "0.2"}


def test_a_pipeline_that_runs_is_not_started_again_and_destroy_stops_it(cloud: Cloud) -> None:
    pushed(cloud)
    assert "start-pipeline-execution" in cloud.run("pipeline", "--start")
    (execution,) = cloud.backend().pipelines["demo"].pipeline_executions.values()
    execution.pipeline_execution_status = "Executing"
    assert "ok: runs already" in cloud.run("pipeline", "--start")
    output = cloud.run("destroy", "--yes")  # AWS refuses to delete a pipeline that runs
    assert "stop-pipeline-execution" in output
    assert "delete-pipeline" not in output
    assert execution.pipeline_execution_status == "Stopping"
    assert "pipeline             demo  Stopping" in cloud.run("status")
    assert "run this again" in cloud.run("destroy", "--yes")
    execution.pipeline_execution_status = "Stopped"
    assert "delete-pipeline" in cloud.run("destroy", "--yes")
    assert cloud.run("status") == "nothing\n"


def everything(cloud: Cloud) -> None:
    """Make one of each thing that this program can make, and what a pipeline makes by itself."""
    trained(cloud)
    rows = cloud.folder / "rows.csv"
    rows.write_text("0.5,2\n")
    tune = ["tune", "--validation", str(rows)]
    for words in (tune, ["deploy"], ["register"], ["transform", str(rows)]):
        cloud.run(*words)
    cloud.run("pipeline", "--start")
    steps = json.loads(cloud.backend().pipelines["demo"].pipeline_definition)["Steps"]
    role = "arn:aws:iam::123456789012:role/demo-sagemaker"
    processing = {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "x", "VolumeSizeInGB": 1}}
    cloud.client("sagemaker").create_processing_job(
        ProcessingJobName="pipelines-0-Preprocess-1",
        RoleArn=role,
        AppSpecification={"ImageUri": "image"},
        ProcessingResources=processing,
        Tags=steps[0]["Arguments"]["Tags"],
    )
    cloud.client("sagemaker").create_training_job(
        TrainingJobName="pipelines-0-Train-2",
        RoleArn=role,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        OutputDataConfig={"S3OutputPath": "s3://bucket/"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 1},
        Tags=steps[1]["Arguments"]["Tags"],
    )


def test_destroy_leaves_nothing_that_is_tagged(cloud: Cloud) -> None:
    everything(cloud)
    listed = cloud.run("status")
    kinds = [*KINDS[:3], *KINDS[4:], "image repository", "bucket"]  # no record of a transform job
    assert {kind.replace("_", " ") for kind in kinds} == {
        line[:20].rstrip() if line[20] == " " else line.split("  ")[0].rpartition(" ")[0]
        for line in listed.splitlines()
    }
    assert changes(cloud.run("destroy", "--yes"))
    assert cloud.run("status") == "nothing\n"
    assert cloud.run("destroy", "--yes") == "nothing\n"
    client = cloud.client("sagemaker")
    for kind in set(KINDS) - {"transform_job"}:
        answer = getattr(client, f"list_{kind}s")()
        assert [value for value in answer.values() if isinstance(value, list) and value] == []
    assert cloud.client("s3").list_buckets()["Buckets"] == []
    assert cloud.client("ecr").describe_repositories()["repositories"] == []
    assert scaling(cloud) == []


def test_destroy_spares_what_others_made_under_the_same_name(cloud: Cloud) -> None:
    everything(cloud)
    client = cloud.client("sagemaker")
    container = {"Image": "image", "ModelDataUrl": "s3://bucket/model.tar.gz"}
    other = "arn:aws:iam::123456789012:role/other"
    client.create_model(
        ModelName="demo-by-hand", PrimaryContainer=container, ExecutionRoleArn=other
    )
    cloud.client("s3").create_bucket(
        Bucket="demo-data", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    cloud.run("destroy", "--yes")
    assert [model["ModelName"] for model in client.list_models()["Models"]] == ["demo-by-hand"]
    assert [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]] == [
        "demo-data"
    ]


@pytest.mark.parametrize(("answer", "left"), [("yes", True), ("", True), ("demo", False)])
def test_destroy_asks_for_the_name_of_the_project(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, answer: str, left: bool
) -> None:
    pushed(cloud)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    output = cloud.run("destroy", status=1 if left else 0)
    assert "image repository     demo" in output
    assert bool(cloud.client("ecr").describe_repositories()["repositories"]) is left


def test_destroy_without_anybody_to_ask_removes_nothing(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(cloud)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "note: nothing was removed" in cloud.run("destroy", status=1)
    assert cloud.client("ecr").describe_repositories()["repositories"]


def test_destroy_stops_jobs_that_run_and_removes_them_when_they_have_stopped(
    cloud: Cloud,
) -> None:
    everything(cloud)
    backend = cloud.backend()
    kinds = ("hyper_parameter_tuning_job", "training_job", "transform_job")
    jobs = [(kind, job) for kind in kinds for job in getattr(backend, f"{kind}s").values()]
    for kind, job in jobs:
        setattr(job, f"{kind}_status", "InProgress")
    assert "run this again" in cloud.run("destroy", "--yes")
    assert {getattr(job, f"{kind}_status") for kind, job in jobs} == {"Stopping"}
    assert "run this again" in cloud.run("destroy", "--yes")
    for kind, job in jobs:
        setattr(job, f"{kind}_status", "Stopped")
    cloud.run("destroy", "--yes")
    assert cloud.run("status") == "nothing\n"


def test_destroy_waits_for_an_endpoint_that_changes(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(cloud)
    cloud.run("deploy")
    endpoint = cloud.backend().endpoints["demo"]
    endpoint.endpoint_status = "Updating"

    def sleep(_: float) -> None:
        endpoint.endpoint_status = "InService"

    monkeypatch.setattr("deploy.aws.time.sleep", sleep)
    output = cloud.run("destroy", "--yes")
    assert output.index("status: InService") < output.index("delete-endpoint")


def test_destroy_empties_a_bucket_of_more_objects_than_one_call_takes(cloud: Cloud) -> None:
    pushed(cloud)
    cloud.run("train")
    store = s3_backends["123456789012"]["aws"]
    for number in range(1001):
        store.put_object(BUCKET, f"output/{number}", b"")
    calls = [shlex.split(line) for line in cloud.run("destroy", "--dry-run").splitlines()]
    deleted = [json.loads(words[-1]) for words in calls if "delete-objects" in words]
    assert [len(call["Delete"]["Objects"]) for call in deleted] == [
        1000,
        2,
    ]  # moto takes any number
    assert "with 1002 objects" in cloud.run("destroy", "--yes")
    assert cloud.client("s3").list_buckets()["Buckets"] == []
