"""A client process that sends over HTTP, and prints its start and end time as JSON.

usage: python -m scripts.benchmarks.http.load PORT TOKEN COUNT AHEAD PARAMS     AHEAD: requests before the first answer
"""

from __future__ import annotations

import json
import sys
import time

from scripts.benchmarks.http.client import Answers, Endpoint
from scripts.benchmarks.process_group import wait_for_start


def main(endpoint: Endpoint, count: int, ahead: int, params: str) -> None:
    request = endpoint.post("/send", json.loads(params))
    with endpoint.connect() as connection:
        answers = Answers(connection)
        wait_for_start()
        begin = time.monotonic()
        connection.sendall(request * ahead)
        for number in range(count):
            answers.next()
            if number + ahead < count:
                connection.sendall(request)
        end = time.monotonic()
    print(json.dumps([begin, end]))


if __name__ == "__main__":
    main(Endpoint(int(sys.argv[1]), sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
