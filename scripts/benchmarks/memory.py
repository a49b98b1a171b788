"""Resident memory of a process that sends, of two that wait, and of the helper, beside that of the driver alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import apsw

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.served import Served, wait_for_answer
from scripts.harness.line import request
from scripts.harness.program import Program

_INSERT = "INSERT INTO outbox (sender, recipient, type, body) VALUES ('driver:bench', ?, 'work', 'null')"
_NOTE = "resident set size, which includes pages shared with other processes (the interpreter, libraries)"


def run(folder: Path, quick: bool) -> list[Figure]:
    rounds = [_measure(folder / str(number)) for number in range(3 if quick else 5)]
    return [
        Figure.of(f"memory of {what}", [measured[what] for measured in rounds], "MiB", note=_NOTE) for what in rounds[0]
    ]


def _measure(folder: Path) -> dict[str, float]:
    """Return how many MiB each kind of process holds, all of them on one bus."""
    folder.mkdir()
    with ExitStack() as stack:
        served = stack.enter_context(Served(folder))
        line = stack.enter_context(served.connect())
        line.sendall(request("send", {"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY}, 1))
        wait_for_answer(line)
        driver, client, watcher = (
            stack.enter_context(Program("benchmarks.resident", kind, served.db))
            for kind in ("driver", "client", "watcher")
        )
        driver.line()
        client.line()
        _insert(served.db, "watcher:bench")
        watcher.line()
        # The first it may have found there, the next may come of the ring with which a watch begins: the third, of
        # which nobody rings, is from a watch that stands.
        for _ in range(2):
            _insert(served.db, "watcher:bench")
            watcher.line()
        _insert(served.db, "waiter:bench")
        waiter = stack.enter_context(Program("benchmarks.resident", "waiter", served.db))
        waiter.line()
        return {
            "Python with apsw and nothing else": driver.memory_mib(),
            "a client that has sent": client.memory_mib(),
            "a waiting subscriber": waiter.memory_mib(),
            "the subscriber that is the WAL watcher": watcher.memory_mib(),
            "the server, idle after one send": served.memory_mib(),
        }


def _insert(db: str, recipient: str) -> None:
    """Send as a writer does that has no raven."""
    connection = apsw.Connection(db)
    try:
        connection.set_busy_timeout(5000)
        connection.execute(_INSERT, (recipient,))
    finally:
        connection.close()
