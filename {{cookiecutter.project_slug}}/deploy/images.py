"""The image: built for SageMaker's instances, and in the project's own repository of ECR."""

from __future__ import annotations

import base64
import json
import re
import subprocess

from deploy import ROOT, requests
from deploy.aws import Aws
from deploy.configuration import DeployError
from deploy.requests import Document

AMD, ARM = "amd64", "arm64"
SUFFIX = {AMD: "", ARM: f"-{ARM}"}  # of tags
MACHINES = {"x86_64": AMD, "aarch64": ARM}  # as `docker info` calls them


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


def architecture(instance: str) -> str:
    """Return the architecture of an instance type, such as ml.c7g.xlarge: Graviton is arm64."""
    return ARM if re.match(r"ml\.[cmr]\d+g[dn]?\.", instance) else AMD


def _platforms(aws: Aws) -> list[str]:
    """Return the architectures to push for. Raises DeployError for others than SageMaker has."""
    words = [word.strip() for word in aws.settings.platforms.split(",") if word.strip()]
    known = {f"linux/{name}": name for name in (AMD, ARM)}
    if not words or set(words) - set(known):
        names = ", ".join(known)
        raise DeployError(f"platforms = {aws.settings.platforms!r}; use {names}, or both by commas")
    return [known[word] for word in dict.fromkeys(words)]


def _build(aws: Aws, image: str, platform: str) -> None:
    """Build for one platform: one manifest, without the index that attestations would bring.

    Raises DeployError where Docker's legacy builder would have to build for another machine.
    """
    words = ["build", "--platform", f"linux/{platform}", "--tag", image, "."]
    if _answer("buildx", "version"):
        words = ["buildx", *words[:-1], "--provenance=false", "--sbom=false", "--load", "."]
    elif (found := re.search(r"Architecture: *(\S+)", _answer("info"))) and (
        MACHINES.get(found[1], found[1]) != platform
    ):
        raise DeployError(
            f"an image for linux/{platform} on {found[1]} needs buildx, which Docker's legacy"
            " builder is not: https://docs.docker.com/go/buildx/"
        )
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


def push(aws: Aws, local: str = "") -> list[str]:
    """Build (unless `local` names an image), push, and return each platform's URI with digest."""
    if not _answer("info", "--format", "ok"):
        raise DeployError("the Docker daemon does not answer; start it, then run: docker info")
    platforms = _platforms(aws)
    if local and len(platforms) > 1:
        raise DeployError(f"--local {local} is of one platform; pass that as --platforms")
    repository = _repository(aws)  # before the build: a lack of credentials shows at once
    images = {name: local or f"{aws.settings.name}:latest{SUFFIX[name]}" for name in platforms}
    if not local:
        for platform, image in images.items():
            _build(aws, image, platform)
    pushed = []
    for platform, image in images.items():
        uri = _push(aws, image, platform, repository)
        repository = uri.partition("@")[0]
        pushed.append(uri)
    return pushed


def _push(aws: Aws, image: str, platform: str, repository: str) -> str:
    """Push a local image, making the repository when it is empty; return the URI with the digest.

    The tag is the image's own identity, so the same image is pushed once. SageMaker runs a single
    manifest, so that each platform has a tag of its own instead of an index over both.
    """
    identity = json.loads(_answer("image", "inspect", image) or "[]")
    if not identity and not aws.dry_run:
        raise DeployError(f"no local image {image}; run: make build")
    if identity and (built := identity[0].get("Architecture", platform)) != platform:
        raise DeployError(f"image {image} is for linux/{built}; pass --platforms linux/{built}")
    tag = identity[0]["Id"].removeprefix("sha256:")[:12] if identity else "IMAGE-ID"
    tag += SUFFIX[platform]
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


def image_uri(aws: Aws, instance: str = "") -> str:
    """Return the image to run on `instance`: the configured one, or the newest for its platform."""
    name, wanted = aws.settings.name, architecture(instance)
    if aws.settings.image and (wanted == AMD or not aws.settings.graviton_instance):
        return aws.settings.image
    repository = _repository(aws)
    listed = aws.pages("ecr", "describe_images", repositoryName=name)
    images = [image for image in listed if _is_of(image, wanted)] if repository else []
    if not images:
        command = "python -m deploy push" + (f" --platforms linux/{ARM}" if wanted == ARM else "")
        raise DeployError(f"no linux/{wanted} image in the ECR repository {name}; run: {command}")
    newest = max(images, key=lambda image: image["imagePushedAt"])
    return f"{repository}@{newest['imageDigest']}"


def _is_of(image: Document, platform: str) -> bool:
    """Return whether an image of the repository was pushed for a platform."""
    tags = image.get("imageTags", [])
    return any(tag.endswith(SUFFIX[ARM]) for tag in tags) == (platform == ARM)
