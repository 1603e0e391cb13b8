"""Requests that nobody would write: nothing that a client sends may hurt the server.

FUZZ_REQUESTS says how many; above 4,000 of them, memory must stay flat as well.
"""

from __future__ import annotations

import http.client
import json
import os
import random

from conftest import Server, sample_rows
from test_serving_contract import ANSWERS, REQUESTS

COUNT = int(os.environ.get("FUZZ_REQUESTS", "400"))
WARM_UP = 4000  # requests after which memory must not grow
STATUSES = {200, 204, 400, 406, 413, 415}
TOKENS = [
    *(b"nan", b"inf", b"-", b"1e999", b"-0", b"1e-400", b"0x1F", b"\0", b"\xff", b"\xef\xbb\xbf"),
    *(b"[", b"{", b'"', b",", b":", b"\n", b"\r\n", b"1:1", b"99999999999:1", b"-1:2", b"qid:1"),
    *(b"null", b"true", b'{"instances":', b'{"features":', b"\n\n", b"#", b";", b"\t"),
    *(b"\x0a\x23\xd7\xce", b"\x93NUMPY", b"\x1f\x8b", b"PAR1", b"9" * 400),
]
HEADERS = [
    {"Content-Encoding": "gzip"},
    {"Accept": "text/csv;q=zz"},
    {"Accept": ";;;,,,"},
    {"Accept": "text/html"},
    {"X-Request-Id": "\xe9" * 50},
    {"X-Amzn-SageMaker-Inference-Id": "{}"},
]


def mutate(random_: random.Random, body: bytes) -> bytes:
    """Return the body with a few accidents."""
    data = bytearray(body)
    for _ in range(random_.randint(0, 4)):
        place = random_.randint(0, len(data))
        match random_.randint(0, 5):
            case 0:
                data[place:place] = random_.choice(TOKENS)
            case 1:
                del data[place : place + random_.randint(1, 40)]
            case 2:
                data[place : place + 1] = random_.randbytes(random_.randint(1, 4))
            case 3:
                data += data[place : place + 200] * random_.randint(1, 3)
            case 4:
                del data[place:]
            case 5:
                data[place : place + 3] = random_.choice(TOKENS) * random_.randint(1, 20)
    return bytes(data)


def a_request(random_: random.Random) -> tuple[bytes, dict[str, str]]:
    """Return a body and headers, mostly such as belong together."""
    kinds = list(REQUESTS.values())
    content_type, write = random_.choice(kinds)
    body = mutate(random_, write(sample_rows(random_.randint(1, 40), seed=random_.randint(0, 99))))
    if random_.random() < 0.15:
        content_type = random_.choice([kind for kind, _ in kinds] + ["a/b", "text/csv; charset=x"])
    headers = {"Content-Type": content_type} if content_type else {}
    if random_.random() < 0.3:
        headers |= random_.choice(HEADERS)
    elif random_.random() < 0.8:
        headers["Accept"] = random_.choice(list(ANSWERS))
    return body, headers


def test_nothing_that_is_sent_breaks_the_server(launch, server: Server) -> None:
    random_ = random.Random(os.environ.get("FUZZ_SEED", "1"))
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    workers, seen, warm = set(server.workers()), set(), 0
    for number in range(COUNT):
        body, headers = a_request(random_)
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        seen.add(answer.status)
        assert answer.status in STATUSES, (answer.status, headers, body, text)
        if answer.status >= 400:
            assert json.loads(text)["code"] == answer.status
        if number == WARM_UP:
            warm = server.memory()
    assert {200, 415} <= seen
    assert workers <= set(server.workers()), "a worker died"
    assert "Traceback" not in server.output(), server.output()
    if warm:
        grown = server.memory()
        print(f"{COUNT} requests, kilobytes from {warm} to {grown}")
        assert grown < warm * 1.05
