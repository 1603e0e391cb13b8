"""Code that a job or a deployment brings along: found, downloaded, and unpacked safely.

An archive comes from outside, so nothing in it may reach outside the folder it is unpacked into:
no path, no link, no device, and no more files or bytes than a program can need.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from runtime.job.failures import PlatformError, UserError

MOST_ENTRIES = 100_000
MOST_BYTES = 4 << 30  # unpacked, all files together
COPY_BYTES = 1 << 20
ARCHIVES = {".gz", ".tgz", ".tar", ".bz2", ".xz", ".zip"}

Links = dict[Path, str]  # path of a symbolic link -> its target as the archive has it


def bring(uri: str, folder: Path) -> None:
    """Put the code at `uri` into `folder`: s3://…, an archive, a folder, or a single file.

    `uri` may be `folder` itself. Raises UserError when there is nothing at `uri` or the archive
    cannot be used, PlatformError when S3 does not answer.
    """
    if uri.startswith("s3://"):
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "sourcedir.tar.gz"
            _download(uri, archive)
            unpack(archive, folder, uri)
        return
    source = Path(uri.removeprefix("file://"))
    if source.is_dir():
        if source.resolve() != folder.resolve():
            shutil.copytree(source, folder, dirs_exist_ok=True)
    elif not source.is_file():
        raise UserError(f"sagemaker_submit_directory: there is no file or folder {uri}")
    elif tarfile.is_tarfile(source):
        unpack(source, folder, uri)
    elif source.suffix in ARCHIVES:
        raise UserError(f"{uri} is not a tar archive")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)


def _download(uri: str, path: Path) -> None:
    """Copy an object of S3 to `path`, with the credentials of the job's role."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UserError(
            f"{uri} needs the package boto3, which this image does not have: build it with "
            "`make build S3=1`, or name a local archive or folder"
        ) from None
    place = urlparse(uri)
    region = os.environ.get("AWS_REGION") or os.environ.get("SAGEMAKER_REGION") or None
    endpoint = os.environ.get("S3_ENDPOINT_URL") or None
    try:
        client = boto3.client("s3", region_name=region, endpoint_url=endpoint)
        client.download_file(place.netloc, place.path.lstrip("/"), str(path))
    except ClientError as problem:
        raise UserError(f"cannot download {uri}: {problem}") from None
    except BotoCoreError as problem:
        raise PlatformError(
            f"cannot download {uri}: {problem}; under network isolation bring the code in a "
            "channel or in the image"
        ) from None


def unpack(archive: Path, folder: Path, name: str = "") -> None:
    """Unpack a tar archive, compressed or not, into `folder`.

    Raises UserError, naming the entry, for an archive that is damaged, too large, or reaches
    outside `folder`; what was unpacked until then stays there.
    """
    name = name or str(archive)
    folder.mkdir(parents=True, exist_ok=True)
    links: Links = {}
    left = MOST_BYTES
    try:
        with tarfile.open(archive) as tar:
            for count, entry in enumerate(tar, 1):
                left -= entry.size if entry.isreg() else 0
                if count > MOST_ENTRIES or left < 0:
                    raise UserError(
                        f"{name} is larger than a program may be: "
                        f"{MOST_ENTRIES:,} entries, {MOST_BYTES >> 30} GB unpacked"
                    )
                _unpack_entry(tar, entry, folder, links)
        _link(folder, links)
    except UserError as problem:
        raise UserError(f"{name}: {problem}") from None
    except (tarfile.TarError, EOFError, ValueError, OSError) as problem:
        raise UserError(f"{name} cannot be unpacked: {problem}") from None


def _unpack_entry(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, links: Links) -> None:
    """Write one entry; symbolic links wait in `links` until all files are there, so that no file
    can be written through one."""
    path = _inside(entry.name, folder)
    if path == folder:
        return
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.issym():
        links[path] = entry.linkname
    elif entry.islnk():
        path.unlink(missing_ok=True)
        path.hardlink_to(_inside(entry.linkname, folder))
    elif entry.isreg():
        content = tar.extractfile(entry)
        assert content is not None
        with content, path.open("wb") as file:
            shutil.copyfileobj(content, file, COPY_BYTES)
        path.chmod(0o755 if entry.mode & 0o100 else 0o644)
    else:
        raise UserError(f"{entry.name} is neither a file, a folder nor a link")


def _inside(name: str, folder: Path) -> Path:
    """Return the path of an entry below `folder`. Raises UserError when it leads elsewhere."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise UserError(f"the path {name} leads outside the archive")
    return folder.joinpath(*pure.parts)


def _link(folder: Path, links: Links) -> None:
    """Make the symbolic links, then check that each still leads inside: one may pass another."""
    for path, target in links.items():
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    root = folder.resolve()
    for path, target in links.items():
        if not Path(os.path.realpath(path)).is_relative_to(root):
            for made in links:
                made.unlink(missing_ok=True)
            raise UserError(f"the link {path.relative_to(folder)} -> {target} leads outside")
