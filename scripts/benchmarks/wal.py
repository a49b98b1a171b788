"""How large the WAL becomes where nobody ever rests: under direct clients, and under the helper."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.figure import Figure, Side
from scripts.benchmarks.rows import count_rows
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.served import Served
from scripts.benchmarks.team import Team

_MANY = 4
# More than any can send in the time.
_SENDS_PER_S = 50_000
_LOOK_S = 0.05


class Load(NamedTuple):
    """How large the WAL was at most, and what was sent meanwhile."""

    largest_mib: float
    sends_per_s: float


def run(folder: Path, quick: bool) -> list[Figure]:
    rounds, seconds = (1, 3) if quick else (2, 5)
    kinds: dict[str, Callable[[Path, float], Load]] = {
        "one producer and one subscriber": _direct,
        f"{_MANY} producers": _crowded,
        f"the server with {_MANY} clients that pipeline sends": _served,
    }
    figures = []
    for what, measure in kinds.items():
        loads = []
        for _ in range(rounds):
            # Gone after each round: it may come to gigabytes.
            with tempfile.TemporaryDirectory(dir=folder) as place:
                loads.append(measure(Path(place), seconds))
        largest = max(load.largest_mib for load in loads)
        sent = Side("meanwhile sent", "messages/s", tuple(load.sends_per_s for load in loads))
        note = f"the largest value in {rounds * seconds} s"
        figures.append(Figure.of(f"largest WAL under {what}", [largest], "MiB", sides=[sent], note=note))
    return figures


def _direct(folder: Path, seconds: float) -> Load:
    db = str(folder / "bus.db")
    return _load(db, [_producer(db, SENDER, seconds), ("drainer", "subscribe", db, RECIPIENT)], seconds)


def _crowded(folder: Path, seconds: float) -> Load:
    db = str(folder / "bus.db")
    return _load(db, [_producer(db, f"producer-{number}:bench", seconds) for number in range(_MANY)], seconds)


def _producer(db: str, sender: str, seconds: float) -> tuple[str, ...]:
    return ("producer", db, sender, str(int(seconds * _SENDS_PER_S)), RECIPIENT)


def _served(folder: Path, seconds: float) -> Load:
    params = json.dumps({"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY})
    with Served(folder) as served:
        member = ("pipeliner", served.path, str(int(seconds * _SENDS_PER_S / _MANY)), params)
        return _load(served.db, [member] * _MANY, seconds)


def _load(db: str, members: Sequence[Sequence[str]], seconds: float) -> Load:
    """Let the members work so long; they are ended in the midst of it."""
    with Team(members) as team:
        team.go()
        begin, largest = time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            # Never opened: to close it would drop the locks that SQLite has on it in this process.
            with suppress(FileNotFoundError):
                largest = max(largest, os.stat(f"{db}-wal").st_size)
            time.sleep(_LOOK_S)
        team.check()
        elapsed = time.monotonic() - begin
    return Load(largest / 2**20, count_rows(db, "messages") / elapsed)
