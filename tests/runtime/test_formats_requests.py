"""CSV and libsvm requests become the model's matrix, or a fault that names its place."""

from __future__ import annotations

import pytest

from decoding import NAMED, NAN, rows, same
from runtime import formats
from runtime.formats import Schema
from runtime.formats.errors import ColumnsError, DecodeError, MediaTypeError


@pytest.mark.parametrize(
    "body",
    [
        "1,2.5,-3\n4,,nan\n",
        "1,2.5,-3\r\n4,,nan",
        "1;2.5;-3\n4;;NaN\n",
        "1\t2.5\t-3\n4\t\tnan\n",
        "1 2.5  -3 \n 4 nan nan",
        '"1","2.5","-3"\n"4","",nan\n',
        " 1 , 2.5,-3\r4,, nan\r",
        "\ufeff1,2.5,-3\n4,,nan\n\n",
        "+1,2.50,-3.\n04,,nan",
    ],
)
def test_csv_of_every_dialect_is_read(body: str) -> None:
    same(rows(body, "text/csv"), [[1, 2.5, -3], [4, NAN, NAN]])


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("text/csv; label_size=1", "utf-8"),
        ("TEXT/CSV;Charset=UTF-8", "utf-8"),
        (None, "utf-8"),
        ("text/csv; charset=utf-16", "utf-16"),
        ('text/csv; charset="latin-1"', "latin-1"),
        ("", "utf-8"),
        ("csv", "utf-8"),
        ("text/csv; header=absent", "utf-8"),
        ("text/csv;", "utf-8"),
        ("text/csv ; header; Label_Size=1 ;; charset=utf-8", "utf-8"),
        (r'text/csv; label_size="\1"', "utf-8"),
    ],
)
def test_csv_parameters_are_understood(content_type: str | None, charset: str) -> None:
    same(rows("1,2,3".encode(charset), content_type), [[1, 2, 3]])


@pytest.mark.parametrize(
    "content_type",
    [
        "text/csv; label_size=0",
        "text/csv; label_size=2",
        "text/csv; label_size=1=1",
        "text/csv; label_size=1 1",
        'text/csv; label_size="1',
        "text/csv; label_size=1; label_size=2",
        "text/csv; LABEL_SIZE=2",
        "text/csv; label_size =2",
        "text/csv; charset=zip",
        "image/png",
        "text/csv; charset=nonsense",
        "application/octet-stream",
        "*/*",
        "text",
    ],
)
def test_unknown_types_and_parameters_are_refused(content_type: str) -> None:
    with pytest.raises(MediaTypeError):
        rows("1,2,3", content_type)


@pytest.mark.parametrize(
    ("body", "row", "column", "text"),
    [
        (b"a,b,c\n1,2,3\n", 1, 1, "send no header row"),
        (b'"a","b","c"\n1,2,3\n', 1, 1, "send no header row"),
        (b"1,2,3\n1,2\n", 2, None, "2 cells where the first row has 3"),
        (b"1,2,3\n1,2,3,\n", 2, None, "4 cells"),
        (b"1,2,3\n\n1,2,3\n", 2, None, "1 cells"),
        (b"1,2,3\n1,x,3\n", 2, 2, "'x' is not a number"),
        (b"1,2,3\n1,2,inf\n", 2, 3, "'inf' is not a number"),
        (b"1,2,3\n1,1e39,3\n", 2, 2, "too large"),
        (b"1,2,3\n1,-1e999,3\n", 2, 2, "too large"),
        (b"1,2,\xff\n", 1, 3, "not a number"),
        (b"1,2,[3]\n", 1, 3, "not a number"),
        (b'1,"2,3\n', None, None, "end of"),
        (b'1,"2"3,4\n', None, None, "expected after"),
        (b"1,2,3\x00\n", 1, 3, "not a number"),
        (b"1,true,null\n", 1, 2, "'true'"),
    ],
)
def test_csv_faults_name_row_and_column(
    body: bytes, row: int | None, column: int | None, text: str
) -> None:
    with pytest.raises(DecodeError, match="Loading csv data failed with Exception") as caught:
        rows(body, "text/csv")
    assert (caught.value.row, caught.value.column) == (row, column)
    assert text in caught.value.message
    assert caught.value.content_type == "text/csv"


@pytest.mark.parametrize(
    "content_type", ["text/csv", "text/libsvm", "application/json", "application/x-npy"]
)
def test_an_empty_body_has_no_rows(content_type: str) -> None:
    assert rows(b"", content_type).shape == (0, 3)


def test_libsvm_follows_the_index_base_of_the_model() -> None:
    body = "1 1:0.5 3:nan\n2:7 1:1e3 # note\n\n-1 qid:4 3:4\r\n5\n"
    one_based = [[0.5, NAN, NAN], [1000, 7, NAN], [NAN] * 3, [NAN, NAN, 4], [NAN] * 3]
    same(rows(body, "text/libsvm", Schema(3, index_base=1)), one_based)
    same(rows("0:1 2:3", "text/x-libsvm", Schema(3, index_base=0)), [[1, NAN, 3]])
    for wrong in ("0:1", "4:1"):
        with pytest.raises(
            ColumnsError, match=r"^row 2: index \d is not one of the model's, 1 to 3$"
        ):
            rows("1:1\n" + wrong, "text/libsvm", Schema(3, index_base=1))


@pytest.mark.parametrize(
    "body",
    [
        "a:1",
        "1:a",
        "1:2 3",
        "1:2:3",
        "1.5:1",
        "-1:1",
        "1:1 1:2",
        "1:inf",
        "1:1e39",
        "1: 2",
        "99999999999999999999:1",
        "1:2 a",
        "nan nan",
        "[1]:2",
        "1:[2]",
        "a 1:2",
        "1,2,3",
    ],
)
def test_libsvm_faults_name_the_row(body: str) -> None:
    with pytest.raises(DecodeError, match="Loading libsvm data failed") as caught:
        rows("1:1\n" + body, "text/libsvm", Schema(3, index_base=1))
    assert caught.value.row == 2


def test_a_small_sparse_body_cannot_fill_the_memory() -> None:
    wide = Schema(1_000_000)
    with pytest.raises(DecodeError, match="send fewer rows"):
        rows(b"1\n" * 1000 + b"1:1", "text/libsvm", wide)


def test_rows_carry_the_names_of_the_model_in_every_format() -> None:
    for body, content_type in ((b"1,2,3", "text/csv"), (b"[[1,2,3]]", "application/json")):
        assert formats.decode(body, content_type, NAMED, "csv").names == NAMED.feature_names
        assert formats.decode(body, content_type, Schema(3), "csv").names is None
