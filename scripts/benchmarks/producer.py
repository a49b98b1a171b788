"""A producer process: sends COUNT messages as fast as it can, and prints a SendResult as JSON.

usage: python -m scripts.benchmarks.producer DB SENDER COUNT RECIPIENT...     the recipients take turns
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

from raven import BusClient, RavenError
from scripts.benchmarks.process_group import wait_for_start
from scripts.benchmarks.send import BODY


class SendResult(NamedTuple):
    """Start and end by the monotonic clock of the host, the slowest send, and the number of failures."""

    begin_s: float
    end_s: float
    worst_ms: float
    failures: int


def main(db: str, sender: str, count: int, recipients: Sequence[str]) -> None:
    worst_s, failures = 0.0, 0
    with BusClient.at(sender, db) as bus:
        wait_for_start()
        begin = end = time.monotonic()
        for recipient in islice(cycle(recipients), count):
            before = end
            try:
                bus.send(recipient, "work", BODY)
            except RavenError as error:
                failures += 1
                print(f"{sender}: {error}", file=sys.stderr)
            end = time.monotonic()
            worst_s = max(worst_s, end - before)
    print(json.dumps(SendResult(begin, end, 1000 * worst_s, failures)._asdict()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
