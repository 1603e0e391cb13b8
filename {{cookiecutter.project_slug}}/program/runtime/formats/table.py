"""The two shapes that data has in this program: a request's rows, and a training table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from runtime.formats.categories import Categories, Unseen
from runtime.formats.errors import ColumnsError, DecodeError, listed, quoted
from runtime.formats.strings import Strings

Floats = NDArray[np.float32]
LARGEST_INDEX = 2**31 - 2  # of a column: XGBoost counts them in 32 bits
QUERY_ID = "qid"  # the column of training files that groups the rows of a ranking
LARGEST_QUERY_ID = 2**53  # whole numbers are exact in float64 up to that
PANDAS_UNNAMED = re.compile(r"Unnamed: \d+")
INDEX_HINT = ": did pandas write its index? Write the file with index=False"
MAX_CELLS = 1 << 25  # of a request's matrix: 128 MB
ROW_CELLS = 32


@dataclass(frozen=True)
class Schema:
    """What a decoder must know of the model: columns, their names, libsvm's first index (None if
    each request must show it), whether rows that are too short end in missing values, whether the
    trees ever ask for column 0, how many cells a request's matrix may have, and the categories of
    its columns, whose cells are strings then."""

    num_features: int
    feature_names: tuple[str, ...] | None = None
    index_base: int | None = 0
    pad_short_rows: bool = False
    uses_first_column: bool = True
    max_cells: int = MAX_CELLS
    categories: Categories | None = None


@dataclass(frozen=True)
class Table:
    """Training data. `features` is float32 [rows, columns], dense with NaN for missing cells or
    sparse where absent means missing; the others are float32 or int [rows], or None. `index_base`
    is what the files called column 0; None if dense, or not known yet."""

    features: Floats | csr_matrix
    labels: Floats | None = None
    weights: Floats | None = None
    query_ids: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None
    index_base: int | None = None
    fitted: Any = None  # the JSON object that features.fit learned, for features.transform
    categories: Categories | None = None  # whose codes the features are
    label_names: tuple[str, ...] | None = None  # whose positions the labels are
    label_sources: Mapping[str, str] = field(default_factory=dict)  # file and row of the first each

    def __len__(self) -> int:
        return int(self.features.shape[0])


class Rows(NamedTuple):
    """A request's rows: float32 [rows, columns], C-contiguous, NaN where a cell is missing, the
    names of the columns where they are known, and what was no category: missing in `values`."""

    values: Floats
    names: tuple[str, ...] | None = None
    unseen: tuple[Unseen, ...] = ()

    @classmethod
    def none(cls, columns: int) -> Rows:
        """Return no rows."""
        return cls(np.empty((0, columns), np.float32))


@dataclass(frozen=True)
class Reading:
    """What a reader of training files must know: whether csv has a weight in column 1, and
    which columns may hold strings; None: none."""

    csv_weights: bool = False
    strings: Strings | None = None


def check_names(names: Sequence[str], first: int = 1) -> None:
    """Raise DecodeError on columns that cannot be told apart, or that are a row number.

    `first` is the number of the first one among the columns of the file.
    """
    seen: set[str] = set()
    for column, name in enumerate(names, first):
        if not name:
            raise DecodeError("header row: the column has no name" + INDEX_HINT, column=column)
        if PANDAS_UNNAMED.fullmatch(name):
            raise DecodeError(f"header row: {quoted(name)} is no feature" + INDEX_HINT)
        if name in seen:
            raise DecodeError(f"header row: duplicate name {quoted(name)}", column=column)
        seen.add(name)


def whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return query ids, float64 [rows], as int64. Raises DecodeError naming the row."""
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values <= LARGEST_QUERY_ID) & (values == np.floor(values)))
    if wrong.any():
        raise query_id_fault(int(wrong.argmax()) + 1)
    return values.astype(np.int64)


def query_id_fault(row: int) -> DecodeError:
    """Return the fault of a row whose query id cannot be one."""
    message = "a query id must be a whole number from 0 to 2^53"
    return DecodeError(message, row=row, column=QUERY_ID)


def order_of(found: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """Return where in `found` each of the `wanted` names is. Raises ColumnsError listing the
    unknown and the missing ones."""
    if len(found) == len(wanted) and set(found) == set(wanted):
        position = {name: index for index, name in enumerate(found)}
        return [position[name] for name in wanted]
    known, given = set(wanted), set(found)
    unknown = [name for name in found if name not in known]
    missing = [name for name in wanted if name not in given]
    faults = [("unknown", unknown), ("missing", missing)]
    text = "; ".join(f"{what}: {listed(names)}" for what, names in faults if names)
    raise ColumnsError(
        f"the columns are not the model's; {text or 'a name is a duplicate'}",
        expected=list(wanted),
        found=list(found),
    )


def check_size(rows: int, schema: Schema) -> None:
    """Raise DecodeError where a small body would fill the memory: a sparse row costs its columns,
    and work of its own that is as much as ROW_CELLS of those."""
    cells = rows * max(schema.num_features, ROW_CELLS)
    if cells > schema.max_cells:
        raise DecodeError(
            f"{rows} rows of {schema.num_features} columns are too many at once; send fewer rows",
            expected=schema.max_cells,
            found=cells,
        )


def blank(rows: int, schema: Schema) -> Floats:
    """Return float32 [rows, columns] of missing cells, to be filled by sparse data.

    Raises DecodeError where they are too many.
    """
    check_size(rows, schema)
    return np.full((rows, schema.num_features), np.nan, np.float32)


def positions(keys: Sequence[int], columns: int, row: int) -> NDArray[np.int64]:
    """Return the column indices of a sparse row, from 0, as int64. Raises ColumnsError where one
    is beyond `columns`, DecodeError at a duplicate."""
    low, high = min(keys, default=0), max(keys, default=0)
    if low < 0 or high >= columns:
        wrong = low if low < 0 else high
        raise ColumnsError(
            f"key {wrong} is not one of the {columns} columns, 0 to {columns - 1}",
            row=row,
            expected=[0, columns - 1],
            found=wrong,
        )
    if len(set(keys)) < len(keys):
        raise DecodeError("duplicate key", row=row)
    return np.array(keys, np.int64)
