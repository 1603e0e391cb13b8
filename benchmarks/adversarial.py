"""What the most expensive bodies that a client can send cost: CPU seconds and memory per decoder.

Each attack runs in a process of its own, so that its peak of resident memory is its own.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime import formats
from runtime.formats import Schema
from runtime.formats.errors import FormatError
from runtime.formats.recordio import frame, record_class
from runtime.inference.body import inflate
from runtime.job import resources

COLUMNS = 8
NAMES = tuple("abcdefgh")
MOST_SECONDS = 2.0
MOST_MEMORY = 10  # times the largest body
FIELDS = ("attack", "body_mb", "seconds", "memory_mb", "times_the_limit", "answer")
GZIP = "gzip"


def times(piece: bytes, size: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    """Return as many copies of `piece` as fit into `size` bytes, between `head` and `tail`."""
    return head + piece * max(1, (size - len(head) - len(tail)) // len(piece)) + tail


def parquet(size: int) -> bytes:
    """Return a table of zeros as a body that is far smaller: as large as the cells it decodes to
    would make `size` bytes of text, and ten times that."""
    pyarrow = __import__("pyarrow.parquet").parquet
    zeros = np.zeros(size)
    stream = io.BytesIO()
    table = __import__("pyarrow").table(dict.fromkeys(NAMES, zeros))
    pyarrow.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def wide_parquet(size: int) -> bytes:
    """Return a table of one row and as many columns as fit: its footer is the body."""
    pyarrow = __import__("pyarrow")
    count = size // 400
    table = pyarrow.table({f"c{i}": [0.0] for i in range(count)})
    stream = io.BytesIO()
    __import__("pyarrow.parquet").parquet.write_table(table, stream, compression="none")
    return stream.getvalue()


def record(keys: tuple[int, ...] = (), values: tuple[float, ...] = (), shape: int = 0) -> bytes:
    """Return a framed record."""
    message = record_class()()
    tensor = message.features["values"].float32_tensor
    tensor.keys.extend(keys)
    tensor.values.extend(values)
    tensor.shape.extend([shape] if shape else [])
    return frame(message.SerializeToString())


ROW = b",".join([b"1"] * COLUMNS) + b"\n"
BY_NAME = json.dumps(dict.fromkeys(NAMES, 1), separators=(",", ":")).encode()
TENSOR = b'{"data":{"features":{"keys":[1],"values":[1],"shape":[8]}}}'
ATTACKS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "csv: one line": ("text/csv", lambda n: times(b"1,", n)),
    "csv: one line after a good one": ("text/csv", lambda n: times(b"1,", n, ROW)),
    "csv: one quoted line": ("text/csv", lambda n: times(b'"1",', n, ROW)),
    "csv: one cell": ("text/csv", lambda n: times(b"1", n)),
    "csv: one name": ("text/csv", lambda n: times(b"x", n)),
    "csv: many lines": ("text/csv", lambda n: times(b"1\n", n)),
    "csv: missing cells": ("text/csv", lambda n: times(b"," * (COLUMNS - 1) + b"\n", n)),
    "csv: plus signs": ("text/csv", lambda n: times(ROW.replace(b"1", b"+1"), n)),
    "csv: a fault in the last row": ("text/csv", lambda n: times(ROW, n, tail=b"1,x\n")),
    "csv: quotes": ("text/csv", lambda n: times(b'"1"' + b',"1"' * (COLUMNS - 1) + b"\n", n)),
    "csv: an open quote": ("text/csv", lambda n: times(ROW, n, b'"')),
    "csv: spaces": ("text/csv", lambda n: times(b" ", n, b"1 ", b"1")),
    "csv: blank lines": ("text/csv", lambda n: times(b"\n", n, b"1,2\n", b"1,2")),
    "libsvm: one line": ("text/libsvm", lambda n: times(b"1:1 ", n, b"1 ")),
    "libsvm: one line of other pairs": (
        "text/libsvm",
        lambda n: b"1 " + b" ".join(b"%d:1" % i for i in range(n // 10)),
    ),
    "libsvm: one word": ("text/libsvm", lambda n: times(b"1", n)),
    "libsvm: many labels": ("text/libsvm", lambda n: times(b"1\n", n)),
    "libsvm: empty lines": ("text/libsvm", lambda n: times(b"\n", n, b"1", b"1")),
    "libsvm: short rows": ("text/libsvm", lambda n: times(b"1 1:1\n", n)),
    "libsvm: comments": ("text/libsvm", lambda n: times(b"#\n", n, b"1")),
    "libsvm: a fault in the last row": ("text/libsvm", lambda n: times(b"1 1:1\n", n, tail=b"x")),
    "json: deep": ("application/json", lambda n: times(b"[", n)),
    "json: deep, with NaN": ("application/json", lambda n: times(b"[", n, tail=b"NaN")),
    "json: empty arrays": ("application/json", lambda n: times(b"[],", n, b"[", b"[]]")),
    "json: nulls": (
        "application/json",
        lambda n: times(b"[null" + b",null" * (COLUMNS - 1) + b"],", n, b"[", b"[]]"),
    ),
    "json: objects": ("application/json", lambda n: times(BY_NAME + b",", n, b"[", b"1]")),
    "json: tensors": ("application/json", lambda n: times(TENSOR + b",", n, b"[", TENSOR + b"]")),
    "json: keys": (
        "application/json",
        lambda n: json.dumps({f"k{i}": 1 for i in range(n // 14)}).encode(),
    ),
    "json: NaN": ("application/json", lambda n: times(b"NaN,", n, b"[[", b"NaN]]")),
    "json: one number": ("application/json", lambda n: times(b"1", n)),
    "jsonlines: many lines": ("application/jsonlines", lambda n: times(b"1\n", n)),
    "jsonlines: empty objects": ("application/jsonlines", lambda n: times(b"{}\n", n)),
    "jsonlines: objects": ("application/jsonlines", lambda n: times(BY_NAME + b"\n", n)),
    "jsonlines: objects and spaces": (
        "application/jsonlines",
        lambda n: times(b" " + BY_NAME + b"\n", n),
    ),
    "npy: a header": (
        "application/x-npy",
        lambda n: times(b"(", n, b"\x93NUMPY\x02\0\xff\xff\xff"),
    ),
    "parquet: a small body": ("application/x-parquet", parquet),
    "parquet: many columns": ("application/x-parquet", wide_parquet),
    "recordio: huge shapes": (
        "application/x-recordio-protobuf",
        lambda n: times(record(shape=2**63), n),
    ),
    "recordio: many records": (
        "application/x-recordio-protobuf",
        lambda n: times(record(values=(1,) * COLUMNS), n),
    ),
    "recordio: records that differ": (
        "application/x-recordio-protobuf",
        lambda n: times(
            record(values=(1,) * COLUMNS) + record(values=(1,) * COLUMNS, shape=COLUMNS), n
        ),
    ),
    "recordio: sparse records": (
        "application/x-recordio-protobuf",
        lambda n: times(record((1,), (1,)), n),
    ),
    "recordio: one record": (
        "application/x-recordio-protobuf",
        lambda n: record(values=(1,) * (n // 4)),
    ),
    "recordio: empty records": ("application/x-recordio-protobuf", lambda n: times(frame(b""), n)),
    "gzip: many members": (GZIP, lambda n: times(gzip.compress(b""), n)),
    "gzip: a bomb": (GZIP, lambda n: gzip.compress(bytes(100 * n), 1)),
}


def attack(name: str, size: int) -> tuple[str, bytes]:
    """Return the media type and the body of an attack, about `size` bytes."""
    content_type, body = ATTACKS[name]
    return content_type, body(size)


def peak() -> int:
    """Return the peak of this process' resident memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, size: int, results: Any) -> None:
    """Put what an attack costs into the queue `results`."""
    content_type, body = attack(name, size)
    schema = Schema(COLUMNS, NAMES)
    formats.decode(ROW, "text/csv", schema, "csv")
    Path("/proc/self/clear_refs").write_text("5")  # what making the body took does not count
    before, start = peak(), time.process_time()
    try:
        if content_type == GZIP:
            inflate(body, size)
            answer = "read"
        else:
            answer = f"{len(formats.decode(body, content_type, schema, 'csv').values)} rows"
    except FormatError as error:
        answer = type(error).__name__
    results.put((len(body), time.process_time() - start, peak() - before, answer))


def run(results: Path, size: int, names: tuple[str, ...] = tuple(ATTACKS)) -> list[dict[str, Any]]:
    """Measure the attacks with bodies of `size` bytes; print a table and write it as csv."""
    os.environ |= dict.fromkeys(resources.THREADS, "1")  # as a server's workers have it
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for name in names:
        queue = context.SimpleQueue()
        process = context.Process(target=measure, args=(name, size, queue))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{name}: the process exited with {process.exitcode}")
        body, seconds, memory, answer = queue.get()
        figures = (f"{body / 1e6:.2f}", f"{seconds:.2f}", f"{memory / 1e6:.0f}")
        rows.append(
            dict(zip(FIELDS, (name, *figures, f"{memory / size:.1f}", answer), strict=True))
        )
        bad = seconds > MOST_SECONDS or memory > MOST_MEMORY * size
        print(
            "  ".join(f"{value:>14}" for value in list(rows[-1].values())[1:]), name, "OVER" * bad
        )
    results.mkdir(parents=True, exist_ok=True)
    with (results / "adversarial.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows
