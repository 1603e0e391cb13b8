"""The hosting contract, black box over HTTP: every status, every request and answer type."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import socket
import time
import zlib

import numpy as np
import pytest
import xgboost
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from conftest import COLUMNS, Server, sample_rows, save, to_csv, wait_until
from runtime.formats import recordio
from runtime.formats.categories import Categories
from runtime.inference import monitor
from runtime.job import artifact

ROWS = sample_rows(6, seed=1)
FILLED = np.nan_to_num(ROWS)
LIMIT = 26214400


@pytest.fixture(scope="module")
def truth(booster) -> np.ndarray:
    """XGBoost's own prediction of ROWS."""
    return booster("binary:logistic").predict(xgboost.DMatrix(ROWS))


@pytest.fixture(scope="module")
def filled_truth(booster) -> np.ndarray:
    """XGBoost's own prediction of FILLED."""
    return booster("binary:logistic").predict(xgboost.DMatrix(FILLED))


def npy(rows: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows)
    return stream.getvalue()


def libsvm(rows: np.ndarray) -> bytes:
    cells = [[f"{i}:{x!r}" for i, x in enumerate(map(float, row)) if x == x] for row in rows]
    return "\n".join("0 " + " ".join(row) for row in cells).encode()


def as_lists(rows: np.ndarray) -> list[list[float | None]]:
    return [[None if cell != cell else float(cell) for cell in row] for row in rows]


def recordio_body(rows: np.ndarray) -> bytes:
    record = recordio.record_class()
    out = b""
    for row in rows:
        message = record()
        message.features["values"].float32_tensor.values.extend(row.tolist())
        out += recordio.frame(message.SerializeToString())
    return out


REQUESTS = {
    "csv": ("text/csv", to_csv),
    "csv with parameters": ("text/csv; label_size=1; charset=utf-8", to_csv),
    "csv with crlf": ("text/csv", lambda rows: to_csv(rows).replace(b"\n", b"\r\n")),
    "csv with semicolons": ("text/csv", lambda rows: to_csv(rows).replace(b",", b";")),
    "csv without the last newline": ("text/csv", lambda rows: to_csv(rows).rstrip()),
    "csv with nan": (
        "text/csv",
        lambda rows: "\n".join(",".join(map(repr, map(float, row))) for row in rows).encode(),
    ),
    "libsvm": ("text/libsvm", libsvm),
    "x-libsvm": ("text/x-libsvm", libsvm),
    "json": ("application/json", lambda r: json.dumps({"instances": as_lists(r)}).encode()),
    "json array": ("application/json", lambda rows: json.dumps(as_lists(rows)).encode()),
    "json lines": (
        "application/jsonlines",
        lambda rows: "\n".join(json.dumps({"features": row}) for row in as_lists(rows)).encode(),
    ),
    "npy": ("application/x-npy", npy),
    "recordio": ("application/x-recordio-protobuf", recordio_body),
    "no content type": (None, to_csv),
}


def read_csv(body: bytes) -> list[float]:
    return [float(line) for line in body.decode().splitlines()]


def read_recordio(body: bytes) -> list[float]:
    return [
        recordio.record_class().FromString(message).label["score"].float32_tensor.values[0]
        for message in recordio.payloads(io.BytesIO(body))
    ]


ANSWERS = {
    "text/csv": read_csv,
    "application/json": lambda body: [row["score"] for row in json.loads(body)["predictions"]],
    "application/jsonlines": lambda body: [json.loads(x)["score"] for x in body.splitlines()],
    "application/x-npy": lambda body: np.load(io.BytesIO(body)),
    "application/x-recordio-protobuf": read_recordio,
}


@pytest.mark.parametrize("accept", ANSWERS)
@pytest.mark.parametrize("request_type", REQUESTS)
def test_every_request_type_gets_every_answer_type(
    server: Server, truth: np.ndarray, request_type: str, accept: str
) -> None:
    content_type, write = REQUESTS[request_type]
    answer = server.post(write(ROWS), content_type, Accept=accept)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"].split(";")[0] == accept
    np.testing.assert_allclose(ANSWERS[accept](answer.body), truth, atol=1e-6)


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", "text/csv"),
        ("", "text/csv"),
        ("application/*", "application/json"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("text/html, application/x-npy;q=0.5", "application/x-npy"),
    ],
)
def test_accept_is_negotiated(server: Server, accept: str, given: str) -> None:
    assert server.post(to_csv(ROWS), Accept=accept).headers["Content-Type"].startswith(given)


def test_rows_in_are_lines_out_with_a_final_newline(server: Server) -> None:
    for count in (1, 2, 33, 500):
        body = server.post(to_csv(sample_rows(count))).body
        assert body.endswith(b"\n")
        assert body.count(b"\n") == count


def test_the_engine_is_named_in_a_header(server: Server) -> None:
    assert server.post(to_csv(ROWS)).headers["X-Model-Engine"] in {"onedal", "xgboost"}


ONE = to_csv(FILLED[:1])
FAULTS = [
    ("empty", b"", "text/csv", {}, 204),
    ("blank lines", b"\n\n", "text/csv", {}, 204),
    ("unknown type", ONE, "application/pdf", {}, 415),
    ("unknown type, empty", b"", "application/pdf", {}, 204),
    ("label_size 2", ONE, "text/csv; label_size=2", {}, 415),
    ("header row", b"a,b,c,d,e\n" + ONE, "text/csv", {}, 415),
    ("text", b"hello,world,a,b,c", "text/csv", {}, 415),
    ("ragged", ONE + b"1,2,3\n", "text/csv", {}, 415),
    ("inf", b"1,2,inf,4,5", "text/csv", {}, 415),
    ("not utf-8", b"1,2,\xff\xfe,4,5", "text/csv", {}, 415),
    ("json as csv", b'{"instances":[[1,2,3,4,5]]}', "text/csv", {}, 415),
    ("csv as json", ONE, "application/json", {}, 415),
    ("csv as libsvm", ONE, "text/libsvm", {}, 415),
    ("csv as recordio", ONE, "application/x-recordio-protobuf", {}, 415),
    ("csv as npy", ONE, "application/x-npy", {}, 415),
    ("deep json", b"[" * 100_000, "application/json", {}, 415),
    ("broken gzip", b"\x1f\x8b but no", "text/csv", {"Content_Encoding": "gzip"}, 415),
    ("half a gzip", gzip.compress(ONE)[:-9], "text/csv", {"Content_Encoding": "gzip"}, 415),
    ("unknown encoding", ONE, "text/csv", {"Content_Encoding": "br"}, 415),
    ("too many columns", b"1,2,3,4,5,6", "text/csv", {}, 400),
    ("too few columns", b"1,2,3,4", "text/csv", {}, 400),
    ("too many libsvm columns", b"0 0:1 9:1", "text/libsvm", {}, 400),
    ("too many json columns", b"[[1,2,3,4,5,6]]", "application/json", {}, 400),
    ("accept html", ONE, "text/csv", {"Accept": "text/html"}, 406),
    ("accept nothing", ONE, "text/csv", {"Accept": "*/*;q=0"}, 406),
    ("too large", b"1" * (LIMIT + 1), "text/csv", {}, 413),
    ("gzip bomb", gzip.compress(b"1\n" * LIMIT), "text/csv", {"Content_Encoding": "gzip"}, 413),
]


def fault(name: str, *rest: object) -> object:
    """A body over the limit: gunicorn alone closes while the client still sends; nginx drains."""
    marks = pytest.mark.nginx if name == "too large" else ()
    return pytest.param(name, *rest, id=name, marks=marks)


@pytest.mark.parametrize(
    ("name", "body", "kind", "headers", "status"), [fault(*entry) for entry in FAULTS]
)
def test_a_fault_of_the_client_has_its_status(
    server: Server, name: str, body: bytes, kind: str, headers: dict[str, str], status: int
) -> None:
    answer = server.post(body, kind, **headers)
    assert answer.status == status, (name, answer.body)
    if status == 204:
        assert answer.body == b""
    else:
        assert answer.json()["code"] == status
        assert answer.json()["message"]
        assert answer.headers["Content-Type"] == "application/json"
    assert server.post(ONE).status == 200


def test_errors_tell_where_and_what(server: Server) -> None:
    columns = server.post(b"1,2,3\n").json()
    assert (columns["expected"], columns["found"]) == (COLUMNS, 3)
    cell = server.post(ONE + b"1,2,x,4,5\n").json()
    assert (cell["row"], cell["column"]) == (2, 3)
    assert "Loading csv data failed" in cell["message"]
    assert server.post(ONE, "a/b").json()["content_type"] == "a/b"


@pytest.mark.nginx
def test_a_body_over_the_limit_is_told_the_limit(server: Server) -> None:
    assert server.post(b"1" * (LIMIT + 1)).json()["expected"] == LIMIT


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_405(server: Server, method: str) -> None:
    answer = server.request(method, "/invocations")
    assert (answer.status, answer.json()["code"]) == (405, 405)
    assert server.request("POST", "/ping").status == 405


def test_unknown_paths_are_404_in_json(server: Server) -> None:
    answer = server.request("GET", "/no/such/path")
    assert (answer.status, answer.json()["code"]) == (404, 404)
    assert server.request("GET", "/models").status == 404


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: Server) -> None:
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_chunked_and_compressed_bodies_are_read(server: Server, truth: np.ndarray) -> None:
    body = to_csv(ROWS)
    chunks = [body[i : i + 7] for i in range(0, len(body), 7)]
    headers = {"Content-Type": "text/csv", "Transfer-Encoding": "chunked"}
    chunked = server.request("POST", "/invocations", iter(chunks), headers, encode_chunked=True)
    two_members = gzip.compress(body[:9]) + gzip.compress(body[9:])
    zipped = server.post(two_members, Content_Encoding="gzip")
    deflated = server.post(zlib.compress(body), Content_Encoding="deflate")
    for answer in (chunked, zipped, deflated):
        assert answer.status == 200, answer.body
        np.testing.assert_allclose(read_csv(answer.body), truth, atol=1e-6)


def test_headers_of_the_platform_change_nothing(server: Server, truth: np.ndarray) -> None:
    answer = server.post(
        to_csv(ROWS),
        X_Amzn_SageMaker_Custom_Attributes="a=b",
        X_Amzn_SageMaker_Inference_Id="id-1",
        X_Unheard_Of="x" * 3000,
    )
    np.testing.assert_allclose(read_csv(answer.body), truth, atol=1e-6)


@pytest.mark.parametrize(
    "request_line",
    [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /invocations HTTP/1.1\r\n\r\n"],
)
@pytest.mark.nginx
def test_what_is_no_http_gets_a_400_in_json(server: Server, request_line: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(request_line)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"code":400' in answer
    assert server.request("GET", "/ping").status == 200


def test_ping_is_200_with_an_empty_body(server: Server) -> None:
    answer = server.request("GET", "/ping")
    assert (answer.status, answer.body) == (200, b"")


def test_execution_parameters_are_those_of_the_container(server: Server) -> None:
    expected = {"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 25}
    assert server.request("GET", "/execution-parameters").json() == expected


def test_metrics_add_up_over_the_workers(server: Server) -> None:
    def value(name: str) -> float:
        lines = server.request("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    time.sleep(2)  # the workers write their counts once a second
    before = value("rows_total"), value('requests_total{status="415"}')
    for _ in range(10):
        server.post(to_csv(ROWS))
        server.post(b"x")
    wait_until(lambda: value('requests_total{status="415"}') - before[1] >= 10)
    assert value("rows_total") - before[0] == 10 * len(ROWS)
    assert value('requests_total{status="415"}') - before[1] == 10
    assert value("request_seconds_count") > 0
    for step in ("decode", "predict", "encode"):
        assert value('step_seconds_sum{step="' + step) > 0
    assert value("loaded_models") == 1


def scraped(server: Server) -> dict[str, Metric]:
    """Return the metrics by name, as Prometheus' own client reads them."""
    answer = server.request("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}


def test_a_scrape_has_the_metrics_that_the_readme_names(server: Server) -> None:
    server.post(to_csv(ROWS))
    server.post(b"x")
    documented = {family.name.removesuffix("_total"): family for family in monitor.families()}
    wait_until(lambda: {"rows", "errors"} <= set(scraped(server)))  # written once a second
    found = scraped(server)
    absent = {name for name in set(documented) - set(found) if not name.startswith("drift_")}
    # With SHADOW_RATE, or when contributions are asked for; drift needs histograms.
    assert absent <= {"shadow_requests", "contributions_engine"}
    for name, metric in found.items():
        family = documented[name]
        assert (metric.type, metric.documentation) == (family.type, family.help)
        labels = {label for sample in metric.samples for label in sample.labels}
        assert labels - {"le"} == set(family.labels)


def hostile(server: Server, number: int) -> None:
    """Send what could become a label if anything of a request did."""
    word = f'x{number}\\"}}'
    server.request("GET", f"/unknown/{number}")
    server.request(f"X{number}", "/invocations")
    server.request("POST", f"/models/m{number}/invoke", to_csv(ROWS))
    server.post(json.dumps({"instances": [{word: 1.0}]}), "application/json")
    server.post(f"1,2,{word},4,5\n", "text/csv")
    server.post(to_csv(ROWS), f"application/{number}")
    server.post(to_csv(ROWS), Accept=f"image/{number}", X_Request_Id=word)
    server.post(to_csv(ROWS)[: -5 * number or None], X_Amzn_SageMaker_Target_Model=word)
    server.post(to_csv(ROWS[:, : 1 + number % 4]))


def test_what_clients_send_never_becomes_a_label(server: Server) -> None:
    def series() -> set[tuple[str, ...]]:
        found = scraped(server).values()
        return {
            (sample.name, *map(str, sorted(sample.labels.items())))
            for family in found
            for sample in family.samples
        }

    def refused(cause: str) -> float:
        samples = scraped(server)["errors"].samples
        return sum(sample.value for sample in samples if sample.labels["cause"] == cause)

    causes = ("body", "columns", "media_type", "accept")
    before = {cause: refused(cause) for cause in causes}

    def counted(requests: int) -> None:
        """Wait until every cause is in the metrics: the workers write them once a second."""
        wait_until(lambda: min(refused(cause) - before[cause] for cause in causes) >= requests)

    for number in range(3):
        hostile(server, number)
    counted(3)
    known = series()
    for number in range(3, 20):
        hostile(server, number)
    counted(20)
    assert {name for name in series() - known if "status" not in str(name)} == set()
    for metric in scraped(server).values():
        for label, bound in monitor.LABELS.items():
            samples = [sample for sample in metric.samples if label in sample.labels]
            values = {sample.labels[label] for sample in samples}
            assert len(values) <= bound.most
            assert not any(re.match(r"[xm]\d", value) for value in values)


def test_a_batch_transform_of_strings_answers_a_line_per_row(
    launch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As SageMaker posts the records of a file: many rows of one body, and a line back for each."""
    random = np.random.default_rng(0)
    values = {0: ("=1+1", "a, b", 'the "Q"', "Åbo", "南安普敦"), 2: ("007", "7")}
    rows = np.column_stack([random.integers(0, 5, 2000), random.normal(size=2000).round(3),
                            random.integers(0, 2, 2000)])  # fmt: skip
    rows[random.random(rows.shape) < 0.05] = np.nan
    labels = np.isin(rows[:, 0], [1, 3]) ^ (rows[:, 2] == 1)
    data = xgboost.DMatrix(rows, labels, feature_types=list("cqc"), enable_categorical=True)
    parameters = {"objective": "binary:logistic", "nthread": 1}
    model = xgboost.train(parameters, data, 8)
    base = tmp_path_factory.mktemp("strings")
    folder = save(model, base / "model")
    document = Categories(values, ("port", "x", "zip")).document()
    artifact.Manifest(feature_names=("port", "x", "zip"), num_columns=3, categories=document).save(
        folder
    )
    cells = [
        [
            "" if cell != cell else values[column][int(cell)] if column in values else cell
            for column, cell in enumerate(row)
        ]
        for row in rows.tolist()
    ]
    stream = io.StringIO()
    csv.writer(stream).writerows(cells)
    server = launch(base, SAGEMAKER_BATCH="true", WEB_CONCURRENCY="1")
    truth = model.predict(data)
    answer = server.post(stream.getvalue().encode(), "text/csv", Accept="text/csv")
    assert answer.status == 200, answer.body
    np.testing.assert_allclose([float(line) for line in answer.body.split()], truth, rtol=1e-6)
    lines = "\n".join(json.dumps([cell if cell != "" else None for cell in row]) for row in cells)
    answer = server.post(lines.encode(), "application/jsonlines", Accept="application/jsonlines")
    assert answer.status == 200, answer.body
    found = [json.loads(line) for line in answer.body.splitlines()]
    scores = [line if isinstance(line, float) else next(iter(line.values())) for line in found]
    np.testing.assert_allclose(scores, truth, rtol=1e-6)
