"""The command line. Run `python -m deploy COMMAND --help` at the project's root."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from botocore import exceptions

from deploy import hosting, images, inventory, jobs
from deploy.aws import Aws
from deploy.configuration import DeployError, add_flags, load
from deploy.pipeline import upsert
from settings import SettingError

COMMANDS = {
    "push": "build the image and push it to ECR",
    "train": "run a training job and follow its log",
    "tune": "search the hyperparameters of [tool.deploy.tune]",
    "deploy": "make or update the endpoint",
    "invoke": "post a file to the endpoint and print the answer",
    "transform": "predict all rows of files or an s3:// prefix",
    "register": "register a trained model for approval",
    "pipeline": "make or update the pipeline; --start runs it",
    "status": "list what this project has in the account",
    "destroy": "remove everything that this program made",
}

REMEDIES = {  # what the error's class or code holds: the command that fixes it
    "Credentials": "aws configure sso",
    "ProfileNotFound": "aws configure list-profiles",
    "Expired|SSO|Token": "aws sso login",
    "Region|Endpoint": "aws ec2 describe-regions",
    "AccessDenied|403": "aws sts get-caller-identity, and ask for that action",
    "Unrecognized|Signature": "aws sts get-caller-identity",
    "ResourceLimitExceeded": "aws service-quotas list-service-quotas --service-code sagemaker, then"
    " aws service-quotas request-service-quota-increase",
    "NoSuchBucket": "aws s3 ls",
    "Throttling|TooManyRequests": "the same command again, later",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser: one sub-command a line of COMMANDS, the settings' flags in each."""
    top = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = {name: commands.add_parser(name, help=text) for name, text in COMMANDS.items()}
    for name, sub in one.items():
        sub.add_argument("--dry-run", action="store_true", help="print the calls, change nothing")
        sub.add_argument("--poll", type=float, default=10, help="seconds between looks at a job")
        if name in {"train", "tune", "transform", "deploy"}:
            sub.add_argument("--no-wait", action="store_true", help="return once it has started")
        if name in {"deploy", "transform", "register"}:
            sub.add_argument("--job", default="", help="training job; default: newest completed")
        if name in {"deploy", "transform"}:
            sub.add_argument("--model-data", default="", help="s3:// model.tar.gz, not of a job")
        text = "from [tool.deploy] of pyproject.toml, or DEPLOY_<NAME>, which the flag overrides"
        add_flags(sub.add_argument_group("settings", text), name)
    one["push"].add_argument("--local", default="", help="an image that is built already")
    one["invoke"].add_argument("payload", type=Path)
    one["invoke"].add_argument("--accept", default="", help="media type of the answer")
    one["transform"].add_argument("input", help="file, folder or s3:// prefix, without labels")
    one["register"].add_argument("--evaluation", default="", help="s3:// quality report")
    one["pipeline"].add_argument("--start", action="store_true", help="run it, too")
    one["destroy"].add_argument("--yes", action="store_true", help="do not ask")
    return top


def run(aws: Aws, given: argparse.Namespace) -> int:
    """Carry out one command; return the exit status."""
    wait = not getattr(given, "no_wait", False)
    match given.command:
        case "push":
            for image in images.push(aws, given.local):
                print(f"ok: image {image}")
        case "train":
            print(f"ok: job {jobs.train(aws, wait=wait)}")
        case "tune":
            print(f"ok: job {jobs.tune(aws, wait=wait)}")
        case "deploy":
            print(f"ok: endpoint {hosting.deploy(aws, given.job, given.model_data, wait=wait)}")
        case "invoke":
            sys.stdout.buffer.write(hosting.invoke(aws, given.payload, given.accept))
        case "transform":
            place: dict[str, Any] = {"instance": aws.settings.instance_type, "hosted": False}
            model = hosting.ensure_model(aws, given.job, given.model_data, **place)
            print(f"ok: answers {jobs.transform(aws, model, given.input, wait=wait)}")
        case "register":
            print(f"ok: package {hosting.register(aws, given.job, given.evaluation)}")
        case "pipeline":
            print(f"ok: pipeline {upsert(aws, start=given.start)}")
        case "status":
            inventory.show(inventory.resources(aws))
        case "destroy":
            return 0 if inventory.destroy(aws, yes=given.yes) else 1
    return 0


def explain(problem: Exception) -> str:
    """Return one line for a failure: what happened, and the command that fixes it."""
    text = " ".join(str(problem).split())
    kind = " ".join([type(problem).__name__, *re.findall(r"\((\w+)\) when calling", text)])
    found = next((fix for pattern, fix in REMEDIES.items() if re.search(pattern, kind)), "")
    return f"{text}; run: {found}" if found else text


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Faults end in one line on stderr and exit status 1."""
    given = parser().parse_args(arguments)
    try:
        return run(Aws(load(vars(given)), dry_run=given.dry_run, poll=given.poll), given)
    except KeyboardInterrupt:
        print("\nnote: what was started goes on; see: python -m deploy status", file=sys.stderr)
        return 130
    except (DeployError, SettingError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
    except (exceptions.BotoCoreError, exceptions.ClientError, Boto3Error) as problem:
        print(f"error: {explain(problem)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
