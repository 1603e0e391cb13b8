"""Parsers of settings and hyperparameters: a text to a value, or ValueError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FLAGS = {"1": True, "true": True, "on": True, "yes": True}
FLAGS |= {"0": False, "false": False, "off": False, "no": False}


@dataclass(frozen=True)
class Parser:
    """Call it with a text to get the value. `form` is what it accepts, in words."""

    form: str
    convert: Callable[[str], Any]
    choices: tuple[str, ...] = ()

    def __call__(self, text: str) -> Any:
        """Return the value of `text`. Raises ValueError when it is not of this form."""
        try:
            return self.convert(text.strip())
        except (KeyError, TypeError, OverflowError, SyntaxError, RecursionError) as problem:
            raise ValueError(text) from problem


def number(
    low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Parser:
    """Finite numbers from `low` to `high`; `above` and `below` exclude these bounds themselves."""

    def convert(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError(text)
        if (above and value == low) or (below and value == high):
            raise ValueError(text)
        return value

    return Parser("a number" + _bounds(low, high, above, below), convert)


def integer(low: float, high: float = math.inf) -> Parser:
    """Integers from `low` to `high`, both included; tuning jobs may send one as "6.0"."""
    inside = number(low, high)

    def convert(text: str) -> int:
        value = inside(text)
        if value != int(value):
            raise ValueError(text)
        return int(value)

    return Parser("an integer" + _bounds(low, high), convert)


def _bounds(low: float, high: float, above: bool = False, below: bool = False) -> str:
    """Return a range in words."""
    least, most = f"{low:.15g}", f"{high:.15g}"
    if low == -math.inf:
        return "" if high == math.inf else f" of at most {most}"
    if above or below:
        bounds = [f"above {least}"] if above else [f"of at least {least}"]
        bounds += [f"below {most}" if below else f"at most {most}"] if high < math.inf else []
        return " " + " and ".join(bounds)
    return f" from {least} to {most}" if high < math.inf else f" of at least {least}"


def optional(parse: Parser) -> Parser:
    """What `parse` takes, or the empty text: None."""
    return Parser(
        f"empty, or {parse.form}", lambda text: parse(text) if text else None, parse.choices
    )


def one_of(*choices: str) -> Parser:
    """One of `choices`, in any case."""
    known = {choice.lower(): choice for choice in choices}
    return Parser("one of " + ", ".join(choices), lambda text: known[text.lower()], choices)


def keys_of(*known: str) -> Parser:
    """A list of names separated by commas, in lower case, each once; any name is taken."""

    def convert(text: str) -> tuple[str, ...]:
        words = text.replace(" ", "").lower().split(",")
        return tuple(dict.fromkeys(word for word in words if word))

    return Parser("a list, separated by commas, of " + ", ".join(known), convert)


def names(pattern: str = r"[^\s,]+") -> Parser:
    """A list of names that match `pattern`, separated by commas or as a JSON array."""

    def convert(text: str) -> list[str]:
        items = json.loads(text) if text.startswith("[") else text.split(",")
        words = [str(item).strip() for item in items]
        if not all(re.fullmatch(pattern, word) for word in words):
            raise ValueError(text)
        return words

    return Parser("names separated by commas", convert)


def numbers(low: float, high: float) -> Parser:
    """A list of numbers from `low` to `high`, separated by commas, in brackets or without."""
    one = number(low, high)

    def convert(text: str) -> list[float]:
        return [one(word) for word in text.strip("[]()").split(",")]

    return Parser(f"numbers from {low:g} to {high:g}, separated by commas", convert)


def matching(pattern: str, form: str = "text") -> Parser:
    """Text that matches a regular expression."""

    def convert(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Parser(form, convert)


flag = Parser("true or false (also on/off, yes/no, 1/0)", lambda text: FLAGS[text.lower()])
plain = Parser("text", str)
