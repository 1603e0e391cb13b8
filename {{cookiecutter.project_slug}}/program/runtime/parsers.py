"""Parsers of settings: text to a value, or ValueError. A docstring says the accepted form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of integers from `low` to `high`, both included."""

    def parse(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    parse.__doc__ = f"an integer from {low}" + (f" to {high}" if high is not None else " up")
    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`, both included."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError
        return value

    parse.__doc__ = f"a number from {low:g} to {high:g}"
    return parse


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser of what `parse` takes, or of the empty text: None."""

    def parse_optional(text: str) -> Any:
        return parse(text) if text else None

    parse_optional.__doc__ = f"empty, or {parse.__doc__}"
    return parse_optional


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that takes one of `choices`, in any case."""

    def parse(text: str) -> str:
        matches = [choice for choice in choices if choice.lower() == text.lower()]
        if not matches:
            raise ValueError
        return matches[0]

    parse.__doc__ = "one of " + ", ".join(choices)
    return parse


def flag(text: str) -> bool:
    """true or false (also on/off, yes/no, 1/0)"""
    lowered = text.lower()
    if lowered in {"1", "true", "on", "yes"}:
        return True
    if lowered in {"0", "false", "off", "no"}:
        return False
    raise ValueError


def keys_of(*known: str) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of names separated by commas, in lower case, each once; any name is taken."""

    def parse(text: str) -> tuple[str, ...]:
        names = text.replace(" ", "").lower().split(",")
        return tuple(dict.fromkeys(name for name in names if name))

    parse.__doc__ = "a list, separated by commas, of " + ", ".join(known)
    return parse


def plain(text: str) -> str:
    """text"""
    return text.strip()
