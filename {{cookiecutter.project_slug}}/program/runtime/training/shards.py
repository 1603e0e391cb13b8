"""One data set in the shards of several hosts: what each tells of its own, and how they are fitted
together where a shard alone cannot know the whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from runtime.formats.categories import Categories
from runtime.formats.table import Table

Facts = dict[str, Any]


def facts(tables: dict[str, Table], validation: bool) -> Facts:
    """Return what the other hosts must know of this host's tables; `rows` is 0 without data.

    `validation` says that the job has a channel of that name.
    """
    train = tables.get("train")
    if train is None:
        return {"rows": 0}
    sparse = isinstance(train.features, csr_matrix)
    return {
        "rows": len(train),
        "width": train.features.shape[1],
        "columns": "sparse" if sparse else train.features.shape[1],
        "names": train.names,
        "index_base": train.index_base,
        **_strings_of(train),
        "validation": "validation" in tables,
        "validation wanted": validation,
    }


def _strings_of(train: Table) -> Facts:
    """Return the strings of the training table, and which of its other columns hold numbers."""
    own = train.categories.values if train.categories else {}
    values = {str(place): list(found) for place, found in own.items()}
    numeric: list[int] = []
    if not isinstance(train.features, csr_matrix):
        greatest = np.fmax.reduce(train.features, axis=0, initial=np.nan)  # NaN where all are
        numeric = np.flatnonzero(~np.isnan(greatest)).tolist()
    labels = None if train.label_names is None else list(train.label_names)
    return {"strings": values, "numbers": numeric, "label strings": labels}


def mixed(members: dict[str, Facts]) -> str:
    """Return which column holds strings on one host and numbers on another, or nothing."""
    for host, entry in members.items():
        for other, facts in members.items():
            if (entry.get("label strings") is None) != (facts.get("label strings") is None):
                both = (host, other) if entry.get("label strings") is not None else (other, host)
                return f"the labels are strings on host {both[0]} and numbers on host {both[1]}"
            own = facts.get("strings", {})
            for place in entry.get("strings", {}):
                if place not in own and int(place) in facts.get("numbers", ()):
                    name = facts["names"][int(place)] if facts["names"] else int(place) + 1
                    return (
                        f"column {name} holds strings on host {host} and only numbers on host "
                        f"{other}: give each host files with some of its strings, or write its "
                        "numbers otherwise"
                    )
    return ""


def strings(members: dict[str, Facts]) -> tuple[Categories | None, list[str] | None]:
    """Return the categories of all hosts together, and the labels where they are strings."""
    values: dict[int, set[str]] = {}
    labels: set[str] | None = None
    for entry in members.values():
        for place, found in entry["strings"].items():
            values.setdefault(int(place), set()).update(found)
        if entry["label strings"] is not None:
            labels = (labels or set()) | set(entry["label strings"])
    names = next(iter(members.values()))["names"]
    union = {place: tuple(sorted(found)) for place, found in sorted(values.items())}
    categories = Categories(union, tuple(names) if names else None) if union else None
    return categories, None if labels is None else sorted(labels)


def digests(members: dict[str, Facts]) -> dict[str, list[str]]:
    """Return the digests of all hosts' shards, by data set."""
    found: dict[str, list[str]] = {}
    for entry in members.values():
        for name, digest in entry["digests"].items():
            found.setdefault(name, []).extend(digest)
    return found


def conform(tables: dict[str, Table], members: dict[str, Facts]) -> dict[str, Table]:
    """Return this host's tables with the columns of all, and a validation table if any host has.

    A libsvm shard shows its first index and its last column only if its rows hold them.
    """
    bases = [entry["index_base"] for entry in members.values() if entry["index_base"] is not None]
    base = min(bases, default=None)
    widths = [
        entry["width"] + ((entry["index_base"] or 0) - (base or 0)) for entry in members.values()
    ]
    fitted = {name: _widened(table, max(widths), base) for name, table in tables.items()}
    if any(entry["validation"] for entry in members.values()) and "validation" not in fitted:
        fitted["validation"] = _emptied(fitted["train"])
    return fitted


def _widened(table: Table, width: int, base: int | None) -> Table:
    rows = table.features
    if not isinstance(rows, csr_matrix):
        return table
    shift = (table.index_base or 0) - (base or 0)
    indices = rows.indices + np.int32(shift)
    wide = csr_matrix((rows.data, indices, rows.indptr), shape=(rows.shape[0], width))
    return dataclasses.replace(table, features=wide, index_base=base)


def _emptied(table: Table) -> Table:
    """Return no rows, with the columns of the table."""
    return dataclasses.replace(
        table,
        features=table.features[:0],
        labels=None if table.labels is None else table.labels[:0],
        weights=None if table.weights is None else table.weights[:0],
        query_ids=None if table.query_ids is None else table.query_ids[:0],
    )
