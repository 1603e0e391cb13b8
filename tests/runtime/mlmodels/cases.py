"""The requests that MLflow and this program are both asked, by the model of models.tar.xz."""

from __future__ import annotations

import json
from typing import Any

# fmt: off
COLUMNS = ("age", "income", "ratio", "visits", "member")
ROWS: tuple[tuple[Any, ...], ...] = (
    (34, 61.25, 0.125, 3, True),
    (71, 38.5, 0.75, 0, False),
    (22, 44.0, 0.5, 8, True),
)
FLOATS = tuple(tuple(float(cell) for cell in row) for row in ROWS)
SHUFFLED = (3, 0, 4, 2, 1)
NAMED = ("booster", "classifier", "unsigned", "stopped", "optional")  # by columns


def split(rows: Any, columns: Any = COLUMNS, **more: Any) -> dict[str, Any]:
    """Return a request of `dataframe_split`."""
    names = {} if columns is None else {"columns": list(columns)}
    return {"dataframe_split": names | {"data": [list(row) for row in rows]} | more}


def records(rows: Any, columns: Any = COLUMNS, key: str = "dataframe_records") -> dict[str, Any]:
    """Return a request of an object per row."""
    return {key: [dict(zip(columns, row, strict=True)) for row in rows]}


def columnar(rows: Any, columns: Any = COLUMNS) -> dict[str, Any]:
    """Return a request of `inputs` with an array per column."""
    return {"inputs": dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))}


def changed(cell: Any, at: int, rows: Any = ROWS[:2]) -> Any:
    """Return rows whose first one has another cell in the column `at`."""
    return [[cell if (row, column) == (0, at) else value for column, value in enumerate(cells)]
            for row, cells in enumerate(rows)]


def picked(rows: Any, order: Any = SHUFFLED) -> Any:
    """Return rows with their columns in another order."""
    return [[row[at] for at in order] for row in rows]


SHUFFLED_NAMES = tuple(picked([COLUMNS])[0])
WITHOUT_RATIO = (0, 1, 3, 4)
REQUESTS: dict[str, Any] = {
    "split": split(ROWS),
    "split-floats": split(FLOATS),
    "split-one-row": split(ROWS[:1]),
    "split-shuffled": split(picked(ROWS), SHUFFLED_NAMES),
    "split-index": split(ROWS, index=["a", "b", "c"]),
    "split-no-columns": split(ROWS, None),
    "split-unknown-key": split(ROWS, names=["x"]),
    "split-without-data": {"dataframe_split": {"columns": list(COLUMNS)}},
    "split-of-a-list": {"dataframe_split": [list(row) for row in ROWS]},
    "split-extra-column": split([(*row, 9) for row in ROWS], (*COLUMNS, "extra")),
    "split-ragged": split([ROWS[0], ROWS[1][:4]]),
    "split-too-few-names": split(ROWS, COLUMNS[:4]),
    "split-without-age": split(picked(ROWS, (1, 2, 3, 4)), COLUMNS[1:]),
    "split-without-ratio": split(picked(ROWS, WITHOUT_RATIO), picked([COLUMNS], WITHOUT_RATIO)[0]),
    "split-no-rows": split([]),
    "records": records(ROWS),
    "records-shuffled": records(picked(ROWS), SHUFFLED_NAMES),
    "records-extra-column": records([(*row, 9) for row in ROWS], (*COLUMNS, "extra")),
    "records-one-without-income": {
        "dataframe_records": [
            dict(zip(COLUMNS, FLOATS[0], strict=True)),
            {name: value for name, value in zip(COLUMNS, FLOATS[1], strict=True)
             if name != "income"},
        ]
    },
    "records-of-an-object": {"dataframe_records": dict(zip(COLUMNS, ROWS[0], strict=True))},
    "records-of-arrays": {"dataframe_records": [list(row) for row in ROWS]},
    "records-empty": {"dataframe_records": []},
    "instances-arrays": {"instances": [list(row) for row in FLOATS]},
    "instances-objects": records(ROWS, key="instances"),
    "instances-objects-shuffled": records(picked(ROWS), SHUFFLED_NAMES, key="instances"),
    "instances-one-array": {"instances": list(FLOATS[0])},
    "instances-columns": {"instances": columnar(ROWS)["inputs"]},
    "inputs-arrays": {"inputs": [list(row) for row in FLOATS]},
    "inputs-integers": {"inputs": [[int(cell) for cell in row] for row in ROWS]},
    "inputs-columns": columnar(ROWS),
    "inputs-columns-shuffled": columnar(picked(ROWS), SHUFFLED_NAMES),
    "inputs-objects": records(ROWS, key="inputs"),
    "inputs-scalars": {"inputs": dict(zip(COLUMNS, ROWS[0], strict=True))},
    "inputs-uneven-columns": {"inputs": columnar(ROWS)["inputs"] | {"income": [1.0]}},
    "inputs-without-age": columnar(picked(ROWS, (1, 2, 3, 4)), COLUMNS[1:]),
    "inputs-a-number": {"inputs": 5},
    "null-in-double": split(changed(None, 1)),
    "null-in-float": split(changed(None, 2)),
    "null-in-long": split(changed(None, 0)),
    "null-in-integer": split(changed(None, 3)),
    "null-in-boolean": split(changed(None, 4)),
    "word-in-double": split(changed("many", 1)),
    "number-as-text-in-double": split(changed("61.25", 1)),
    "number-as-text-in-long": split(changed("34", 0)),
    "fraction-in-long": split(changed(34.5, 0)),
    "whole-float-in-long": split(changed(34.0, 0)),
    "beyond-integer": split(changed(2**31, 3)),
    "beyond-long": split(changed(2**63, 0)),
    "boolean-in-double": split(changed(True, 1)),
    "booleans-in-double": split([changed(True, 1)[0]] * 2),
    "number-in-boolean": split(changed(1, 4)),
    "two-in-boolean": split(changed(2, 4)),
    "numbers-in-boolean": split([changed(1, 4)[0]] * 2),
    "word-in-boolean": split(changed("true", 4)),
    "array-in-double": split(changed([1.0], 1)),
    "object-in-double": split(changed({"a": 1}, 1)),
    "records-word-in-long": records(changed("old", 0)),
    "records-fraction-in-integer": records(changed(2.5, 3)),
    "records-null-in-long": records(changed(None, 0)),
    "inputs-word-in-double": columnar(changed("many", 1)),
    "inputs-null-in-double": columnar(changed(None, 1)),
    "inputs-null-in-long": columnar(changed(None, 0)),
    "inputs-fraction-in-long": columnar(changed(34.5, 0)),
    "instances-null-in-double": records(changed(None, 1), key="instances"),
    "instances-null-in-array": {"instances": changed(None, 1, FLOATS[:2])},
    "params": split(ROWS) | {"params": {"output_margin": True}},
    "params-not-an-object": split(ROWS) | {"params": 5},
    "another-key": split(ROWS) | {"signature_name": "x"},
    "another-key-of-instances": {"instances": [list(row) for row in FLOATS], "other": 1},
    "two-forms": split(ROWS) | {"inputs": [list(row) for row in FLOATS]},
    "no-form": {"rows": [list(row) for row in FLOATS]},
    "an-array": [list(row) for row in FLOATS],
    "an-empty-object": {},
    "duplicate-names": split(ROWS, ("age", "age", "ratio", "visits", "member")),
    "large-numbers": split(changed(1e300, 1)),
    "infinite": '{"dataframe_split": {"columns": ["age", "income", "ratio", "visits", "member"], '
    '"data": [[34, Infinity, 0.125, 3, true]]}}',
    "not-a-number": '{"dataframe_split": {"columns": ["age", "income", "ratio", "visits", '
    '"member"], "data": [[34, NaN, 0.125, 3, true]]}}',
    "not-json": '{"dataframe_split": ',
    "text": "hello",
}


def body_of(request: Any) -> bytes:
    """Return a request as it is sent."""
    return (request if isinstance(request, str) else json.dumps(request)).encode()
