"""Logging to standard output, where SageMaker collects it."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from typing import TextIO

FORMAT = "[%(asctime)s:%(levelname)s] %(message)s"
OF_XGBOOST = re.compile(r"\[[\d:]+\] WARNING: \S+ ")  # its own time, and its source file


def configure(level: str = "INFO") -> None:
    """Send every record of `level` and above to standard output, one line each, unbuffered, and
    each of Python's warnings once."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    warnings.showwarning = _Shown()


class _Shown:
    """Logs a warning once. XGBoost's begin with the time, so to Python the same one is new."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        if found := OF_XGBOOST.match(text):
            text = text[found.end() :]
        else:
            text = f"{category.__name__}: {text} ({filename}:{lineno})"
        if text not in self._seen:
            self._seen.add(text)
            logging.getLogger("py.warnings").warning("%s", text)
