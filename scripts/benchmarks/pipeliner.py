"""A client process that pipelines sends and counts the responses; prints its start and end time as JSON.

usage: python -m scripts.benchmarks.pipeliner SOCKET COUNT PARAMS
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

from scripts.benchmarks.process_group import wait_for_start
from scripts.harness.line import request


def main(path: str, count: int, params: str) -> None:
    lines = b"".join(request("send", json.loads(params), number) for number in range(count))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        wait_for_start()
        begin = time.monotonic()
        writer = threading.Thread(target=connection.sendall, args=(lines,), daemon=True)
        writer.start()
        responses, failed = 0, False
        while responses < count:
            data = connection.recv(1 << 18)
            responses += data.count(b"\n")
            failed = failed or not data or b'"error"' in data
            if failed:
                sys.exit("a send failed")
        end = time.monotonic()
        writer.join()
    print(json.dumps([begin, end]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
