"""The image: built for SageMaker's instances, and in the project's own repository of ECR."""

from __future__ import annotations

import base64
import json
import subprocess

from deploy import ROOT, requests
from deploy.aws import Aws
from deploy.configuration import DeployError


def _docker(aws: Aws, *words: str, stdin: str | None = None) -> None:
    """Run a changing docker command, announced. Raises DeployError when it fails."""
    aws.announce("docker", *words)
    if aws.dry_run:
        return
    done = subprocess.run(["docker", *words], input=stdin, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise DeployError(f"docker {words[0]} failed with exit status {done.returncode}; see above")


def _answer(*words: str) -> str:
    """Return what a reading docker command prints; empty when it fails."""
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DeployError("no docker on PATH; install Docker, then run: docker info") from None
    return done.stdout.strip() if done.returncode == 0 else ""


def _build(aws: Aws, image: str) -> None:
    """Build for SageMaker: x86-64, and one manifest without the index that attestations bring."""
    words = ["build", "--platform", "linux/amd64", "--tag", image, "."]
    if _answer("buildx", "version"):
        words = ["buildx", *words[:-1], "--provenance=false", "--sbom=false", "--load", "."]
    _docker(aws, *words)


def _repository(aws: Aws) -> str:
    """Return the URI of the repository; empty when it is absent."""
    found = aws.find("ecr", "describe_repositories", repositoryNames=[aws.settings.name])
    return str(found["repositories"][0]["repositoryUri"]) if found else ""


def _pushed(aws: Aws, tag: str) -> str:
    """Return the digest of the image `tag` in the repository; empty when it has none."""
    name, ids = aws.settings.name, [{"imageTag": tag}]
    found = aws.find("ecr", "describe_images", repositoryName=name, imageIds=ids)
    return str(found["imageDetails"][0]["imageDigest"]) if found else ""


def push(aws: Aws, local: str = "") -> str:
    """Build (unless `local` names an image), push, and return the URI with the digest.

    The tag is the image's own identity, so the same image is pushed once.
    """
    if not _answer("info", "--format", "ok"):
        raise DeployError("the Docker daemon does not answer; start it, then run: docker info")
    repository = _repository(aws)  # before the build: a lack of credentials shows at once
    image = local or f"{aws.settings.name}:latest"
    if not local:
        _build(aws, image)
    identity = json.loads(_answer("image", "inspect", image) or "[]")
    if not identity and not aws.dry_run:
        raise DeployError(f"no local image {image}; run: make build")
    tag = identity[0]["Id"].removeprefix("sha256:")[:12] if identity else "IMAGE-ID"
    if not repository:
        made = aws.change("ecr", "create_repository", **requests.repository(aws.settings))
        repository = made.get("repository", {}).get("repositoryUri", "REPOSITORY")
    if not (digest := _pushed(aws, tag)):
        token = aws.read("ecr", "get_authorization_token")["authorizationData"][0]
        user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
        host = repository.partition("/")[0]
        _docker(aws, "login", "--username", user, "--password-stdin", host, stdin=password)
        _docker(aws, "tag", image, f"{repository}:{tag}")
        _docker(aws, "push", f"{repository}:{tag}")
        digest = _pushed(aws, tag) or "DIGEST"
    return f"{repository}@{digest}"


def image_uri(aws: Aws) -> str:
    """Return the image to run: the configured one, or the newest in the repository."""
    if aws.settings.image:
        return aws.settings.image
    name, repository = aws.settings.name, _repository(aws)
    listed = aws.pages("ecr", "describe_images", repositoryName=name)
    if not repository or not (images := list(listed)):
        raise DeployError(f"no image in the ECR repository {name}; run: python -m deploy push")
    newest = max(images, key=lambda image: image["imagePushedAt"])
    return f"{repository}@{newest['imageDigest']}"
