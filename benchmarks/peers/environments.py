"""The environments of the peers, made once per set of pins, under build/."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.catalogue import Peer

BUILD = Path(__file__).resolve().parents[2] / "build" / "peers"
VERSIONS = (
    "import importlib.metadata, json, sys\n"
    "print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))"
)


def folder(peer: Peer) -> Path:
    """Return where the environment for this Python and these pins belongs."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256((peer.place / "requirements.txt").read_bytes()).hexdigest()[:12]
    return BUILD / f"{peer.folder}-{version}-{digest}"


def make(peer: Peer) -> Path:
    """Return the bin folder of the peer's environment; install its pins where it is missing.

    Raises RuntimeError with pip's last lines when the packages cannot be installed.
    """
    place = folder(peer)
    if not (place / "ready").exists():
        print(f"note: installing {peer.name} into {place}", flush=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "-q", "--no-deps"]
        pip += ["--disable-pip-version-check", "-r", str(peer.place / "requirements.txt")]
        for command in ([sys.executable, "-m", "venv", "--clear", str(place)], pip):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{peer.name} cannot be installed:\n{done.stderr[-2000:]}")
        (place / "ready").touch()
    return place / "bin"


def versions(peer: Peer) -> dict[str, str]:
    """Return package -> version of what the peer's environment holds."""
    command = [str(make(peer) / "python"), "-c", VERSIONS, *peer.packages]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
