"""A client process that sends over the socket, and prints its start and end time as JSON.

usage: python -m scripts.benchmarks.pipeliner pipelined|one-by-one SOCKET COUNT PARAMS
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

from scripts.benchmarks.process_group import wait_for_start
from scripts.harness.line import request


def main(way: str, path: str, count: int, params: str) -> None:
    lines = [request("send", json.loads(params), number) for number in range(count)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        wait_for_start()
        begin = time.monotonic()
        if way == "pipelined":
            writer = threading.Thread(target=connection.sendall, args=(b"".join(lines),), daemon=True)
            writer.start()
            _count(connection, count)
            writer.join()
        else:
            for line in lines:
                connection.sendall(line)
                _count(connection, 1)
        end = time.monotonic()
    print(json.dumps([begin, end]))


def _count(connection: socket.socket, count: int) -> None:
    """Read `count` responses."""
    responses = 0
    while responses < count:
        data = connection.recv(1 << 18)
        responses += data.count(b"\n")
        if not data or b'"error"' in data:
            sys.exit("a send failed")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
