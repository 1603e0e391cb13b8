"""Logging to standard output, where SageMaker collects it."""

from __future__ import annotations

import logging
import sys

FORMAT = "[%(asctime)s:%(levelname)s] %(message)s"


def configure(level: str = "INFO") -> None:
    """Send every record of `level` and above to standard output, one line each, unbuffered."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
