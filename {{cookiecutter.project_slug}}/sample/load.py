"""Send one request again and again until the server stops; report what became of each.

    python sample/load.py URL CONTENT_TYPE BODY_FILE

Each request asks for `100 Continue` before it sends its body. A server that said so has taken the
request, so from there on a missing answer is a lost one; a connection refused before is not.
Prints one line of JSON: answered, lost, statuses other than 200, and how many answers differ.
"""

from __future__ import annotations

import collections
import json
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS = 8
LIMIT = 60.0  # seconds, in case that the server never stops
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def ask(address: tuple[str, int], head: bytes, body: bytes) -> tuple[str, bytes]:
    """Send one request; return what became of it ("refused", "lost", a status) and the answer."""
    taken = False
    try:
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(head)
            stream = connection.makefile("rb")
            if stream.read(len(CONTINUE)) != CONTINUE:
                return "refused", b""
            taken = True
            connection.sendall(body)
            answer = stream.read()
    except OSError:
        return ("lost" if taken else "refused"), b""
    top, _, content = answer.partition(b"\r\n\r\n")
    return (top.split()[1].decode() if content else "lost"), content


def main() -> None:
    """Run the clients until the server takes no more requests, then print the tally."""
    url, content_type, file = urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
    body = Path(file).read_bytes()
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    ).encode()
    fates: collections.Counter[str] = collections.Counter()
    answers: set[bytes] = set()
    end = time.monotonic() + LIMIT

    def client() -> None:
        fate = ""
        while fate != "refused" and time.monotonic() < end:
            fate, content = ask((str(url.hostname), url.port or 80), head, body)
            fates[fate] += 1
            if fate == "200":
                answers.add(content)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    for thread in threads:
        thread.join()
    tally = {
        "answered": fates.pop("200", 0),
        "lost": fates.pop("lost", 0),
        "refused": fates.pop("refused", 0),
        "other": dict(fates),
        "distinct": len(answers),
    }
    print(json.dumps(tally), flush=True)


if __name__ == "__main__":
    main()
