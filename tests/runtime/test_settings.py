"""Settings: environment variables over defaults, and messages that say how to fix a bad one."""

from __future__ import annotations

import dataclasses

import pytest

import settings
from runtime import parsers

GENERATED = {"NUM_CLASSES": "2", "INPUT_FORMAT": "csv"}  # defaults are answers of the generation


def load(**environ: str) -> settings.Settings:
    return settings.load({**GENERATED, **environ})


def test_every_setting_has_a_default_that_its_own_parser_takes() -> None:
    for field in dataclasses.fields(settings.Settings):
        if field.metadata["variable"] not in GENERATED:
            field.metadata["parse"](field.metadata["default"])


def test_variables_are_unique_and_upper_case() -> None:
    fields = dataclasses.fields(settings.Settings)
    names = [name for field in fields for name in field.metadata["names"]]
    assert len(set(names)) == len(names)
    assert all(name == name.upper() for name in names)


def test_the_defaults_are_those_of_the_platform() -> None:
    config = load()
    assert config.port == 8080
    assert config.max_content_length == 25 * 1024 * 1024
    assert config.acceleration == "auto"
    assert config.inference_ensemble is True
    assert config.multi_model is False


def test_an_empty_variable_counts_as_absent() -> None:
    assert load(WEB_CONCURRENCY="", SAGEMAKER_BIND_TO_PORT="  ").port == 8080


def test_variables_win_over_defaults() -> None:
    config = load(NUM_CLASSES="5", ACCELERATION="OFF", SAGEMAKER_MULTI_MODEL="True")
    assert (config.num_classes, config.acceleration, config.multi_model) == (5, "off", True)


def test_workers_and_timeout_go_by_the_names_of_sagemaker_s_sdk_too() -> None:
    assert load(SAGEMAKER_MODEL_SERVER_WORKERS="3").workers == 3
    assert load(SAGEMAKER_MODEL_SERVER_WORKERS="3", WEB_CONCURRENCY="2").workers == 2
    with pytest.raises(settings.SettingError, match="SAGEMAKER_MODEL_SERVER_WORKERS='many'"):
        load(SAGEMAKER_MODEL_SERVER_WORKERS="many")
    assert load(SAGEMAKER_MODEL_SERVER_TIMEOUT="3600").request_timeout == 3600


def test_batch_transform_gives_a_request_ten_minutes() -> None:
    assert load().request_timeout == 60
    assert load(SAGEMAKER_BATCH="true").request_timeout == 600
    assert load(SAGEMAKER_BATCH="true", SAGEMAKER_MODEL_SERVER_TIMEOUT="90").request_timeout == 90


def test_output_keys_keep_their_order() -> None:
    chosen = load(SAGEMAKER_INFERENCE_OUTPUT="probabilities, predicted_label")
    assert chosen.inference_output == ("probabilities", "predicted_label")


@pytest.mark.parametrize("text", ["1", "true", "YES", "on"])
def test_a_flag_can_be_said_in_many_ways(text: str) -> None:
    assert load(SAGEMAKER_MULTI_MODEL=text).multi_model is True
    assert parsers.flag({"1": "0", "true": "false", "YES": "NO", "on": "off"}[text]) is False


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("NUM_CLASSES", "0", "an integer of at least 1"),
        ("NUM_CLASSES", "two", "an integer of at least 1"),
        ("SAGEMAKER_BIND_TO_PORT", "65536", "an integer from 1 to 65535"),
        ("INPUT_FORMAT", "xml", "one of csv, libsvm, parquet, recordio-protobuf, jsonlines"),
        ("ACCELERATION", "maybe", "one of auto, require, off"),
        ("SAGEMAKER_MULTI_MODEL", "perhaps", "true or false"),
        ("MAX_CONTENT_LENGTH", "-1", "an integer of at least 1"),
        ("LOG_LEVEL", "loud", "one of DEBUG"),
    ],
)
def test_a_bad_value_is_refused_with_the_accepted_form(
    variable: str, value: str, accepted: str
) -> None:
    with pytest.raises(settings.SettingError) as caught:
        load(**{variable: value})
    assert f"{variable}='{value}'" in str(caught.value)
    assert accepted in str(caught.value)


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {**GENERATED, "SAGEMAKER_BIND_TO_PORT": "9000"}.items():
        monkeypatch.setenv(variable, value)
    assert settings.load().port == 9000
