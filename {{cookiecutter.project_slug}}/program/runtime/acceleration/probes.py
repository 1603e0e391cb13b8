"""Rows on which two engines that differ at all are likely to differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.acceleration.document import Document, Tree

Floats = NDArray[np.float32]

SIZES = (1, 31, 32, 33, 1000)  # oneDAL works in blocks of 32 and treats the rest one by one
BUDGET = 300_000  # rows x trees of one case: keeps the whole check below a second or two
LARGE = (1e6, -1e6, 1.7e9, 1.7e12, 1e30, -1e30, 16_777_217.0)  # epoch seconds and milliseconds
NO_CODES = np.array([np.nan, -1, -0.0, -0.5, 2**24 - 1, 2**24, 2**31, 2**33, 1e30], np.float32)
MOST_CATEGORIES = 8192  # rows of the case with every category
MAX, TINY = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
EXTREMES = (0.0, -0.0, 1e-45, -1e-45, 1e-39, -1e-39, TINY, -TINY, MAX, -MAX)


def cases(
    document: Document, rows: Floats | None, missing: float | None
) -> list[tuple[str, Floats]]:
    """Return (name, float32 rows [n, features]) for each case, the same for the same model.

    `rows` are rows of the training data when there are any; otherwise rows are drawn around the
    thresholds of the model's own splits.
    """
    random = np.random.default_rng(0)
    count = int(np.clip(BUDGET // max(len(document.trees), 1), 33, 1000))
    at_splits = _at_splits(document, count, random)
    given = rows is not None and len(rows) > 0 and rows.shape[1:] == (document.num_features,)
    if rows is not None and given:
        base = np.ascontiguousarray(rows[:count], np.float32)
    else:
        base = _mix(at_splits, random, (1.0, -1.0, 0.5, 2.0), share=0.5)
    many = base[np.arange(SIZES[-1]) % len(base)]
    named = [
        ("training rows" if given else "random rows", base),
        ("on split thresholds and one ulp beside", at_splits),
        ("missing values", _with_missing(base, missing, random)),
        ("large magnitudes", _mix(base[:200], random, LARGE, share=0.3)),
        ("float32 extremes", _mix(base[:200], random, EXTREMES, share=0.5)),
    ]
    if document.categorical:
        named.append(("every category, and none", _with_categories(document, base, random)))
    return named + [(f"{size} row{'s' * (size > 1)}", many[:size]) for size in SIZES]


def _at_splits(document: Document, count: int, random: np.random.Generator) -> Floats:
    """Return rows whose every cell is a threshold of its column, or one ulp beside one."""
    splits = [_numeric(tree) for tree in document.trees]
    features = np.concatenate([t.feature[s] for t, s in zip(document.trees, splits, strict=True)])
    values = np.concatenate([t.value[s] for t, s in zip(document.trees, splits, strict=True)])
    rows = np.zeros((count, document.num_features), np.float32)
    for column, codes in _codes(document).items():
        rows[:, column] = random.permutation(codes[np.arange(count) % len(codes)])
    for column in np.unique(features):
        at = np.unique(values[features == column])
        below, above = np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))
        near = np.concatenate([at, below, above])
        pool = random.permutation(near[np.isfinite(near)])
        rows[:, column] = random.permutation(pool[np.arange(count) % len(pool)])
    return rows


def _numeric(tree: Tree) -> NDArray[np.bool_]:
    """Return which nodes of a tree compare a number."""
    splits = tree.left >= 0
    splits[list(tree.categories)] = False
    return splits


def _codes(document: Document) -> dict[int, Floats]:
    """Return the codes that the splits of each categorical feature name, sorted."""
    found: dict[int, set[int]] = {}
    for tree in document.trees:
        for node, codes in tree.categories.items():
            found.setdefault(int(tree.feature[node]), set()).update(codes)
    return {feature: np.array(sorted(codes), np.float32) for feature, codes in found.items()}


def _with_categories(document: Document, rows: Floats, random: np.random.Generator) -> Floats:
    """Return rows with every code of every categorical feature, and values that are not codes."""
    codes = _codes(document)
    pools = {
        feature: np.concatenate([known, known[-1:] + 1, known[:1] + np.float32(0.5), NO_CODES])
        for feature, known in codes.items()
    }
    count = min(max(map(len, pools.values())), MOST_CATEGORIES)
    result = rows[np.arange(count) % len(rows)].copy()
    for feature, pool in pools.items():
        result[:, feature] = random.permutation(pool[np.arange(max(count, len(pool))) % len(pool)])[
            :count
        ]
    return result


def _with_missing(rows: Floats, missing: float | None, random: np.random.Generator) -> Floats:
    result = rows.copy()
    result[random.random(rows.shape) < 0.3] = np.nan
    if missing is not None:
        result[random.random(rows.shape) < 0.3] = missing
    result[0] = np.nan
    return result


def _mix(
    rows: Floats, random: np.random.Generator, values: tuple[float, ...], share: float
) -> Floats:
    """Return the rows with a share of the cells replaced by one of `values`."""
    chosen = random.choice(np.asarray(values, np.float32), rows.shape)
    return np.where(random.random(rows.shape) < share, chosen, rows)
