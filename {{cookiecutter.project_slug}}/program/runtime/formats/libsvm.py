"""text/libsvm: `label[:weight] [qid:n] index:value …`, absent columns missing.

Only the head of a line is looked at in Python; all pairs of a block are parsed in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from runtime.formats import numbers
from runtime.formats.errors import ColumnsError, DecodeError, quoted
from runtime.formats.table import (
    LARGEST_INDEX,
    Floats,
    Reading,
    Rows,
    Schema,
    Table,
    blank,
    check_size,
)
from runtime.formats.text import BLOCK_BYTES, blocks, line_of_row, lines_of


@dataclass(frozen=True)
class Pairs:
    """The `index:value` pairs of a block in the order of the text, and the line of each from 0."""

    rows: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: Floats


def decode(body: bytes, schema: Schema) -> Rows:
    """Return the rows of a request. A label and a query id are ignored."""
    text = lines_of(body)
    if not text:
        return Rows.none(schema.num_features)
    check_size(text.count(b"\n") + 1, schema)
    lines = without_comments(text).split(b"\n")
    rests = [without_label(line.strip(), row) for row, line in enumerate(lines, 1)]
    check_long_lines(rests, schema)
    pairs = parse_pairs(rests)
    base = schema.index_base if schema.index_base is not None else base_of(pairs.indices, schema)
    columns = pairs.indices - base
    wrong = np.flatnonzero((columns < 0) | (columns >= schema.num_features))
    if wrong.size:
        row, index = int(pairs.rows[wrong[0]]) + 1, int(pairs.indices[wrong[0]])
        last = schema.num_features + base - 1
        raise ColumnsError(
            f"index {index} is not one of the model's, {base} to {last}",
            row=row,
            expected=[base, last],
            found=index,
        )
    values = blank(len(rests), schema)
    values[pairs.rows, columns] = pairs.values
    return Rows(values)


def check_long_lines(lines: list[bytes], schema: Schema) -> None:
    """Raise ColumnsError at a very long line of more pairs than the model has columns: finding
    the one that is at fault would take long."""
    for row, line in enumerate(lines, 1):
        if len(line) > BLOCK_BYTES and (found := line.count(b":")) > schema.num_features:
            raise ColumnsError(
                f"{found} pairs where the model has {schema.num_features} columns",
                row=row,
                expected=schema.num_features,
                found=found,
            )


def base_of(indices: NDArray[np.int64], schema: Schema) -> int:
    """Return the first column number of a request to a model that records none, judged by all
    its pairs. Raises ColumnsError where both readings are possible: a guess would be a wrong
    prediction."""
    if not indices.size or indices.min() == 0:
        return 0
    if indices.max() >= schema.num_features:
        return 1
    if not schema.uses_first_column:
        return 0
    index = int(indices[0])
    raise ColumnsError(
        "libsvm columns are numbered from 0 or from 1, and nothing in this request shows which: "
        f"index {index} is column {index + 1} of the model if its numbers start at 0, "
        f"column {index} if they start at 1; set LIBSVM_INDEX_BASE to 0 or 1",
        expected=[0, 1],
    )


def index_rule(schema: Schema) -> str:
    """Return in words where libsvm's column numbers start, for the log."""
    if schema.index_base is not None:
        return f"column numbers start at {schema.index_base}"
    if not schema.uses_first_column:
        rest = "others start at 0: no tree uses column 0"
    else:
        rest = "others are refused until LIBSVM_INDEX_BASE is set"
    return (
        "column numbers start at 0 in a request with index 0, at 1 in one with index "
        f"{schema.num_features}; {rest}"
    )


def read(stream: BinaryIO, reading: Reading) -> Iterator[Table]:
    """Yield the blocks of a training file, sparse, in columns numbered as in the file.

    Their `index_base` is None: only the whole channel tells whether indices start at 0 or 1.
    """
    for block in blocks(stream):
        lines = [line.strip() for line in without_comments(lines_of(block)).split(b"\n")]
        split = [line.partition(b" ") for line in lines if line]
        if not split:
            continue
        heads, rests = [head for head, _, _ in split], [rest.lstrip() for _, _, rest in split]
        labels, weights = parse_heads(heads)
        query_ids, rests = parse_query_ids(rests)
        pairs = parse_pairs(rests)
        width = int(pairs.indices.max(initial=-1)) + 1
        indptr = np.searchsorted(pairs.rows, np.arange(len(rests) + 1))
        features = csr_matrix((pairs.values, pairs.indices, indptr), shape=(len(rests), width))
        yield Table(features, labels=labels, weights=weights, query_ids=query_ids)


def line_of(stream: BinaryIO, row: int) -> int:
    """Return the line of a training file that holds a row: blank lines and comments are none."""
    return line_of_row(stream, row, lambda line: bool(line.partition(b"#")[0].strip()))


def without_comments(text: bytes) -> bytes:
    """Return `text` without what follows `#`, tabs as spaces."""
    text = re.sub(rb"#[^\n]*", b"", text) if b"#" in text else text
    return text.replace(b"\t", b" ")


def without_label(line: bytes, row: int) -> bytes:
    """Return the pairs of `line`, without a label and a query id. Raises DecodeError where the
    first word is neither a label nor a pair."""
    head, _, rest = line.partition(b" ")
    if b":" not in head:
        if not numbers.is_number(head):
            raise numbers.not_a_number(head, row, 1)
        line = rest.lstrip()
    return line.partition(b" ")[2].lstrip() if line.startswith(b"qid:") else line


def parse_heads(heads: list[bytes]) -> tuple[Floats, Floats | None]:
    """Return the labels, and the weights (1 where a line has none) or None, float32 [lines]."""
    if b"," in b" ".join(heads):
        row, head = next((row, head) for row, head in enumerate(heads, 1) if b"," in head)
        raise numbers.not_a_number(head, row, 1)
    if not any(b":" in head for head in heads):
        return numbers.rows(b",".join(heads), 1)[:, 0], None
    full = [head if b":" in head else head + b":1" for head in heads]
    for row, head in enumerate(full, 1):
        if head.count(b":") != 1:
            raise numbers.not_a_number(head, row, 1)
    both = numbers.rows(b",".join(full).replace(b":", b","), 2)
    return both[:, 0].copy(), both[:, 1].copy()


def parse_query_ids(rests: list[bytes]) -> tuple[NDArray[np.int64] | None, list[bytes]]:
    """Return the query ids int64 [lines], or None, and the lines without them."""
    if not any(rest.startswith(b"qid:") for rest in rests):
        return None, rests
    ids = np.empty(len(rests), np.int64)
    others = []
    for row, rest in enumerate(rests):
        token, _, other = rest.partition(b" ")
        number = token.removeprefix(b"qid:")
        if number == token or not number.isdigit() or len(number) > 18:
            raise DecodeError(
                "every row needs qid:N after its label, N a whole number", row=row + 1
            )
        ids[row] = int(number)
        others.append(other.lstrip())
    return ids, others


def parse_pairs(lines: list[bytes]) -> Pairs:
    """Parse `index:value` pairs separated by spaces. Raises DecodeError with row and column."""
    text = b" ".join(filter(None, lines))
    if not text:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    counts = np.array([line.count(b":") for line in lines], np.int64)
    if not alternates(text, int(counts.sum())):
        lines = [re.sub(rb" +", b" ", line) for line in lines]
        text = b" ".join(filter(None, lines))
        if not alternates(text, int(counts.sum())):
            raise fault_of(lines)
    try:
        cells = numbers.parse(text.replace(b":", b",").replace(b" ", b",")).reshape(-1, 2)
    except numbers.CellError:
        raise fault_of(lines) from None
    indices = cells[:, 0]
    if not ((indices >= 0) & (indices <= LARGEST_INDEX) & (indices == np.floor(indices))).all():
        raise fault_of(lines)
    rows = np.repeat(np.arange(len(lines)), counts)
    pairs = Pairs(rows, indices.astype(np.int64), narrowed(cells[:, 1:], rows))
    keys = rows * (LARGEST_INDEX + 1) + pairs.indices
    if not (np.diff(keys) > 0).all() and len(np.unique(keys)) < len(keys):
        raise fault_of(lines)
    return pairs


def alternates(text: bytes, pairs: int) -> bool:
    """Whether colons and single spaces take turns in `text`, for that many pairs."""
    rest = text.translate(None, numbers.ALPHABET.replace(b" ", b""))
    return pairs > 0 and rest == (b": " * pairs)[:-1]


def narrowed(values: NDArray[np.float64], rows: NDArray[np.int64]) -> Floats:
    """Return `values` [pairs, 1] as float32 [pairs]. Raises DecodeError naming the line."""
    try:
        return numbers.narrow(values)[:, 0]
    except DecodeError as error:
        raise replace(error, row=int(rows[(error.row or 1) - 1]) + 1, column=None) from None


def fault_of(lines: list[bytes]) -> DecodeError:
    """Return the first fault of lines that are not all pairs with distinct indices."""
    for row, line in enumerate(lines, 1):
        seen: set[int] = set()
        for token in line.split():
            index, colon, value = token.partition(b":")
            whole = int(index) if index.isdigit() and len(index) < 11 else LARGEST_INDEX + 1
            if whole > LARGEST_INDEX or not colon or not numbers.is_number(value):
                return DecodeError(f"{quoted(token)} is not index:value", row=row, found=token)
            if whole in seen:
                return DecodeError(f"duplicate index {whole}", row=row, found=whole)
            seen.add(whole)
    return DecodeError("the pairs are not index:value")
