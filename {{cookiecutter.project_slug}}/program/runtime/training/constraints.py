"""`monotone_constraints` and `interaction_constraints`: by column number or by column name.

They are written as for XGBoost's Python package. Their columns are those of the model, so they can
be checked against it only once the data is read; XGBoost itself ignores some of those that it does
not know. Source: https://xgboost.readthedocs.io/en/release_3.2.0/tutorials/monotonic.html
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from runtime.job.failures import UserError
from runtime.parsers import Parser

Monotone = list[int] | dict[str, int]
Interactions = list[list[int]] | list[list[str]]
SIGNS = (-1, 0, 1)


def _parse_monotone(text: str) -> Monotone:
    value = ast.literal_eval(text)
    if isinstance(value, int) and text.startswith("("):
        value = [value]  # to Python, (1) is a number
    signs = value.values() if isinstance(value, dict) else value
    if isinstance(value, int) or not all(type(sign) is int and sign in SIGNS for sign in signs):
        raise ValueError(text)
    if not isinstance(value, dict):
        return list(value)
    if not all(isinstance(name, str) for name in value):
        raise ValueError(text)
    return value


def _parse_interactions(text: str) -> Interactions:
    value = ast.literal_eval(text)
    if not isinstance(value, list | tuple) or not all(isinstance(v, list | tuple) for v in value):
        raise ValueError(text)
    members = [member for group in value for member in group]
    if not all(type(member) is int and member >= 0 for member in members) and not all(
        isinstance(member, str) for member in members
    ):
        raise ValueError(text)
    return [list(group) for group in value]


MONOTONE = Parser('-1, 0 or 1 per column: (1,-1,0), or {"name": 1}', _parse_monotone)
INTERACTIONS = Parser(
    'groups of column numbers or names: [[0,1],[2,3]] or [["a","b"]]', _parse_interactions
)


def resolve(
    given: dict[str, Any], columns: int, names: Sequence[str] | None, index_base: int | None
) -> tuple[dict[str, str], list[str]]:
    """Return the constraints of `given` as XGBoost's own text, by column number, and notes.

    `columns` and `names` are those of the model, `index_base` is libsvm's first index, or None.
    The built-in algorithm keeps a column 0 for files whose indices start at 1, and counts it.
    Raises UserError for names, numbers and counts that the model does not have.
    """
    shifted = index_base == 1
    found: dict[str, str] = {}
    notes: list[str] = []
    if (signs := given.get("monotone_constraints")) is not None:
        signs = _signs_by_name(signs, names) if isinstance(signs, dict) else list(signs)
        if shifted and len(signs) == columns + 1:
            notes.append("the first of monotone_constraints is for libsvm index 0: it is dropped")
            signs = signs[1:]
        if len(signs) > columns or (shifted and len(signs) != columns):
            also = f", or {columns + 1} with one for libsvm index 0" if shifted else ""
            raise UserError(
                f"monotone_constraints has {len(signs)} values: the model has {columns} "
                f"columns{also}"
            )
        if len(signs) < columns:
            notes.append(f"monotone_constraints leaves the columns from {len(signs)} up free")
        found["monotone_constraints"] = f"({','.join(map(str, signs))})"
    if (groups := given.get("interaction_constraints")) is not None:
        members = [member for group in groups for member in group]
        if any(isinstance(member, str) for member in members):
            groups = [_positions(group, names, "interaction_constraints") for group in groups]
        elif shifted and members and 0 not in members:
            notes.append("interaction_constraints counts from 1, as the libsvm files do")
            groups = [[member - 1 for member in group] for group in groups]
        high = max((member for group in groups for member in group), default=0)
        if high >= columns:
            raise UserError(
                f"interaction_constraints names a column beyond the model's {columns}: "
                f"{max(members)}"
            )
        found["interaction_constraints"] = str(groups)
    return found, notes


def _signs_by_name(signs: dict[str, int], names: Sequence[str] | None) -> list[int]:
    _positions(list(signs), names, "monotone_constraints")
    return [signs.get(name, 0) for name in names or ()]


def _positions(
    wanted: Sequence[str], names: Sequence[str] | None, hyperparameter: str
) -> list[int]:
    """Return the column numbers of names. Raises UserError for those that there are not."""
    if names is None:
        raise UserError(
            f"{hyperparameter} uses column names, but the data has none: give CSV a header, or "
            "use column numbers"
        )
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(f"{hyperparameter} names unknown columns: {', '.join(unknown)}")
    return [names.index(name) for name in wanted]
