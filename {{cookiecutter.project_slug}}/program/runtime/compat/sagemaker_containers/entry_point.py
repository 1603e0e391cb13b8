"""Waiting for the other hosts of a job."""

from __future__ import annotations

import json
import os
import socket
import time

LONGEST_SECONDS = 900.0  # names of a job's hosts resolve minutes after its start


def wait_for_names(hosts: list[str]) -> None:
    """Wait until every host's name resolves. Raises OSError after LONGEST_SECONDS."""
    deadline = time.monotonic() + LONGEST_SECONDS
    for host in hosts:
        while True:
            try:
                socket.gethostbyname(host)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)


def _wait_hostname_resolution() -> None:
    """Wait until the name of every host of this job resolves: programs call it by this name."""
    wait_for_names(json.loads(os.environ.get("SM_HOSTS", "[]")))
