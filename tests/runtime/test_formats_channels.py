"""Training files as pandas and people write them: indexes, delimiters, blank lines, query ids."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from decoding import rows
from runtime.formats import Table, read_channel
from runtime.formats.errors import FormatError
from runtime.formats.text import BLOCK_BYTES, blocks, line_of_row

FRAME = pd.DataFrame({"y": [1, 0, 1], "a": [0.5, np.nan, 2], "b": [3, 4, 5]})


def read(folder: Path, content: str | bytes, kind: str = "csv", name: str = "f") -> Table:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_channel(folder, kind, "csv")


def features_of(table: Table) -> np.ndarray:
    assert isinstance(table.features, np.ndarray)
    return table.features


@pytest.mark.parametrize(
    "content",
    [
        FRAME.to_csv(),
        pd.read_csv(io.StringIO(FRAME.to_csv())).to_csv(index=False),
        FRAME[["y", "a"]].assign(**{"Unnamed: 0": [0, 1, 2]}).to_csv(index=False),
        FRAME.assign(y=FRAME.index).rename(columns={"b": ""}).to_csv(index=False),
    ],
    ids=["to_csv", "written again", "as a feature", "without a name"],
)
def test_an_index_that_pandas_wrote_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(FormatError, match="index=False"):
        read(tmp_path, content)


def test_an_index_in_json_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="index=False"):
        read(tmp_path, '{"label":1,"Unnamed: 0":0,"a":2}\n', "jsonlines")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":", " "])
@pytest.mark.parametrize("header", [False, True])
def test_every_delimiter_is_found_from_the_first_rows(
    tmp_path: Path, delimiter: str, header: bool
) -> None:
    frame = FRAME.rename(columns={"a": "size, m", "b": "to|from"})
    text = frame.to_csv(sep=delimiter, index=False, header=header, na_rep="nan")
    table = read(tmp_path, text)
    np.testing.assert_array_equal(features_of(table), FRAME[["a", "b"]].to_numpy(np.float32))
    assert table.names == (("size, m", "to|from") if header else None)
    body = FRAME.to_csv(sep=delimiter, index=False, header=False, na_rep="nan")
    np.testing.assert_array_equal(rows(body, "text/csv"), FRAME.to_numpy(np.float32))


def test_names_without_quotes_may_hold_other_delimiters(tmp_path: Path) -> None:
    table = read(tmp_path, "y;size, m;time, s\n1;2;3\n0;3;4\n")
    assert table.names == ("size, m", "time, s")


@pytest.mark.parametrize("odd", ["1;2;3", "1|2|3", "1 2 3", "x"])
def test_an_odd_line_is_blamed_and_not_the_others(tmp_path: Path, odd: str) -> None:
    good = "1,2,3\n" * 20
    with pytest.raises(FormatError, match="row 21"):
        read(tmp_path, good + odd + "\n")
    with pytest.raises(FormatError, match=r"row 2[,:]"):
        read(tmp_path, f"1,2,3\n{odd}\n{good}")
    with pytest.raises(FormatError, match=r"row 2[,:]"):
        rows(f"1,2,3\n{odd}\n1,2,3\n", "text/csv")


def spread(lines: list[str], blank: str) -> str:
    """Put blank lines at the start, the end and between, also where blocks of text end."""
    text, result = 0, [blank]
    for number, line in enumerate(lines):
        result.append(line)
        text += len(line)
        if number % 3 == 0 or text % BLOCK_BYTES > BLOCK_BYTES - 200:
            result.append(blank)
    return "\n".join([*result, blank, ""])


@pytest.mark.parametrize("blank", ["", "   "], ids=["empty", "spaces"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("kind", ["csv", "csv with header", "csv in quotes", "jsonlines", "libsvm"])
def test_blank_lines_are_no_rows_and_lines_keep_their_numbers(
    tmp_path: Path, kind: str, ending: str, blank: str
) -> None:
    numbers = np.arange(24_000) % 1000  # more than a block of each format
    forms = {
        "csv": [f"1,2,{n}" for n in numbers],
        "csv with header": ["y,a,b", *(f"1,2,{n}" for n in numbers)],
        "csv in quotes": [f'"1","2","{n}"' for n in numbers],
        "jsonlines": [f"[1,2,{n}]" for n in numbers],
        "libsvm": [f"1 0:2 1:{n}" for n in numbers],
    }
    text = spread(forms[kind], blank).replace("\n", ending)
    codec = kind.partition(" ")[0]
    found = read(tmp_path, text, codec).features
    dense = found if isinstance(found, np.ndarray) else found.toarray()
    np.testing.assert_array_equal(dense[:, 1], numbers)
    lines = text.split(ending)
    for fault in (len(lines) // 2 * 3 // 3, len(lines) - 5):
        while not lines[fault].strip():
            fault += 1
        spoiled = [*lines[:fault], "x", *lines[fault + 1 :]]
        with pytest.raises(FormatError, match=rf": row {fault + 1}[,:] "):
            read(tmp_path, ending.join(spoiled), codec)


def test_a_missing_label_is_found_on_its_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="f: row 5, column label: the label is missing"):
        read(tmp_path, "y,a\n1,2\n\n\n,3\n")


def test_blocks_are_whole_lines_of_any_length() -> None:
    text = b"a" * 10 + b"\n\n" + b"b" * 3000 + b"\nc\n" + b"d" * 99
    for size in (1, 7, 64, 10_000):
        pieces = list(blocks(io.BytesIO(text), size))
        assert b"".join(pieces) == text
        assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert line_of_row(io.BytesIO(text), 3, bool) == 4


RANKING = pd.DataFrame(
    {
        "label": [2, 0, 1, 1],
        "a": [0.5, 1, 2, 3],
        "qid": [16_777_217, 16_777_217, 16_777_216, 2**53],
        "b": [1, 2, 3, 4],
    }
)


def write(frame: pd.DataFrame, kind: str) -> bytes:
    if kind == "csv":
        return frame.to_csv(index=False).encode()
    if kind == "jsonlines":
        return frame.to_json(orient="records", lines=True).encode()
    pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["csv", "jsonlines", "parquet"])
def test_query_ids_are_the_column_qid(tmp_path: Path, kind: str) -> None:
    table = read(tmp_path, write(RANKING, kind), kind)
    assert table.names == ("a", "b")
    assert table.query_ids is not None
    assert table.query_ids.dtype == np.int64
    assert table.query_ids.tolist() == RANKING["qid"].tolist()
    np.testing.assert_array_equal(features_of(table), RANKING[["a", "b"]].to_numpy(np.float32))
    assert table.labels is not None
    assert table.labels.tolist() == RANKING["label"].tolist()


@pytest.mark.parametrize("kind", ["csv", "jsonlines", "parquet"])
@pytest.mark.parametrize("wrong", [-1, 0.5, None, 2**60])
def test_a_query_id_is_a_whole_number(tmp_path: Path, kind: str, wrong: float | None) -> None:
    frame = RANKING.astype({"qid": object})
    frame.loc[2, "qid"] = wrong
    if kind == "parquet":
        frame = frame.astype({"qid": float})
    with pytest.raises(FormatError, match=r"row \d, column qid|column qid"):
        read(tmp_path, write(frame, kind), kind)


def test_requests_by_name_may_repeat_the_query_id() -> None:
    body = json.dumps([{"a": 1, "b": 2, "c": 3, "qid": 7}])
    assert rows(body, "application/json").tolist() == [[1, 2, 3]]
    with pytest.raises(FormatError, match="unknown: other"):
        rows(body.replace("qid", "other"), "application/json")
