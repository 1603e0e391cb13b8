"""A stand-in for SageMaker's jobs: it carries out a pipeline's definition with the real programs.

S3 and the model registry are moto's. Each step gets the /opt/ml that SageMaker would give it, and
runs in a process of its own, or with CONTRACT_IMAGE=NAME in a container of that image.
"""

from __future__ import annotations

import json
import operator
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locations import PROJECT

COMPARE: dict[str, Callable[[Any, Any], bool]] = {"GreaterThanOrEqualTo": operator.ge}


class Platform:
    """One execution of a pipeline."""

    def __init__(self, text: str, folder: Path, client: Callable[[str], Any], classes: int) -> None:
        self.definition, self.folder, self.client = json.loads(text), folder, client
        self.environ = {"NUM_CLASSES": str(classes), "INPUT_FORMAT": "csv", "OMP_NUM_THREADS": "1"}
        self.known: dict[str, Any] = {"Execution.PipelineExecutionId": "execution"}
        self.files: dict[str, Path] = {}
        for entry in self.definition["Parameters"]:
            self.known[f"Parameters.{entry['Name']}"] = entry["DefaultValue"]

    def run(self) -> list[str]:
        """Carry out all steps; return the names of those that ran."""
        return [name for step in self.definition["Steps"] for name in self.step(step)]

    def step(self, step: dict[str, Any]) -> list[str]:
        """Carry out one step, and what it decides on."""
        base = self.folder / step["Name"]
        base.mkdir()
        if step["Type"] == "Condition":
            arguments = step["Arguments"]
            good = all(
                COMPARE[c["Type"]](self.value(c["LeftValue"]), self.value(c["RightValue"]))
                for c in arguments["Conditions"]
            )
            chosen = arguments["IfSteps" if good else "ElseSteps"]
            return [step["Name"], *(name for inner in chosen for name in self.step(inner))]
        arguments = self.value(step["Arguments"])
        {
            "Processing": self.process,
            "Training": self.train,
            "RegisterModel": self.register,
            "Fail": lambda *_: None,
        }[step["Type"]](step["Name"], base, arguments)
        for file in step.get("PropertyFiles", []):
            output = base / "processing" / "output" / file["OutputName"] / file["FilePath"]
            self.files[f"Steps.{step['Name']}.PropertyFiles.{file['PropertyFileName']}"] = output
        return [step["Name"]]

    def value(self, part: Any) -> Any:
        """Return a part of the definition with its variables resolved."""
        if isinstance(part, list):
            return [self.value(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "Get" in part:
            return self.known[part["Get"]]
        if "Std:Join" in part:
            join = part["Std:Join"]
            return join["On"].join(str(self.value(item)) for item in join["Values"])
        if "Std:JsonGet" in part:
            found = json.loads(self.files[part["Std:JsonGet"]["PropertyFile"]["Get"]].read_text())
            for key in part["Std:JsonGet"]["Path"].split("."):
                found = found[key]
            return found
        return {key: self.value(item) for key, item in part.items()}

    def process(self, name: str, base: Path, arguments: dict[str, Any]) -> None:
        """Run a processing job."""
        for given in arguments["ProcessingInputs"]:
            self.download(
                given["S3Input"]["S3Uri"], self.local(base, given["S3Input"]["LocalPath"])
            )
        outputs = arguments["ProcessingOutputConfig"]["Outputs"]
        for output in outputs:
            self.local(base, output["S3Output"]["LocalPath"]).mkdir(parents=True)
        application = arguments["AppSpecification"]
        words = application["ContainerEntrypoint"] + application.get("ContainerArguments", [])
        self.execute(base, words)
        for output in outputs:
            place = output["S3Output"]
            self.upload(self.local(base, place["LocalPath"]), place["S3Uri"])
            key = f"ProcessingOutputConfig.Outputs['{output['OutputName']}'].S3Output.S3Uri"
            self.known[f"Steps.{name}.{key}"] = place["S3Uri"]

    def train(self, name: str, base: Path, arguments: dict[str, Any]) -> None:
        """Run a training job."""
        config, channels = base / "input" / "config", {}
        config.mkdir(parents=True)
        for channel in arguments["InputDataConfig"]:
            place = channel["DataSource"]["S3DataSource"]["S3Uri"]
            self.download(place, base / "input" / "data" / channel["ChannelName"])
            entry = {"ContentType": channel["ContentType"], "TrainingInputMode": "File"}
            channels[channel["ChannelName"]] = entry
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
        (config / "hyperparameters.json").write_text(json.dumps(arguments["HyperParameters"]))
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        (config / "resourceconfig.json").write_text(json.dumps(hosts))
        (base / "model").mkdir()
        self.execute(base, ["train"])
        (base / "packed").mkdir()
        with tarfile.open(base / "packed" / "model.tar.gz", "w:gz") as archive:
            for path in sorted((base / "model").iterdir()):
                archive.add(path, path.name)
        place = arguments["OutputDataConfig"]["S3OutputPath"] + f"{name}/output"
        self.upload(base / "packed", place)
        self.known[f"Steps.{name}.ModelArtifacts.S3ModelArtifacts"] = f"{place}/model.tar.gz"

    def register(self, name: str, base: Path, arguments: dict[str, Any]) -> None:
        """Register the model."""
        self.client("sagemaker").create_model_package(**arguments)

    def local(self, base: Path, path: str) -> Path:
        """Return where a path of the container is on this machine."""
        return base / path.removeprefix("/opt/ml/")

    def execute(self, base: Path, words: list[str]) -> None:
        """Run a command as the platform would; fail with its output."""
        if image := os.environ.get("CONTRACT_IMAGE"):
            options = [f"-e{key}={value}" for key, value in self.environ.items()]
            options += ["--network=none", f"-v{base}:/opt/ml"]
            command = ["docker", "run", "--rm", *options, image, *words]
            environ = dict(os.environ)
        else:
            program = PROJECT / "program"
            changes = {"SAGEMAKER_BASE_DIR": str(base), "PYTHONPATH": str(program)}
            environ = {**os.environ, **self.environ, **changes}
            words = [re.sub("^/opt/ml", str(base), word) for word in words if word != "python3"]
            first = program / words[0] if words[0] == "train" else Path(words[0])
            command = [sys.executable, str(first), *words[1:]]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def download(self, uri: str, folder: Path) -> None:
        """Copy what is below an S3 prefix into a folder."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        found = self.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
        for item in found:
            name = item["Key"].removeprefix(prefix).strip("/") or Path(item["Key"]).name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.client("s3").download_file(bucket, item["Key"], str(folder / name))

    def upload(self, folder: Path, uri: str) -> None:
        """Copy a folder's files below an S3 prefix."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        for path in (path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix.rstrip('/')}/{path.relative_to(folder)}"
            self.client("s3").upload_file(str(path), bucket, key)
