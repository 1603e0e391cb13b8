"""One data set in the shards of several hosts: what each tells of its own, and how they are fitted
together where a shard alone cannot know the whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

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
        "validation": "validation" in tables,
        "validation wanted": validation,
    }


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
