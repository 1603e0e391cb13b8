"""Hyperparameters as a program's arguments."""

from __future__ import annotations

from typing import Any

from runtime.training import environment


def to_cmd_args(mapping: dict[str, Any]) -> list[str]:
    """Return `--name value` for each entry, sorted by name."""
    return environment.arguments({"hyperparameters": mapping})
