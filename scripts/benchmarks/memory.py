"""Resident memory of a sender, of two waiting subscribers, of the server, and of a process with apsw alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import apsw

from scripts.benchmarks.metric import Metric
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER
from scripts.benchmarks.server_process import ServerProcess, wait_for_response
from scripts.harness.line import request
from scripts.harness.program import Program

_INSERT = "INSERT INTO outbox (sender, recipient, type, body) VALUES ('driver:bench', ?, 'work', 'null')"
_NOTE = "resident set size, which includes pages shared with other processes (the interpreter, libraries)"


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds = [_measure(folder / str(number)) for number in range(3 if quick else 5)]
    return [Metric.of(f"memory of {kind}", [mib[kind] for mib in rounds], "MiB", note=_NOTE) for kind in rounds[0]]


def _measure(folder: Path) -> dict[str, float]:
    """Return the MiB of each kind of process; all of them use one bus."""
    folder.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(folder))
        line = stack.enter_context(server.connect())
        line.sendall(request("send", {"from": SENDER, "to": RECIPIENT, "type": "work", "body": BODY}, 1))
        wait_for_response(line)
        driver, client, watcher = (
            stack.enter_context(Program("benchmarks.idle_process", kind, server.db))
            for kind in ("driver", "client", "watcher")
        )
        driver.line()
        client.line()
        _insert(server.db, "watcher:bench")
        watcher.line()
        # The watcher may find the first message by itself, and the start of its watch may ring for the next. The third
        # message proves that the watch works: no other process rings for it.
        for _ in range(2):
            _insert(server.db, "watcher:bench")
            watcher.line()
        _insert(server.db, "waiter:bench")
        waiter = stack.enter_context(Program("benchmarks.idle_process", "waiter", server.db))
        waiter.line()
        return {
            "Python with apsw and nothing else": driver.memory_mib(),
            "a client that has sent": client.memory_mib(),
            "a waiting subscriber": waiter.memory_mib(),
            "the subscriber that is the WAL watcher": watcher.memory_mib(),
            "the server, idle after one send": server.memory_mib(),
        }


def _insert(db: str, recipient: str) -> None:
    """Send as a writer without raven does."""
    connection = apsw.Connection(db)
    try:
        connection.set_busy_timeout(5000)
        connection.execute(_INSERT, (recipient,))
    finally:
        connection.close()
