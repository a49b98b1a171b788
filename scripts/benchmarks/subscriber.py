"""A subscriber process: takes messages until one says stop, then prints what it saw and what it cost, as JSON.

Bodies carry `time.monotonic_ns()` of just before the send; that clock is one for all processes of a host.
usage: python -m scripts.benchmarks.subscriber DB ADDRESS
"""

from __future__ import annotations

import json
import resource
import sys
import time

from raven import BusClient


def main(db: str, address: str) -> None:
    latencies: list[float] = []
    ids: list[int] = []
    baseline = _cpu_s()
    with BusClient.at(address, db) as bus:
        for message in bus.listen():
            now = time.monotonic_ns()
            if message.type == "start":
                baseline = _cpu_s()
            elif message.type == "stop":
                break
            else:
                latencies.append((now - message.body["sent_ns"]) / 1e6)
                ids.append(message.id)
    print(json.dumps({"latencies_ms": latencies, "ids": ids, "cpu_s": _cpu_s() - baseline}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
