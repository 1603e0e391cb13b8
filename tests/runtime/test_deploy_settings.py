"""What settings do to requests: the model's variables, checks, roles, costs, platforms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import settings
from deploy.__main__ import COMMANDS, parser
from deploy.aws import Aws
from deploy.configuration import SCALARS, Configuration, DeployError, load
from deploy.images import architecture
from deploy_cloud import Cloud, cloud, printed
from deploy_stack import stack
from locations import PROJECT

__all__ = ["cloud"]
ENVIRON = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv", "AWS_REGION": "eu-west-1"}
BOTH = "linux/amd64,linux/arm64"


def ready(cloud: Cloud) -> None:
    """Push and train."""
    cloud.run("push")
    cloud.run("train")


def calls(cloud: Cloud, *words: str) -> dict[str, list[dict[str, Any]]]:
    """Return what a command would change: valid parameters, by operation."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _, name, call in printed(cloud, cloud.run(*words, "--dry-run")):
        found.setdefault(name, []).append(call)
    return found


def variant(cloud: Cloud, *words: str) -> dict[str, Any]:
    """Return the variant that `deploy` with these flags would make."""
    (config,) = calls(cloud, "deploy", *words)["CreateEndpointConfig"]
    return dict(config["ProductionVariants"][0])


def test_the_variables_of_the_model_reach_every_place_that_makes_one(cloud: Cloud) -> None:
    ready(cloud)
    words = ("--env", "ACCELERATION=off", "--env", "OWN=a=b")
    expected = {"ACCELERATION": "off", "OWN": "a=b"}
    rows = str(cloud.folder / "train" / "part-1.csv")
    for command in (["deploy"], ["transform", rows]):
        (model,) = calls(cloud, *command, *words)["CreateModel"]
        assert model["PrimaryContainer"]["Environment"] == expected
    (package,) = calls(cloud, "register", *words)["CreateModelPackage"]
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container["Environment"] == expected
    text = calls(cloud, "pipeline", *words)["CreatePipeline"][0]["PipelineDefinition"]
    document = json.loads(text)
    defaults = {entry["Name"]: entry["DefaultValue"] for entry in document["Parameters"]}
    references = {name: {"Get": f"Parameters.Environment_{name}"} for name in expected}
    for name, value in expected.items():
        assert defaults[f"Environment_{name}"] == value
    steps = {step["Name"]: step["Arguments"] for step in document["Steps"]}
    assert steps["Evaluate"]["Environment"] == references
    (container,) = steps["GoodEnough"]["IfSteps"][0]["Arguments"]["InferenceSpecification"][
        "Containers"
    ]
    assert container["Environment"] == references


def test_another_variable_is_another_model_and_another_registered_version(cloud: Cloud) -> None:
    ready(cloud)
    first, second = (
        calls(cloud, "deploy", *words)["CreateModel"][0]["ModelName"]
        for words in ((), ("--env", "LOG_LEVEL=DEBUG"))
    )
    assert first != second
    cloud.run("register")
    assert calls(cloud, "register") == {}
    assert calls(cloud, "register", "--env", "LOG_LEVEL=DEBUG")["CreateModelPackage"]


def test_a_flag_adds_to_the_variables_of_the_table_and_wins(tmp_path: Path) -> None:
    text = '[tool.deploy.environment]\nSHADOW_RATE = 0.5\nALLOW_PICKLE = true\nOWN = "a"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    found = load({"env": ["OWN=b"]}, ENVIRON, tmp_path).environment
    assert found == {"SHADOW_RATE": "0.5", "ALLOW_PICKLE": "true", "OWN": "b"}
    (tmp_path / "pyproject.toml").write_text("[tool.deploy.environment]\nSHADOW_RATE = 2\n")
    with pytest.raises(DeployError, match=r"environment\] SHADOW_RATE='2' is not a number"):
        load({}, ENVIRON, tmp_path)
    with pytest.raises(DeployError, match="write it as --env NAME=VALUE"):
        load({"env": ["SHADOW_RATE"]}, ENVIRON)
    with pytest.raises(DeployError, match="'A-B' is not a name"):
        load({"env": ["A-B=1"]}, ENVIRON)


def test_the_parameters_of_the_stack_are_settings_of_the_model_that_its_parser_takes() -> None:
    template = stack()
    resources, parameters = template["Resources"], template["Parameters"]
    for name in ("Model", "GravitonModel"):
        environment = resources[name]["Properties"]["PrimaryContainer"]["Environment"]
        assert len(environment) == 4
        for key, parameter in environment.items():
            entry = parameters[parameter]
            for text in entry.get("AllowedValues", [entry["Default"]]):
                settings.load({**ENVIRON, key: text})
            assert key in entry["Description"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--set", "max_dept=3"), "max_dept is not a hyperparameter (did you mean max"),
        (("train", "--set", "eta=quick"), "eta='quick' must be a number"),
        (("tune", "--set", "tree_method=fast"), "tree_method='fast' must be one of"),
        (("pipeline", "--set", "num_round=0"), "num_round='0' must be an integer of at least 1"),
    ],
    ids=["unknown", "number", "choice", "range"],
)  # fmt: skip
def test_hyperparameters_are_checked_before_anything_is_made(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.setenv("DEPLOY_VALIDATION", str(cloud.folder / "train"))
    cloud.run("push")
    output = cloud.run(*words, status=1)
    assert message in output
    assert "run: " not in output
    assert cloud.client("s3").list_buckets()["Buckets"] == []


def test_the_bounds_of_a_search_are_checked_too(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_VALIDATION", str(cloud.folder / "train"))
    cloud.run("push")
    loaded = load({}, None)
    wide = Configuration(**{**vars(loaded), "tune": {"subsample": [0.5, 1.5]}})
    monkeypatch.setattr("deploy.__main__.load", lambda _: wide)
    assert "subsample='1.5' must be a number" in cloud.run("tune", status=1)


def test_the_program_of_a_job_reads_hyperparameters_of_its_own(cloud: Cloud) -> None:
    cloud.run("push")
    words = ("--set", "sagemaker_program=train.py", "--set", "own=1")
    (job,) = calls(cloud, "train", *words)["CreateTrainingJob"]
    assert job["HyperParameters"]["own"] == "1"


def test_hyperparameters_reach_the_job_in_the_form_that_the_container_reads(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.run("push")
    loaded, given = load({}, None), {"num_round": 5, "eval_metric": ["auc", "error"], "eta": 0.1}
    mine = Configuration(**{**vars(loaded), "hyperparameters": given | {"external_memory": True}})
    monkeypatch.setattr("deploy.__main__.load", lambda _: mine)
    (job,) = calls(cloud, "train")["CreateTrainingJob"]
    from runtime.training.hyperparameters import parse

    chosen = parse(job["HyperParameters"], 2)[0].given
    assert {name: chosen[name] for name in given} == given
    assert chosen["external_memory"] is True


def test_deployment_needs_neither_xgboost_nor_scipy() -> None:
    block = "import sys\nfor name in ('xgboost', 'scipy', 'sklearn', 'daal4py', 'flask'):\n"
    block += "    sys.modules[name] = None\nimport deploy.__main__\n"
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ((), ("--endpoint-max", "1"), "starts 1 x ml.c5.xlarge, billed until it is deleted; the "
         "instances of demo-"),
        ((), ("--mode", "serverless"), "starts a serverless endpoint, billed by request; the "
         "instances of demo-"),
        (("--mode", "serverless"), (), "starts 1 (up to 2) x ml.c5.xlarge, billed until it is "
         "deleted; the serverless demo-"),
        (("--mode", "serverless"), ("--mode", "serverless", "--memory-mb", "4096"),
         "starts a serverless endpoint, billed by request; the serverless demo-"),
    ],
    ids=["instances", "to-serverless", "from-serverless", "serverless"],
)  # fmt: skip
def test_an_update_says_what_it_starts_and_what_the_old_one_costs_meanwhile(
    cloud: Cloud, old: tuple[str, ...], new: tuple[str, ...], message: str
) -> None:
    ready(cloud)
    cloud.run("deploy", *old)
    output = cloud.run("deploy", "--capture-percent", "3", *new)
    assert f"note: {message}" in output
    assert ("billed as well, until traffic has moved" in output) is ("the instances of" in message)
    assert "note: starts" not in cloud.run("deploy", "--capture-percent", "3", *new)


def test_endpoints_and_jobs_have_a_role_each(cloud: Cloud) -> None:
    ready(cloud)
    rows = str(cloud.folder / "train" / "part-1.csv")
    (hosted,) = calls(cloud, "deploy")["CreateModel"]
    (transforms,) = calls(cloud, "transform", rows, "--env", "LOG_LEVEL=INFO")["CreateModel"]
    (job,) = calls(cloud, "train", "--set", "eta=1")["CreateTrainingJob"]
    assert hosted["ExecutionRoleArn"].endswith(":role/demo-hosting")
    assert transforms["ExecutionRoleArn"] == job["RoleArn"]
    assert job["RoleArn"].endswith(":role/demo-sagemaker")
    assert "ContainerMetricsConfig" not in transforms["PrimaryContainer"]
    cloud.client("iam").delete_role(RoleName="demo-hosting")
    assert "HostingRoleName=demo-hosting" in cloud.run("deploy", status=1)


def test_the_role_of_endpoints_reaches_neither_the_data_nor_sagemaker() -> None:
    text = (PROJECT / "deploy" / "roles.yaml").read_text()
    start = text.index("\n  HostingRole:")
    role = text[start : text.index("\n\n", start)]
    assert set(re.findall(r"\b(s3:\w+)", role)) == {"s3:GetObject", "s3:PutObject"}
    assert "${Bucket}/*" not in role
    assert "sagemaker:" not in role
    assert "iam:" not in role


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_lists_the_settings_of_the_command_with_their_defaults(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for entry in SCALARS:
        flag = "--" + entry.name.replace("_", "-")
        own = command in entry.metadata["commands"]
        assert (f"{flag} {entry.name.upper()} " in text or f"{flag}, --no" in text) is own
        if own and entry.default and entry.type != "bool":
            assert f"{entry.metadata['help']} (default: {entry.default})" in text


def test_a_command_has_a_flag_for_every_setting_that_it_reads(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_VALIDATION", str(cloud.folder / "train"))
    monkeypatch.setenv("DOCKER_BUILDX", "1")
    cloud.run("push", "--platforms", BOTH)
    cloud.run("train")
    rows = str(cloud.folder / "train" / "part-1.csv")
    names, read = {entry.name: entry for entry in SCALARS}, set[str]()

    def record(self: Configuration, name: str) -> Any:
        read.add(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Configuration, "__getattribute__", record)
    for command in COMMANDS:
        more = {"invoke": [rows], "transform": [rows]}.get(command, [])
        read.clear()
        cloud.run(command, *more, "--dry-run")
        if command == "deploy":
            cloud.run(command, "--mode", "serverless", "--dry-run")
        missing = {n for n in read & set(names) if command not in names[n].metadata["commands"]}
        assert missing == set(), command


def test_the_metrics_of_the_container_go_to_cloudwatch_from_where_the_server_has_them(
    cloud: Cloud,
) -> None:
    ready(cloud)
    found = calls(cloud, "deploy", "--metrics-seconds", "30")
    (config,), (model,) = found["CreateEndpointConfig"], found["CreateModel"]
    frequency = {"MetricPublishFrequencyInSeconds": 30}
    assert config["MetricsConfig"] == {"EnableDetailedObservability": True} | frequency
    (scraped,) = model["PrimaryContainer"]["ContainerMetricsConfig"]["MetricsEndpoints"]
    assert scraped == {"MetricsEndpointPath": "/metrics"} | frequency
    found = calls(cloud, "deploy", "--no-observability")
    assert found["CreateEndpointConfig"][0]["MetricsConfig"] == {
        "EnableDetailedObservability": False  # for new endpoints have it unless they refuse it
    }
    assert "ContainerMetricsConfig" not in found["CreateModel"][0]["PrimaryContainer"]
    found = calls(cloud, "deploy", "--mode", "serverless")
    assert "MetricsConfig" not in found["CreateEndpointConfig"][0]
    assert "ContainerMetricsConfig" not in found["CreateModel"][0]["PrimaryContainer"]


def test_what_an_older_boto3_does_not_know_is_left_out_and_said(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready(cloud)
    monkeypatch.setattr(Aws, "shape", lambda *_: None)
    output = cloud.run("deploy", "--dry-run")
    for name in ("MetricsConfig", "ContainerMetricsConfig"):
        assert f"does not know {name}: left out; run: pip install --upgrade boto3" in output
        assert f'"{name}"' not in output
    words = ("deploy", "--graviton-instance", "ml.c7g.xlarge")
    assert "does not know InstancePools" in cloud.run(*words, status=1)
    (tmp_path / "rows.csv").write_text("0.5,2\n")
    output = cloud.run("invoke", str(tmp_path / "rows.csv"), "--mode", "async")
    assert "note: boto3 takes no inline body" in output


def test_a_small_asynchronous_request_goes_inline_and_a_large_one_through_s3(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready(cloud)
    cloud.run("deploy", "--mode", "async")
    sent: list[dict[str, Any]] = []
    read = Aws.read

    def record(self: Aws, service: str, operation: str, **call: Any) -> dict[str, Any]:
        if operation == "invoke_endpoint_async":
            sent.append(call)
        return read(self, service, operation, **call)

    monkeypatch.setattr(Aws, "read", record)
    limit, payload = 128_000, tmp_path / "rows.csv"  # bytes, as the API's reference says
    for size in (limit, limit + 1):
        payload.write_bytes(b"1" * size)
        cloud.run("invoke", str(payload), "--mode", "async")
    small, large = sent
    assert small["Body"] == b"1" * limit
    assert "InputLocation" not in small
    assert "Body" not in large
    assert large["InputLocation"].startswith("s3://demo-")


def test_a_graviton_pool_comes_first_and_has_the_arm64_image(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDX", "1")
    output = cloud.run("push", "--platforms", BOTH)
    images = re.findall(r"^ok: image (\S+)$", output, re.MULTILINE)
    builds = [words for words in cloud.docker_calls() if words[:2] == ["buildx", "build"]]
    assert [words[words.index("--platform") + 1] for words in builds] == BOTH.split(",")
    for words in builds:  # one manifest each, loaded: what `docker push` pushes and SageMaker runs
        assert {"--load", "--provenance=false", "--sbom=false"} <= set(words)
    pushed = [words[1].partition(":")[2] for words in cloud.docker_calls() if words[0] == "push"]
    assert pushed == ["12" * 6, "12" * 6 + "-arm64"]
    cloud.run("train")
    words = ("--graviton-instance", "ml.c7g.xlarge")
    models = {
        call["ModelName"]: call["PrimaryContainer"]["Image"]
        for call in calls(cloud, "deploy", *words)["CreateModel"]
    }
    found = variant(cloud, *words)
    first, second = sorted(found["InstancePools"], key=lambda pool: pool["Priority"])
    assert (first["InstanceType"], second["InstanceType"]) == ("ml.c7g.xlarge", "ml.c5.xlarge")
    assert models[first["ModelNameOverride"]] == images[1]
    assert models[found["ModelName"]] == images[0]
    assert "ModelNameOverride" not in second
    assert "InstanceType" not in found
    assert "ml.c7g.xlarge or ml.c5.xlarge" in cloud.run("deploy", *words, "--dry-run")
    assert "InstancePools" not in variant(cloud)


def test_an_endpoint_on_graviton_alone_has_the_arm64_image(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(cloud)
    words = ("--endpoint-instance", "ml.m7g.large")
    line = "no linux/arm64 image in the ECR repository demo; run: python -m deploy push --platforms"
    assert f"{line} linux/arm64" in cloud.run("deploy", *words, status=1)
    assert line in cloud.run("deploy", "--graviton-instance", "ml.c7g.large", status=1)
    assert "is no Graviton" in cloud.run("deploy", "--graviton-instance", "ml.g5.xlarge", status=1)
    monkeypatch.setenv("DOCKER_BUILDX", "1")
    image = cloud.run("push", "--platforms", "linux/arm64").splitlines()[-1].split()[-1]
    (model,) = calls(cloud, "deploy", *words)["CreateModel"]
    assert model["PrimaryContainer"]["Image"] == image
    (job,) = calls(cloud, "train", "--set", "eta=1")["CreateTrainingJob"]
    assert job["AlgorithmSpecification"]["TrainingImage"] != image  # though it is the newest


def test_the_legacy_builder_does_not_build_for_another_machine(cloud: Cloud) -> None:
    output = cloud.run("push", "--platforms", "linux/arm64", status=1)
    assert "an image for linux/arm64 on x86_64 needs buildx" in output
    assert "build" not in [words[0] for words in cloud.docker_calls()]
    assert "use linux/amd64, linux/arm64" in cloud.run("push", "--platforms", "windows", status=1)
    assert "of one platform" in cloud.run("push", "--local", "x", "--platforms", BOTH, status=1)


def test_graviton_is_told_from_gpu_instances_by_botocores_list(cloud: Cloud) -> None:
    model = cloud.client("sagemaker").meta.service_model
    kinds = model.shape_for("ProductionVariantInstanceType").enum
    arm = {kind for kind in kinds if architecture(kind) == "arm64"}
    families = {kind.split(".")[1] for kind in arm}
    assert {"c7g", "m6gd", "c6gn", "r8g", "m8g", "r7gd"} <= families
    assert not [family for family in families if re.match(r"(g|p|trn|inf)\d", family)]
    assert architecture("ml.g5.xlarge") == architecture("ml.c6in.large") == "amd64"
