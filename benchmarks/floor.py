"""The floor of the transport: a WSGI application that reads the body and returns a constant.

`servers.py` puts this file in the place of wsgi.py in copies of the program, so that the constant
stands behind the very same nginx and gunicorn: once with the worker that gunicorn brings, once with
the program's own. What the project needs on top of the latter is decoding, predicting, encoding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from runtime.server.health import Heartbeat

LINE = b"0.123456789\n"


class Service:
    """What gunicorn.conf.py expects of an application: to be told of workers."""

    def start_worker(self) -> None:
        """Begin the heartbeat that /ping waits for."""
        Heartbeat(Path(os.environ["SERVE_RUN"]) / "beats", lambda: "").start()

    def forget_worker(self, pid: int) -> None:
        """Nothing is kept of a worker."""


class Floor:
    """Answers one line a line of the request."""

    extensions = {"scoring": Service()}  # noqa: RUF012

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer any request with 200."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = LINE * body.count(b"\n")
        start("200 OK", [("Content-Type", "text/csv"), ("Content-Length", str(len(answer)))])
        return [answer]


application = Floor()
