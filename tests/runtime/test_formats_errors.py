"""Whatever a client wrote, the fault that repeats it is one short line that can be encoded."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from decoding import NAMED
from runtime import formats
from runtime.formats.errors import (
    LONGEST_MESSAGE,
    DecodeError,
    FormatError,
    listed,
    printable,
    quoted,
)
from runtime.inference import errors
from test_formats_binary import RECORDIO, npy, record

NASTY = ("\ud800", "\x00", "\x1b[31m\r\n", "x" * 100_000, "\u202e", "\N{PILE OF POO}" * 500)


def faults(text: str) -> list[tuple[Any, ...]]:
    """Return bodies and headers that hold `text` in each place that a decoder may repeat."""
    raw = text.encode("utf-8", "surrogatepass")
    return [
        (b"1,2," + raw, "text/csv"),
        (raw + b",b,c\n1,2,3\n", "text/csv"),
        (b'"' + raw + b'",2,3"', "text/csv"),
        (raw, "text/libsvm"),
        (b"1 " + raw, "text/libsvm"),
        (b"1 " + raw + b":1", "text/libsvm"),
        (b"1 1:" + raw, "text/libsvm"),
        (json.dumps({"instances": [{text: 1}]}).encode(), "application/json"),
        (json.dumps({"instances": [{text: 1, "x": float("nan")}]}).encode(), "application/json"),
        (json.dumps([[1, 2, text]]).encode(), "application/json"),
        (json.dumps(text).encode(), "application/json"),
        (b"NaN " + raw, "application/json"),
        (json.dumps({text: 1}).encode(), "application/jsonlines"),
        (npy([1]).replace(b"i8", raw[:2].ljust(2)), "application/x-npy"),
        (raw, RECORDIO),
        (record([1, 2, 3]).replace(b"values", raw[:6].ljust(6)), RECORDIO),
        (raw, "application/x-parquet"),
        (b"1,2,3", text),
        (b"1,2,3", f"text/csv; label_size={text}"),
        (b"1,2,3", f'text/csv; charset="{text}"'),
        (b"1,2,3", f"text/{text}"),
    ]


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text)[:20])
def test_what_a_client_wrote_cannot_spoil_the_answer_to_it(text: str) -> None:
    for body, content_type in faults(text):
        with pytest.raises(FormatError) as caught:
            formats.decode(body, content_type, NAMED, "csv")
        message = str(caught.value)
        assert message.isprintable(), content_type
        assert len(message) < LONGEST_MESSAGE + 500
        reply = errors.from_exception(caught.value)
        assert 400 <= reply.status < 500
        assert len(orjson.loads(reply.body)["message"]) < LONGEST_MESSAGE + 500
        assert len(reply.body) < 10_000


def test_an_answer_repeats_little_of_a_large_body() -> None:
    names = json.dumps({"instances": [{f"column {i}": 1 for i in range(10_000)}]})
    with pytest.raises(FormatError, match=r"column 0, column 1, .* and 9980 more") as caught:
        formats.decode(names.encode(), "application/json", NAMED, "csv")
    assert len(errors.from_exception(caught.value).body) < 5000


def test_printable_and_quoted_keep_what_can_be_read() -> None:
    assert printable("Größe") == "Größe"
    assert printable("a\nb\ud800") == "a\\nb\\ud800"
    assert quoted(b"caf\xc3\xa9") == "'café'"
    assert quoted(b"\xff\x00") == "'\\\\xff\\x00'"
    assert len(quoted("x" * 1000)) == 102
    assert printable(printable("\x00" * 9)) == printable("\x00" * 9)
    assert listed("abc") == "a, b, c"
    assert DecodeError("far", found=2**70).found == "an integer beyond 64 bits"
