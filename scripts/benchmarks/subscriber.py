"""A subscriber process: takes messages, and on a report message prints their latencies and ids as JSON.

Each body carries `time.monotonic_ns()` from just before the send; all processes of a host share that clock.
usage: python -m scripts.benchmarks.subscriber DB ADDRESS
"""

from __future__ import annotations

import json
import sys
import time

from raven import BusClient


def main(db: str, address: str) -> None:
    latencies: list[float] = []
    ids: list[int] = []
    with BusClient.at(address, db) as bus:
        for message in bus.listen():
            if message.type == "report":
                print(json.dumps({"latencies_ms": latencies, "ids": ids}), flush=True)
                latencies, ids = [], []
            else:
                # The body is read before the clock, because a delivery ends with a usable body.
                sent_ns = message.body["sent_ns"]
                latencies.append((time.monotonic_ns() - sent_ns) / 1e6)
                ids.append(message.id)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
