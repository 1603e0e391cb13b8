"""Bodies that cost more than they should: decompression, and the memory of what they decode to."""

from __future__ import annotations

import contextlib
import gzip
import os
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.adversarial import ATTACKS, COLUMNS, GZIP, attack
from decoding import RECORDIO, rows, same
from runtime import formats
from runtime.formats import Schema, read_channel
from runtime.formats.errors import DecodeError, FormatError
from runtime.formats.recordio import frame, record_class
from runtime.inference.body import MOST_MEMBERS, inflate
from runtime.inference.errors import BodyTooLargeError
from test_formats_binary import record

DECODED = [name for name, (kind, _) in ATTACKS.items() if kind != GZIP]
TEXT = os.urandom(300_000)


@pytest.mark.parametrize("size", [1, 700, 1023, 1024, 1025, 70_000, 300_000])
def test_members_of_any_size_are_decompressed_as_gzip_does(size: int) -> None:
    pieces = [TEXT[start : start + size] for start in range(0, min(len(TEXT), 400 * size), size)]
    body = b"".join(gzip.compress(piece) for piece in pieces)
    assert inflate(body, len(TEXT)) == gzip.decompress(body)
    assert inflate(zlib.compress(pieces[0]), len(TEXT)) == pieces[0]


def test_damage_and_size_are_found_in_any_member() -> None:
    body = gzip.compress(TEXT) * 2
    with pytest.raises(BodyTooLargeError):
        inflate(body, 2 * len(TEXT) - 1)
    for damaged in (body[:-1], body[:-9], body[: len(body) // 2 + 3]):
        with pytest.raises(DecodeError, match="ends in the middle"):
            inflate(damaged, 2 * len(TEXT))
    with pytest.raises(DecodeError, match="the body is not"):
        inflate(body + b"x" * 30, 2 * len(TEXT))


def test_many_empty_members_take_linear_time_and_have_an_end() -> None:
    empty = gzip.compress(b"")

    def seconds(count: int) -> float:
        start = time.process_time()
        assert inflate(empty * count, 100) == b""
        return time.process_time() - start

    few, many = seconds(10_000), seconds(80_000)
    assert many < 24 * few  # quadratic: 64 times
    with pytest.raises(DecodeError, match="members"):
        inflate(empty * (MOST_MEMBERS + 1), 100)


def labelled(keys: list[int], shape: int) -> bytes:
    message = record_class()()
    message.label["values"].float32_tensor.values.append(1)
    tensor = message.features["values"].float32_tensor
    tensor.keys.extend(keys)
    tensor.values.extend([1.0] * len(keys))
    tensor.shape.append(shape)
    return frame(message.SerializeToString())


@pytest.mark.parametrize(
    ("keys", "shape"), [([], 2**63), ([2**63], 4), ([2**64 - 1], 2**64 - 1), ([2**31], 4)]
)
def test_recordio_beyond_what_xgboost_counts_is_refused(
    tmp_path: Path, keys: list[int], shape: int
) -> None:
    (tmp_path / "a").write_bytes(labelled([1], 4) + labelled(keys, shape))
    with pytest.raises(DecodeError, match=r"a: row 2: a shape or key of \d+ is beyond 2147483646"):
        read_channel(tmp_path, "recordio-protobuf", "csv")
    body = record([1.0] * len(keys), tuple(keys), shape=min(shape, 2**64 - 1))
    if keys:
        with pytest.raises(FormatError, match=f"row 1: key {keys[0]} is not one"):
            rows(body, RECORDIO)
    else:
        same(rows(body, RECORDIO), [[np.nan] * 3])


def test_recordio_requests_of_many_records_are_one_matrix() -> None:
    body = b"".join(record([i, 2, 3]) for i in range(40_000))
    np.testing.assert_array_equal(rows(body, RECORDIO)[:, 0], np.arange(40_000))
    with pytest.raises(DecodeError, match="row 40001: 2 values where the first row has 3"):
        rows(body + record([1, 2]), RECORDIO)


@pytest.mark.parametrize("name", DECODED)
def test_memory_of_hostile_bodies_grows_with_the_body(name: str) -> None:
    """Ten times the body, or the largest matrix that a request may have where that is more."""
    schema = Schema(COLUMNS, max_cells=1 << 20)

    def peak(size: int) -> tuple[int, int]:
        content_type, body = attack(name, size)
        tracemalloc.start()
        try:
            formats.decode(body, content_type, schema, "csv")
        except FormatError:
            pass
        finally:
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found, len(body)

    found, size = peak(1 << 20)
    assert found < 16 * size + 10 * schema.max_cells + (4 << 20)


@pytest.mark.parametrize("name", DECODED)
def test_time_of_hostile_bodies_grows_with_the_body(name: str) -> None:
    def seconds(size: int) -> float:
        content_type, body = attack(name, size)
        start = time.process_time()
        with contextlib.suppress(FormatError):
            formats.decode(body, content_type, Schema(COLUMNS), "csv")
        return time.process_time() - start

    for _ in range(3):  # a collection of garbage may fall into either
        small, large = seconds(1 << 16), seconds(1 << 19)
        if large < 40 * small + 0.05:  # linear: 8 times, quadratic: 64
            return
    pytest.fail(f"{large:.3f} s, eight times shorter {small:.3f} s")


def test_the_attacks_cover_every_codec() -> None:
    kinds = {attack(name, 1 << 12)[0] for name in ATTACKS}
    assert len(kinds) >= 7
