"""A process that repeats one operation, so that its system calls can be counted.

usage: python -m scripts.benchmarks.repeat_op send|round-trip|bare-send|bare-round-trip|PEER FOLDER COUNT
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from raven import BusClient
from scripts.benchmarks import peers
from scripts.benchmarks.round_trip import Raven, RoundTripFloor
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, Floor


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Callable[[], object]]:
    """Yield a function that runs the operation once, on files in this folder."""
    db = folder / "bus.db"
    if name == "send":
        with BusClient.at(SENDER, str(db)) as bus:
            yield lambda: bus.send(RECIPIENT, "work", BODY)
    elif name == "round-trip":
        with Raven(db, BODY) as raven:
            yield raven.round_trip
    elif name == "bare-send":
        floor = Floor(db)
        with closing(floor.connection):
            yield floor.send
    elif name == "bare-round-trip":
        floor = RoundTripFloor(db, BODY_TEXT)
        with closing(floor.connection), closing(floor.consumer):
            yield floor.round_trip
    else:
        with closing(peers.kind_of(name)(folder)) as peer:
            yield peer.round_trip


def main(name: str, folder: Path, count: int) -> None:
    with opened(name, folder) as operation:
        for _ in range(count):
            operation()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
