"""The largest size of the WAL under constant load: of direct clients, and of the server."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scripts.benchmarks.metric import Metric, Side
from scripts.benchmarks.process_group import ProcessGroup
from scripts.benchmarks.row_count import count_rows
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.server_process import ServerProcess

_MANY = 4
# More than a process can send in the time.
_SENDS_PER_S = 50_000
_POLL_S = 0.05


class WalSize(NamedTuple):
    """The largest size of the WAL, and the rate of sends meanwhile."""

    largest_mib: float
    sends_per_s: float


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, seconds = (1, 3) if quick else (2, 5)
    kinds: dict[str, Callable[[Path, float], WalSize]] = {
        "one producer and one subscriber": _direct,
        f"{_MANY} producers": _crowded,
        f"the server with {_MANY} clients that pipeline sends": _by_server,
    }
    metrics = []
    for load, measure in kinds.items():
        sizes = []
        for _ in range(rounds):
            # The folder is removed after each round, because the file may reach gigabytes.
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                sizes.append(measure(Path(temporary), seconds))
        largest = max(size.largest_mib for size in sizes)
        sent = Side("meanwhile sent", "messages/s", tuple(size.sends_per_s for size in sizes))
        note = f"the largest value in {rounds * seconds} s"
        metrics.append(Metric.of(f"largest WAL under {load}", [largest], "MiB", sides=[sent], note=note))
    return metrics


def _direct(folder: Path, seconds: float) -> WalSize:
    db = str(folder / "bus.db")
    return _measure(db, [_producer(db, SENDER, seconds), ("drain_worker", "subscribe", db, RECIPIENT)], seconds)


def _crowded(folder: Path, seconds: float) -> WalSize:
    db = str(folder / "bus.db")
    return _measure(db, [_producer(db, f"producer-{number}:bench", seconds) for number in range(_MANY)], seconds)


def _producer(db: str, sender: str, seconds: float) -> tuple[str, ...]:
    return ("producer", db, sender, str(int(seconds * _SENDS_PER_S)), RECIPIENT)


def _by_server(folder: Path, seconds: float) -> WalSize:
    params = json.dumps({"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY})
    with ServerProcess(folder) as server:
        count = str(int(seconds * _SENDS_PER_S / _MANY))
        member = ("pipeliner", "pipelined", server.path, count, params)
        return _measure(server.db, [member] * _MANY, seconds)


def _measure(db: str, members: Sequence[Sequence[str]], seconds: float) -> WalSize:
    """Run the members for `seconds` seconds, and end them while they work."""
    with ProcessGroup(members) as group:
        group.start()
        begin, largest = time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            # stat, not open: a close would drop the locks that SQLite has on the file in this process.
            with suppress(FileNotFoundError):
                largest = max(largest, os.stat(f"{db}-wal").st_size)
            time.sleep(_POLL_S)
        group.check()
        elapsed = time.monotonic() - begin
    return WalSize(largest / 2**20, count_rows(db, "messages") / elapsed)
