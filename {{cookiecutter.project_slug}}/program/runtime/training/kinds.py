"""The kinds of value that a hyperparameter takes: parsing of text, and the range in words."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

FLAGS = {"1": 1, "true": 1, "0": 0, "false": 0}


@dataclass(frozen=True)
class Kind:
    """A type with its bounds (`open_low`, `open_high`: excluded), choices or pattern."""

    type: str  # integer, number, flag, choice, list, text
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ".+"

    def parse(self, text: str) -> Any:
        """Return the typed value of `text`. Raises ValueError or KeyError when it is not one."""
        text = text.strip()
        if self.type == "flag":
            return FLAGS[text.lower()]
        if self.type in {"integer", "number"}:
            return self._number(float(text))
        if self.type == "list":
            return self._list(json.loads(text) if text.startswith("[") else text.split(","))
        if (self.choices and text not in self.choices) or not re.fullmatch(self.pattern, text):
            raise ValueError(text)
        return text

    def _number(self, value: float) -> float:
        low = value > self.low if self.open_low else value >= self.low
        high = value < self.high if self.open_high else value <= self.high
        if not (low and high and math.isfinite(value)):
            raise ValueError(value)
        if self.type == "number":
            return value
        if value != int(value):  # tuning jobs may send an integer as "6.0"
            raise ValueError(value)
        return int(value)

    def _list(self, items: list[Any]) -> list[str]:
        words = [str(item).strip() for item in items]
        if not all(re.fullmatch(self.pattern, word) for word in words):
            raise ValueError(items)
        return words

    def __str__(self) -> str:
        """Say the type and the range in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        word = {"flag": "0, 1, false or true", "list": "names separated by commas"}.get(self.type)
        low = f"{'>' if self.open_low else '>='} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'<' if self.open_high else '<='} {self.high:g}" if self.high < math.inf else ""
        bounds = " and ".join(filter(None, [low, high]))
        return " ".join(filter(None, [word or self.type, bounds]))


FLAG = Kind("flag")
TEXT = Kind("text")


def integer(low: float, high: float = math.inf) -> Kind:
    """Integers from `low` to `high`, both included."""
    return Kind("integer", low, high)


def number(low: float = -math.inf, high: float = math.inf) -> Kind:
    """Finite numbers from `low` to `high`, both included."""
    return Kind("number", low, high)


def above(low: float, high: float = math.inf, *, below: bool = False) -> Kind:
    """Numbers above `low`, up to `high`; `below` excludes `high` too."""
    return Kind("number", low, high, open_low=True, open_high=below)


def choice(*choices: str) -> Kind:
    """One of `choices`, as written."""
    return Kind("choice", choices=choices)


def names(pattern: str = r"[^\s,]+") -> Kind:
    """A list of names, separated by commas or as a JSON array."""
    return Kind("list", pattern=pattern)


def text(pattern: str) -> Kind:
    """Text that matches a regular expression."""
    return Kind("text", pattern=pattern)
