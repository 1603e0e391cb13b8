"""The job's four files: as SageMaker writes them, as local harnesses do, and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.job.description import Hosts, read_job
from runtime.job.failures import UserError
from runtime.job.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.config.mkdir(parents=True)
    return found


def write(paths: Paths, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (paths.config / f"{name}.json").write_text(text)


def test_a_complete_job_is_read(paths: Paths) -> None:
    write(paths, "hyperparameters", {"num_round": "10", "eta": "0.3"})
    write(
        paths,
        "inputdataconfig",
        {
            "train": {
                "ContentType": "text/csv",
                "TrainingInputMode": "Pipe",
                "S3DistributionType": "ShardedByS3Key",
                "RecordWrapperType": "RecordIO",
            }
        },
    )
    write(
        paths,
        "resourceconfig",
        {
            "current_host": "algo-2",
            "hosts": ["algo-2", "algo-1"],
            "network_interface_name": "eth1",
            "current_instance_type": "ml.m5.xlarge",
            "instance_groups": [{"hosts": ["algo-1", "algo-2"]}],
        },
    )
    write(paths, "checkpointconfig", {"LocalPath": "/opt/ml/checkpoints"})
    job = read_job(paths)
    assert job.hyperparameters == {"num_round": "10", "eta": "0.3"}
    channel = job.channels["train"]
    assert channel.path == paths.data / "train"
    assert (channel.content_type, channel.input_mode) == ("text/csv", "Pipe")
    assert (channel.distribution, channel.record_wrapper) == ("ShardedByS3Key", "RecordIO")
    assert job.hosts == Hosts("algo-2", ("algo-1", "algo-2"), "eth1", "ml.m5.xlarge")
    assert job.checkpoints == Path("/opt/ml/checkpoints")


def test_without_any_file_the_job_is_the_platforms_default(paths: Paths) -> None:
    job = read_job(paths)
    assert job.hyperparameters == {}
    assert job.channels == {}
    assert job.hosts == Hosts()
    assert job.checkpoints is None


def test_folders_are_channels_where_a_harness_writes_no_inputdataconfig(paths: Paths) -> None:
    for name in ("validation", "train"):
        (paths.data / name).mkdir(parents=True)
    (paths.data / "stray.csv").write_text("1,2\n")
    assert list(read_job(paths).channels) == ["train", "validation"]


def test_a_channel_without_content_type_has_none(paths: Paths) -> None:
    write(paths, "inputdataconfig", {"train": {"ContentType": ""}, "validation": None})
    channels = read_job(paths).channels
    assert channels["train"].content_type is None
    assert channels["validation"].input_mode == "File"


def test_values_that_are_no_strings_become_their_json(paths: Paths) -> None:
    write(paths, "hyperparameters", {"num_round": 10, "flag": True, "list": [1, 2], "text": "x"})
    assert read_job(paths).hyperparameters == {
        "num_round": "10",
        "flag": "true",
        "list": "[1, 2]",
        "text": "x",
    }


def test_the_first_host_stands_in_for_a_missing_current_host(paths: Paths) -> None:
    write(paths, "resourceconfig", {"hosts": ["algo-2", "algo-1"]})
    assert read_job(paths).hosts.current == "algo-1"


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "is not valid JSON"), ("[1]", "holds list, not a JSON object")]
)
def test_a_broken_file_is_the_users_error_and_named(
    paths: Paths, content: str, problem: str
) -> None:
    write(paths, "hyperparameters", content)
    with pytest.raises(UserError) as caught:
        read_job(paths)
    assert str(caught.value).startswith("hyperparameters.json ")
    assert problem in str(caught.value)


def test_an_empty_file_counts_as_absent(paths: Paths) -> None:
    write(paths, "hyperparameters", "")
    assert read_job(paths).hyperparameters == {}
