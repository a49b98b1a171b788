"""A client process that sends over HTTP, and prints its start and end time as JSON.

usage: python -m scripts.benchmarks.http.load pipelined|one-by-one PORT TOKEN COUNT PARAMS
"""

from __future__ import annotations

import json
import sys
import threading
import time
from socket import socket

from scripts.benchmarks.http.client import Answers, Endpoint
from scripts.benchmarks.process_group import wait_for_start

_OK = b"HTTP/1.1 200 "


def main(way: str, endpoint: Endpoint, count: int, params: str) -> None:
    request = endpoint.post("/send", json.loads(params))
    with endpoint.connect() as connection:
        wait_for_start()
        begin = time.monotonic()
        (_pipelined if way == "pipelined" else _one_by_one)(connection, request, count)
        end = time.monotonic()
    print(json.dumps([begin, end]))


def _one_by_one(connection: socket, request: bytes, count: int) -> None:
    answers = Answers(connection)
    for _ in range(count):
        connection.sendall(request)
        answers.next()


def _pipelined(connection: socket, request: bytes, count: int) -> None:
    """Count the answers by their first words, which no body contains: that takes little of the server's CPU."""
    writer = threading.Thread(target=connection.sendall, args=(request * count,), daemon=True)
    writer.start()
    answered, data = 0, b""
    while answered < count:
        read = connection.recv(1 << 18)
        data = data[1 - len(_OK) :] + read
        if not read or b'"error"' in data:
            sys.exit(f"a send failed: {data[:500].decode(errors='replace')}")
        answered += data.count(_OK)
    writer.join()


if __name__ == "__main__":
    main(sys.argv[1], Endpoint(int(sys.argv[2]), sys.argv[3]), int(sys.argv[4]), sys.argv[5])
