"""Requests, and the servers that get them.

A case without a `difference` must be answered as the built-in answers it: the figure in
`figures/serving.json`. A case with one names its row in README's table and what ours gives: an
answer, or what makes ours of the built-in's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from differential import recordio

COLUMNS = 5
KEYS = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores",
        "predicted_score")  # fmt: skip
OBJECTIVES = (
    "reg:squarederror",
    "reg:logistic",
    "reg:gamma",
    "reg:absoluteerror",
    "reg:tweedie",
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "multi:softmax",
    "multi:softprob",
    "count:poisson",
)
BINARY, CLASSES = "binary-logistic", "multi-softprob"
ACCEPTS = ("text/csv", "application/json", "application/jsonlines",
           "application/x-recordio-protobuf")  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A configuration: the model files in one folder, or many models, and the environment."""

    models: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    many: bool = False  # a multi-model endpoint
    ready: bool = True  # /ping comes to answer 200


@dataclass(frozen=True)
class Answer:
    """What ours gives where it differs; a body of None is not compared."""

    status: int
    media_type: str = ""
    body: str | None = None


@dataclass(frozen=True)
class Request:
    """One request and, where ours differs on purpose, the row of README's table and our answer."""

    server: str
    name: str
    body: bytes
    content_type: str | None = "text/csv"
    accept: str | None = None
    model: str = ""  # of many
    route: str = "POST /invocations"
    difference: str = ""
    ours: Answer | Callable[[dict[str, Any]], Answer] | None = None
    exact: bool = False  # to the byte

    @property
    def id(self) -> str:
        return f"{self.server}: {self.name}"


def as_null(figure: dict[str, Any]) -> Answer:
    """Return the answer with null where the built-in writes NaN, which is not JSON."""
    return Answer(200, figure["type"], figure["body"].replace("NaN", "null"))


def as_csv(media_type: str) -> Callable[[dict[str, Any]], Answer]:
    """Return what gives the numbers of the built-in's JSON list, one row per line."""

    def rewritten(figure: dict[str, Any]) -> Answer:
        rows_ = json.loads(figure["body"])
        lines = [json.dumps(row).strip("[]").replace(" ", "") for row in rows_]
        return Answer(200, media_type, "\n".join(lines))

    return rewritten


def as_scores(figure: dict[str, Any]) -> Answer:
    """Return the numbers of the built-in's JSON list as scores."""
    rows_ = [{"score": row} for row in json.loads(figure["body"])]
    return Answer(200, "application/json", json.dumps({"predictions": rows_}))


ALL_KEYS = {"SAGEMAKER_INFERENCE_OUTPUT": ",".join(KEYS)}
BATCH = {"SAGEMAKER_BATCH": "true"}
SELECTED = tuple(name.replace(":", "-") for name in OBJECTIVES)
SERVERS = {
    "binary": Server((BINARY,)),
    "classes": Server((CLASSES,)),
    "json by default": Server((CLASSES,), {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": ACCEPTS[1]}),
    "batch of numbers": Server((BINARY,), BATCH),
    "batch of lists": Server((CLASSES,), BATCH),
    "batch of keys": Server((CLASSES,), BATCH | ALL_KEYS),
    "mean": Server(("ensemble-a", "ensemble-b", "ensemble-c")),
    "vote of classes": Server(("votes-a", "votes-b", "votes-c")),
    "vote of two": Server(("hinge-a", "hinge-b", "hinge-c")),
    "selected": Server((CLASSES,), ALL_KEYS),
    "every objective": Server(SELECTED, ALL_KEYS, many=True),
    "unknown key": Server((CLASSES,), {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label, Colour"}),
    "many models": Server((BINARY, CLASSES, "reg-squarederror"), many=True),
    "many models, as the built-in": Server(
        (BINARY, CLASSES, "reg-squarederror"), {"MULTI_MODEL_ANSWERS": "built-in"}, many=True
    ),
    "6 MB": Server((BINARY,), {"MAX_CONTENT_LENGTH": "6291456"}),
    "pickle": Server(("pickled",), ready=False),
    "pickle allowed": Server(("pickled",), {"ALLOW_PICKLE": "true"}),
    "early stopped": Server(("stopped",)),
    "early stopped, all trees": Server(("stopped",), {"BEST_ITERATION": "false"}),
    "base 1": Server((BINARY,), {"LIBSVM_INDEX_BASE": "1"}),
    "short rows allowed": Server((BINARY,), {"SHORT_ROWS": "missing"}),
    "csv by default": Server((BINARY,), {"INPUT_FORMAT": "csv", "NUM_CLASSES": "2"}),
}


def rows(count: int = 6) -> np.ndarray:
    """Return float32 rows of few digits, some cells missing."""
    generator = np.random.default_rng(11)
    table = generator.normal(size=(count, COLUMNS)).round(2).astype(np.float32)
    table[1, 0] = table[3, 4] = np.nan
    return table


ROWS = rows()
FULL = np.nan_to_num(ROWS)


def text(table: np.ndarray, delimiter: str = ",", missing: str = "", end: str = "\n") -> bytes:
    """Return delimited text."""
    cells = [[missing if np.isnan(x) else f"{x:.2f}" for x in row] for row in table]
    return end.join(delimiter.join(row) for row in cells).encode()


def libsvm(table: np.ndarray, base: int = 0, label: str = "0 ") -> bytes:
    """Return libsvm text; a NaN is not written."""
    lines = [
        label + " ".join(f"{i + base}:{x:.2f}" for i, x in enumerate(row) if not np.isnan(x))
        for row in table
    ]
    return "\n".join(lines).encode()


def formats() -> Iterator[Request]:
    """Each format of requests, as the built-in reads it."""
    delimiters = {"semicolon": ";", "tab": "\t", "space": " ", "colon": ":"}
    yield Request("binary", "csv", text(FULL))
    yield Request("binary", "csv with a newline at the end", text(FULL) + b"\n")
    yield Request("binary", "csv of one row", text(FULL[:1]))
    yield Request("binary", "csv with CRLF", text(FULL, end="\r\n") + b"\r\n")
    yield Request("binary", "csv with empty cells", text(ROWS))
    yield Request("binary", "csv with nan", text(ROWS, missing="nan"))
    yield Request("binary", "csv, label_size=1", text(FULL), "text/csv; label_size=1")
    yield Request("binary", "csv, label_size=1 and charset", text(FULL),
                  "text/csv;label_size=1;charset=utf8")  # fmt: skip
    yield Request("binary", "csv, short name", text(FULL), "csv")
    yield Request("binary", "CSV in capitals", text(FULL), "TEXT/CSV")
    for name, delimiter in delimiters.items():
        yield Request("binary", f"csv with {name}", text(FULL, delimiter))
    yield Request("binary", "csv of integers with pipe", b"1|2|3|4|5\n0|0|0|0|0")
    yield Request("binary", "csv with pipe", text(FULL, "|"),
                  difference="Delimiters of CSV", ours=Answer(200, "text/csv"))  # fmt: skip
    yield Request("binary", "csv with exponents", b"1e-1,2E0,-3.5e+0,+4,5.\n0,0,0,0,.5")
    yield Request("binary", "csv with blanks after commas", text(FULL, ", "))
    for kind in ("text/libsvm", "text/x-libsvm", "libsvm", "text/libsvm; label_size=2"):
        yield Request("binary", f"libsvm as {kind}", libsvm(FULL), kind)
    yield Request("binary", "libsvm without a label", libsvm(FULL, label=""), "text/libsvm")
    yield Request("binary", "libsvm with missing pairs", libsvm(ROWS), "text/libsvm")
    for kind in ("application/x-recordio-protobuf", "recordio-protobuf"):
        yield Request("binary", f"recordio as {kind}", recordio.dense(FULL), kind)
    kind = "application/x-recordio-protobuf"
    yield Request("binary", "recordio with labels", recordio.dense(FULL, FULL[:, 0]), kind)
    yield Request("binary", "recordio, sparse", recordio.sparse(ROWS), kind)
    yield Request("binary", "no content type", libsvm(FULL), None)


def refusals() -> Iterator[Request]:
    """What the built-in refuses, and its status."""
    yield Request("binary", "empty body", b"")
    yield Request("binary", "csv with a header", b"a,b,c,d,e\n" + text(FULL))
    yield Request("binary", "csv with a word", b"1,2,x,4,5")
    yield Request("binary", "ragged csv", b"1,2,3,4,5\n1,2,3")
    yield Request("binary", "csv with inf", b"1,2,3,4,inf")
    yield Request("binary", "csv that is not UTF-8", b"1,2,3,4,\xff")
    yield Request("binary", "libsvm as csv", libsvm(FULL))
    yield Request("binary", "csv as libsvm", text(FULL), "text/libsvm")
    yield Request("binary", "bytes as libsvm", b"\xff\xfe", "text/libsvm")
    yield Request("binary", "csv as recordio", text(FULL), "application/x-recordio-protobuf")
    yield Request("binary", "cut recordio", recordio.dense(FULL)[:-5],
                  "application/x-recordio-protobuf")  # fmt: skip
    yield Request("binary", "csv with a column too many", b"1,2,3,4,5,6")
    yield Request("binary", "libsvm with an index too many", b"0 0:1 6:1", "text/libsvm")
    yield Request("binary", "recordio with a column too many", recordio.dense(np.ones((2, 6))),
                  "application/x-recordio-protobuf")  # fmt: skip
    for kind in ("image/png", "application/x-parquet", "text/csv; label_size=2",
                 "text/csv; label_size=1=1", "text/plain"):  # fmt: skip
        yield Request("binary", f"content type {kind}", text(FULL), kind)
    for route in ("GET /invocations", "POST /ping", "PUT /execution-parameters", "GET /nothing"):
        yield Request("binary", route, b"", None, route=route)
    for accept in ("image/png", "text/html"):
        yield Request("binary", f"accept {accept}", text(FULL), accept=accept)


def answers() -> Iterator[Request]:
    """Each Accept in each mode."""
    for server in ("binary", "classes", "json by default", "mean"):
        for accept in (None, "*/*", *ACCEPTS):
            beyond = accept in ACCEPTS[2:]
            yield Request(server, f"accept {accept}", text(FULL), accept=accept,
                          difference="Accept" if beyond else "",
                          ours=Answer(200, accept or "") if beyond else None)  # fmt: skip
    for server in ("batch of numbers", "batch of lists"):
        for accept in (None, "*/*", *ACCEPTS):
            yield Request(server, f"accept {accept}", text(FULL), accept=accept)
    for server in ("batch of keys", "selected", "unknown key"):
        for accept in (None, "*/*", *ACCEPTS):
            yield without_nan(server, f"accept {accept}", accept)
    for server in ("vote of classes", "vote of two"):
        for accept in (None, *ACCEPTS):
            yield Request(server, f"accept {accept}", text(FULL), accept=accept,
                          difference="Votes of several models",
                          ours=Answer(200, accept or "text/csv"))  # fmt: skip
    yield Request("binary", "accept with parameters", text(FULL), accept="text/csv; charset=utf-8")
    yield Request("binary", "accept in capitals", text(FULL), accept="Application/JSON")
    for server in ("mean", "batch of lists"):
        yield Request(server, "one row", text(FULL[:1]))
    for model in SELECTED:
        for accept in ACCEPTS:
            yield without_nan("every objective", f"{model} accept {accept}", accept, model)


def without_nan(server: str, name: str, accept: str | None, model: str = "") -> Request:
    """Return a request for selected keys; of them some are NaN, or ours knows more."""
    difference, ours = "", None
    if model == "count-poisson":
        difference, ours = "Selected keys of every objective", Answer(200, accept or "")
    elif model == "multi-softmax":
        difference, ours = "Raw scores of multi:softmax", Answer(200, accept or "")
    elif accept in ACCEPTS[1:3]:
        difference, ours = "Keys without a value", as_null
    return Request(server, name, text(FULL), accept=accept, model=model,
                   difference=difference, ours=ours)  # fmt: skip


def answers_of_many() -> Iterator[Request]:
    """A multi-model endpoint: by itself it answers as that of one model does."""
    form, refusal = "Answers of a multi-model endpoint", "Errors of a multi-model endpoint"
    for model in SERVERS["many models"].models:
        for accept in (None, *ACCEPTS[:2]):
            yield Request("many models, as the built-in", f"{model} accept {accept}", text(FULL),
                          accept=accept, model=model)  # fmt: skip
        yield Request("many models", f"{model} accept None", text(FULL), model=model,
                      difference=form, ours=as_csv("text/csv"))  # fmt: skip
        yield Request("many models", f"{model} accept application/json", text(FULL), model=model,
                      accept="application/json", difference=form, ours=as_scores)  # fmt: skip
        for accept in ACCEPTS[2:]:
            yield Request("many models", f"{model} accept {accept}", text(FULL), accept=accept,
                          model=model, difference="Accept", ours=Answer(200, accept))  # fmt: skip
    yield Request("many models", "header", b"a,b,c,d,e\n" + text(FULL), model=BINARY,
                  difference=refusal, ours=Answer(415))  # fmt: skip
    yield Request("many models", "column too many", b"1,2,3,4,5,6", model=BINARY,
                  difference=refusal, ours=Answer(400))  # fmt: skip
    yield Request("many models", "empty body", b"", model=BINARY,
                  difference=refusal, ours=Answer(204))  # fmt: skip


def differences() -> Iterator[Request]:
    """What ours answers otherwise, on purpose, and the settings that give the built-in's way."""
    short, one = b"1,2,3,4\n5,6,7,8", "csv with a column too few"
    yield Request("binary", one, short, difference="Short rows", ours=Answer(400))
    yield Request("binary", "csv with two columns too few", b"1,2,3",
                  difference="Short rows", ours=Answer(400))  # fmt: skip
    yield Request("short rows allowed", one, short)
    yield Request("short rows allowed", "csv with two columns too few", b"1,2,3")
    yield Request("short rows allowed", "csv with a column too many", b"1,2,3,4,5,6")
    for server in ("binary", "short rows allowed"):
        yield Request(server, "libsvm of one pair", b"0 0:1.5", "text/libsvm")
    yield Request("binary", "libsvm from index 1", libsvm(FULL, 1), "text/libsvm")
    yield Request("binary", "libsvm from index 1, the last pair missing", libsvm(FULL[:, :4], 1),
                  "text/libsvm", difference="Index base of LIBSVM", ours=Answer(400))  # fmt: skip
    yield Request("base 1", "libsvm from index 1, the last pair missing", libsvm(FULL[:, :4], 1),
                  "text/libsvm")  # fmt: skip
    for kind, body in {"application/json": b"[[1,2,3,4,5]]",
                       "application/jsonlines": b"[1,2,3,4,5]\n"}.items():  # fmt: skip
        yield Request("binary", f"rows as {kind}", body, kind, ours=Answer(200, "text/csv"),
                      difference="More formats of requests")  # fmt: skip
    for accept, found in {"image/png;q=0.9, application/json;q=0.8": "application/json",
                          "text/*": "text/csv"}.items():  # fmt: skip
        yield Request("binary", f"accept {accept}", text(FULL), accept=accept,
                      difference="Accept", ours=Answer(200, found))  # fmt: skip
    yield Request("csv by default", "no content type", text(FULL), None,
                  difference="Format that is not named", ours=Answer(200, "text/csv"))  # fmt: skip
    large = b"\n".join([text(FULL)] * 40_000)  # 6.5 MB
    yield Request("binary", "a body over 6 MB", large,
                  difference="Largest request", ours=Answer(200, "text/csv"))  # fmt: skip
    yield Request("6 MB", "a body over 6 MB", large)
    for server in ("early stopped, all trees", "early stopped"):
        cut = server == "early stopped"
        yield Request(server, "csv", text(FULL), ours=Answer(200, "text/csv") if cut else None,
                      difference="Models that stopped early" if cut else "")  # fmt: skip
    yield Request("pickle", "csv", text(FULL), difference="Pickled models", ours=Answer(503))
    yield Request("pickle allowed", "csv", text(FULL))
    yield Request("binary", "the body of a refusal", b"1,2,x,4,5", exact=True,
                  ours=Answer(415, "application/json"),
                  difference="Bodies of refusals")  # fmt: skip
    yield Request("unknown key", "the last line", text(FULL[:2]), exact=True,
                  ours=Answer(200, "text/csv", "0,nan\n1,nan\n"),
                  difference="Text of answers")  # fmt: skip


def forms() -> Iterator[Request]:
    """Text as it comes: what the built-in reads as it stands, refuses, or takes for granted."""
    kind = "text/libsvm"
    for name, body in {"a blank at the start": b"  1,2,3,4,5",
                       "an empty cell at the end": b"1,2,3,4,", "NA": b"NA,2,3,4,5",
                       "null": b"null,2,3,4,5", "hexadecimal": b"0x10,2,3,4,5",
                       "a decimal comma": b"1,5;2,5;3,5;4,5;5,5",
                       "a blank line inside": b"1,2,3,4,5\n\n0,0,0,0,0"}.items():  # fmt: skip
        yield Request("binary", f"csv with {name}", body)
    for name, body in {"pairs out of order": b"0 3:1 0:2", "inf": b"0 0:inf 1:2",
                       "a negative index": b"0 -1:1 1:2", "a blank line": b"0 0:1\n\n1 0:3",
                       "CRLF": b"0 0:1 1:2\r\n1 0:3 1:1\r\n"}.items():  # fmt: skip
        yield Request("binary", f"libsvm with {name}", body, kind)
    row, read = "More forms of text", Answer(200, "text/csv")
    for name, body in {"quotes": b'"1","2","3","4","5"', "CR alone": b"1,2,3,4,5\r0,0,0,0,0",
                       "a byte order mark": b"\xef\xbb\xbf1,2,3,4,5"}.items():  # fmt: skip
        yield Request("binary", f"csv with {name}", body, difference=row, ours=read)
    for name, body in {"tabs": b"0\t0:1\t1:2", "query ids": b"0 qid:1 0:1 1:2",
                       "no pairs": b"0\n1",
                       "no pairs at the end": b"1 0:1\n0"}.items():  # fmt: skip
        yield Request("binary", f"libsvm with {name}", body, kind, difference=row, ours=read)
    yield Request("binary", "csv of blanks", b" \n", difference=row, ours=Answer(204))
    row, refused = "Doubtful text", Answer(415)
    yield Request("binary", "csv with 1_000", b"1_000,2,3,4,5", difference=row, ours=refused)
    yield Request("binary", "csv in another charset", b"1,2,3,4,5", "text/csv; charset=utf-16",
                  difference=row, ours=refused)  # fmt: skip
    yield Request("binary", "libsvm with a duplicate index", b"0 0:1 0:2", kind,
                  difference=row, ours=refused)  # fmt: skip


CASES = [*formats(), *forms(), *refusals(), *answers(), *answers_of_many(), *differences()]
