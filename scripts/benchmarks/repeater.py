"""A process that takes one step again and again, for its system calls to be counted.

usage: python -m scripts.benchmarks.repeater send|trip|bare-send|bare-trip|PEER FOLDER COUNT
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.peers import roster
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, Floor
from scripts.benchmarks.trip import Raven, TripFloor


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Callable[[], object]]:
    """Yield what takes the step once, on files in this folder."""
    db = folder / "bus.db"
    if name == "send":
        with BusClient.at(SENDER, str(db)) as bus:
            yield lambda: bus.send(RECIPIENT, "work", BODY)
    elif name == "trip":
        with Raven(db, BODY) as raven:
            yield raven.trip
    elif name == "bare-send":
        floor = Floor(db)
        with closing(floor.connection):
            yield floor.send
    elif name == "bare-trip":
        both = TripFloor(db, BODY_TEXT)
        with closing(both.connection), closing(both.taker):
            yield both.trip
    else:
        with closing(roster.kind_of(name)(folder)) as peer:
            yield peer.trip


def main(name: str, folder: Path, count: int) -> None:
    with opened(name, folder) as step:
        for _ in range(count):
            step()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
