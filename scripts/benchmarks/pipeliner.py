"""A client process that pipelines sends and counts the responses; prints its start and end time as JSON.

usage: python -m scripts.benchmarks.pipeliner SOCKET COUNT PARAMS AHEAD     AHEAD: requests before the first answer
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

from scripts.benchmarks.process_group import wait_for_start
from scripts.harness.line import request


def main(path: str, count: int, params: str, ahead: int) -> None:
    lines = [request("send", json.loads(params), number) for number in range(count)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        wait_for_start()
        begin = time.monotonic()
        writer = threading.Thread(target=connection.sendall, args=(b"".join(lines[:ahead]),), daemon=True)
        writer.start()
        responses = 0
        while responses < count:
            data = connection.recv(1 << 18)
            if not data or b'"error"' in data:
                sys.exit("a send failed")
            sent = min(ahead + responses, count)
            responses += data.count(b"\n")
            if rest := b"".join(lines[sent : ahead + responses]):
                connection.sendall(rest)
        end = time.monotonic()
        writer.join()
    print(json.dumps([begin, end]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
