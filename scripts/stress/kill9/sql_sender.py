"""Send without end as a foreign program does: INSERT INTO outbox, by Python's own sqlite3. Nobody rings for it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import Part, play

_INSERT = (
    "INSERT INTO outbox (sender, recipient, type, body, urgency, max_attempts)"
    " VALUES (:sender, :to, :type, :body, :urgency, :max_attempts)"
)


def produce(part: Part) -> None:
    """Send until the end; in the calm after the storm one to each, since only the watch can hear of it."""
    bus = sqlite3.connect(part.db, timeout=5, isolation_level=None)
    # Older copies of SQLite have a defect where the WAL is written back (see the README): that is left to raven's.
    bus.execute("PRAGMA wal_autocheckpoint = 0")
    maker = message_factory.Maker(part)
    for to in message_factory.ADDRESSES:
        _insert(part, bus, maker.make(to))
    while not part.is_calm:
        _insert(part, bus, maker.make(part.random.choice((*message_factory.ADDRESSES, message_factory.EVERYBODY))))
        part.pause(0.01, 0.2)


def _insert(part: Part, bus: sqlite3.Connection, message: dict[str, Any]) -> None:
    call = part.next_call()
    part.journal.write("sending", call=call, posts=message_factory.told([message]), key=None)
    row = {**message, "sender": f"{part.actor}:abroad", "body": json.dumps(message["body"])}
    try:
        bus.execute("BEGIN IMMEDIATE")
        bus.execute(_INSERT, row)
        id = bus.execute("SELECT max(id) FROM messages").fetchone()[0]
        bus.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if bus.in_transaction:
            bus.execute("ROLLBACK")
        part.journal.write("refused", call=call, error=str(error))
        if "locked" not in str(error):
            raise
    else:
        part.journal.write("sent", call=call, ids=[id])


if __name__ == "__main__":
    play(produce)
