"""Old bus: a bus written by raven 0.2.0, the first release, and the contents that later ravens must find in it.

Its schema has version 1. In the state `version 3` a later raven has upgraded it to the last version without links.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from raven import BusClient, BusObserver
from raven.store.database import Store
from raven.store.sql import migrations, migrations_after

DUMP = Path(__file__).parents[3] / "tests" / "data" / "bus-0.2.0.sql"
# Closed; with SQLite's default journal; and after kill -9, with all its contents still in the WAL.
State = Literal["closed", "rollback", "killed", "version 3"]
STATES: tuple[State, ...] = ("closed", "rollback", "killed", "version 3")

# Python's own SQLite runs this, in a separate process.
_LOADER = """
import os, pathlib, signal, sqlite3, sys
dump, path, state, later = sys.argv[1:]
connection = sqlite3.connect(path, isolation_level=None)
script = pathlib.Path(dump).read_text(encoding="utf-8")
if state == "killed":
    for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
connection.executescript(script)
if state == "version 3":
    connection.executescript(later)
if state in ("closed", "version 3"):
    connection.execute("PRAGMA journal_mode = WAL")
elif state == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
connection.close()
"""
# The pending messages of each address, in the order of delivery: by urgency, then by id.
_PENDING = {
    "worker:s": [2, 3, 4, 11, 19, 5],
    "idle:s": [3, 4],
    "tester:t": [5],
    "boss:s": [7],
    "seen:u": [4, 10],
    "crash:s": [14, 15, 16, 17],
}
_STATES = {2: "sent", 6: "acked", 8: "sent", 9: "expired", 10: "delivered", 12: "acked", 14: "sent", 18: "expired"}
_BODIES = {
    2: "first",
    3: {"to": "all of s"},
    6: {"n": 1.5, "none": None},
    7: "☃ and 🐦",
    11: "large " * 900,
    19: "by SQL",
}


def write(path: Path, state: State = "closed") -> str:
    """Write the old bus to a new path, as the last process of the old raven left it."""
    versions = migrations_after(1)
    later = "".join((*versions[:2], versions[-1], "PRAGMA user_version = 3"))
    loader = [sys.executable, "-c", _LOADER, str(DUMP), str(path), state, later]
    subprocess.run(loader, check=state != "killed", timeout=60)
    return str(path)


def differences(path: str) -> list[str]:
    """Open the bus, which upgrades it, change nothing else, and return the differences from the expected contents."""
    return [
        f"{name} is {actual!r}, not {expected!r}" for name, actual, expected in _comparisons(path) if actual != expected
    ]


def _comparisons(path: str) -> Iterator[tuple[str, object, object]]:
    """Yield a name, the actual value and the expected value."""
    with BusObserver(path) as bus:
        newest = bus.last_id()
        yield "the tail", [msg.id for msg in bus.tail(follow=False)], list(range(2, newest + 1))
        for id, body in _BODIES.items():
            yield f"the body of #{id}", bus.read(id).body, body
        for id, state in _STATES.items():
            yield f"the state of #{id}", bus.read(id).state, state
        first, question, answer = bus.read(2), bus.read(6), bus.read(7)
        yield "the tags of #2", (first.tags, first.task_id, first.urgency), (("a", "é"), "task-1", "blocking")
        yield "the key of #2", (first.dedup_key, first.report, first.reply_address), ("key-1", None, None)
        yield "the answer", (answer.reply_to, answer.correlation_id, answer.sender), (6, "talk", "worker:s")
        yield "the conversation", bus.thread(6), [question, answer]
        yield "the correlated", [msg.id for msg in bus.history("talk")], [2, 6, 7]
        yield "the task", [msg.id for msg in bus.history(task_id="task-1")], [2]
        yield "the attempts", {receipt.max_attempts for receipt in bus.receipts(4)}, {5}
        peers = {peer.address for peer in bus.peers()}
        yield "the registered addresses with mail", _PENDING.keys() - peers, set()
    for address, ids in _PENDING.items():
        with BusClient.at(address, path, register=False) as client:
            ids_found = [msg.id for msg in client.inbox(peek=True) if msg.id <= 19]
            yield f"the inbox of {address}", ids_found, ids
    store = Store(path)
    yield "the version", store.pragma("user_version"), str(len(migrations()))
    yield "the check of the file", store.pragma("integrity_check"), "ok"
    store.close()
