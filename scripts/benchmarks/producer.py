"""A producer process: sends so many messages as fast as it can, and prints what came of it as JSON.

usage: python -m scripts.benchmarks.producer DB SENDER COUNT RECIPIENT...     the recipients in turns
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

from raven import BusClient, RavenError
from scripts.benchmarks.send import BODY
from scripts.benchmarks.team import wait_for_go


class Sent(NamedTuple):
    """When a process began and ended, by the monotonic clock of the host, and what went wrong."""

    begin_s: float
    end_s: float
    worst_ms: float
    failures: int


def main(db: str, sender: str, count: int, recipients: Sequence[str]) -> None:
    worst_s, failures = 0.0, 0
    with BusClient.at(sender, db) as bus:
        wait_for_go()
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
    print(json.dumps(Sent(begin, end, 1000 * worst_s, failures)._asdict()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
