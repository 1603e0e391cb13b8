"""The project's settings: the answers of its generation, and the variables that override them.

Every setting is an environment variable with a default. `Settings` is the single table: the
README's table, the parser and the error messages come from it. Hyperparameters of a training job
always win over a setting of the same meaning.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.parsers import Parser, flag, integer, keys_of, number, one_of, optional, plain

PROJECT = "{{ cookiecutter.project_slug }}"
FORMATS = ("csv", "libsvm", "parquet", "recordio-protobuf", "jsonlines")
TIMEOUT, BATCH_TIMEOUT = 60, 600  # seconds that SageMaker gives a request
OUTPUT_KEYS = (  # those of the built-in algorithm, and two more
    "predicted_label",
    "labels",
    "probability",
    "probabilities",
    "raw_score",
    "raw_scores",
    "predicted_score",
    "contributions",
    "label_name",
)


class SettingError(Exception):
    """An environment variable holds a value that cannot be used. The message names both."""


def setting(variable: str, default: str, parse: Parser, help: str, also: str = "") -> Any:
    """Declare a field of `Settings`: variable, default (as text), parser, and a line of help.

    `also` is another name of the variable, read when the first one is not set.
    """
    names = (variable, also) if also else (variable,)
    return dataclasses.field(
        metadata={
            "variable": variable,
            "names": names,
            "default": default,
            "parse": parse,
            "help": help,
        }
    )


@dataclass(frozen=True)
class Settings:
    """Every setting, typed. Make one with `load`."""

    num_classes: int = setting(
        "NUM_CLASSES",
        "{{ cookiecutter.num_classes }}",
        integer(1),
        "1 = regression, 2 = binary, N = classes; gives the default objective",
    )
    input_format: str = setting(
        "INPUT_FORMAT",
        "{{ cookiecutter.input_format }}",
        one_of(*FORMATS),
        "format of channels and requests that name none",
    )
    acceleration: str = setting(
        "ACCELERATION",
        "auto",
        one_of("auto", "require", "off"),
        "auto: oneDAL where it equals XGBoost; require: fail otherwise; off: XGBoost",
    )
    allow_pickle: bool = setting(
        "ALLOW_PICKLE",
        "false",
        flag,
        "read pickled models of XGBoost 1.6 and later; nothing but the model is taken from them",
    )
    best_iteration: bool = setting(
        "BEST_ITERATION",
        "true",
        flag,
        "answer with the rounds up to the best one, if early stopping recorded it in the model; "
        "false: with all",
    )
    allow_code: str = setting(
        "ALLOW_CODE",
        "auto",
        one_of("auto", "never"),
        "auto: run the program that a job or SAGEMAKER_PROGRAM names; never: refuse it",
    )
    program: str = setting(
        "SAGEMAKER_PROGRAM",
        "",
        plain,
        "program whose functions serve, or that trains: framework mode",
    )
    submit_directory: str = setting(
        "SAGEMAKER_SUBMIT_DIRECTORY",
        "",
        plain,
        "its folder or archive when serving; empty: code/ of the model, or /opt/ml/code",
    )
    shadow_rate: float = setting(
        "SHADOW_RATE",
        "0",
        number(0, 1),
        "share of requests that go through XGBoost as well, off the response path, to compare",
    )
    drift: str = setting(
        "DRIFT",
        "auto",
        one_of("auto", "off"),
        "auto: training keeps histograms of features and scores in the manifest, and serving "
        "compares requests with them (drift_* of /metrics); off: neither",
    )
    port: int = setting(
        "SAGEMAKER_BIND_TO_PORT", "8080", integer(1, 65535), "port that the server listens on"
    )
    workers: int = setting(
        "WEB_CONCURRENCY",
        "0",
        integer(0, 512),
        "worker processes; 0 = one per usable CPU",
        also="SAGEMAKER_MODEL_SERVER_WORKERS",  # as SageMaker's SDK names it
    )
    timeout: int = setting(
        "SAGEMAKER_MODEL_SERVER_TIMEOUT",
        "0",
        integer(0),
        "seconds that a request may take; 0 = SageMaker's limits: 60, in batch transform 600",
    )
    batch: bool = setting(
        "SAGEMAKER_BATCH",
        "false",
        flag,
        "set by batch transform: a line per row, several values as [a, b], for any Accept but npy",
    )
    spread_rows: int = setting(
        "SPREAD_ROWS",
        "10000",
        integer(0),
        "requests of this many rows and more may use idle CPUs of other workers, and so may "
        "contributions of two rows and more; 0 = none",
    )
    max_content_length: int = setting(
        "MAX_CONTENT_LENGTH",
        "26214400",
        integer(1),
        "largest request body in bytes, after decompression too",
    )
    default_accept: str = setting(
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        "",
        plain,
        "media type of answers to requests that accept anything; empty: text/csv",
    )
    inference_output: tuple[str, ...] = setting(
        "SAGEMAKER_INFERENCE_OUTPUT",
        "",
        keys_of(*OUTPUT_KEYS),
        "keys of the answer, in order; an unknown one is null on every row; empty: scores",
    )
    inference_ensemble: bool = setting(
        "SAGEMAKER_INFERENCE_ENSEMBLE", "true", flag, "average several model files"
    )
    multi_model: bool = setting(
        "SAGEMAKER_MULTI_MODEL", "false", flag, "serve the multi-model endpoint contract"
    )
    multi_model_answers: str = setting(
        "MULTI_MODEL_ANSWERS",
        "as-single",
        one_of("as-single", "built-in"),
        "built-in: JSON [a, b] by default and CSV a,b on one line, as its multi-model endpoints",
    )
    model_memory_mb: int = setting(
        "MODEL_MEMORY_MB",
        "0",
        integer(0),
        "memory for the models of a multi-model endpoint; 0 = 70 % of the container's",
    )
    short_rows: str = setting(
        "SHORT_ROWS",
        "refuse",
        one_of("refuse", "missing"),
        "missing: rows with too few columns end in missing values, as in the built-in algorithm",
    )
    unseen_categories: str = setting(
        "UNSEEN_CATEGORIES",
        "missing",
        one_of("missing", "refuse"),
        "a value that training did not see in a categorical column; missing: taken as missing, "
        "counted in /metrics; refuse: the request is refused",
    )
    libsvm_index_base: int | None = setting(
        "LIBSVM_INDEX_BASE",
        "",
        optional(integer(0, 1)),
        "first column number of libsvm requests, for models without a manifest; empty: each "
        "request must show it",
    )
    access_log: str = setting(
        "ACCESS_LOG",
        "off",
        one_of("off", "on", "emf"),
        "on: a line of JSON per request; emf: in CloudWatch's embedded metric format",
    )
    log_level: str = setting(
        "LOG_LEVEL",
        "INFO",
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        "lowest level that is logged",
    )

    @property
    def request_timeout(self) -> int:
        """Return the seconds that one request may take."""
        return self.timeout or (BATCH_TIMEOUT if self.batch else TIMEOUT)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (default: the process's own).

    An absent or empty variable takes its default. Raises SettingError naming the variable, the
    value and the accepted form.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        parse, variable = field.metadata["parse"], field.metadata["variable"]
        texts = {name: source.get(name, "").strip() for name in field.metadata["names"]}
        variable = next((name for name, text in texts.items() if text), variable)
        text = texts[variable] or field.metadata["default"]
        try:
            values[field.name] = parse(text)
        except ValueError:
            raise SettingError(f"{variable}={text!r} is not {parse.form}") from None
    return Settings(**values)
