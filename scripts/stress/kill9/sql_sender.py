"""Send without end as an external writer: INSERT INTO outbox by Python's own sqlite3, which rings no doorbell."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import Actor, run_actor

_INSERT = (
    "INSERT INTO outbox (sender, recipient, type, body, urgency, max_attempts)"
    " VALUES (:sender, :to, :type, :body, :urgency, :max_attempts)"
)


def produce(actor: Actor) -> None:
    """Send until the process is killed; when draining, send one message to each, of which only the watcher learns."""
    bus = sqlite3.connect(actor.db, timeout=5, isolation_level=None)
    # Older copies of SQLite have the WAL-reset defect (see docs/architecture.md), so that raven alone checkpoints.
    bus.execute("PRAGMA wal_autocheckpoint = 0")
    factory = message_factory.MessageFactory(actor)
    for to in message_factory.ADDRESSES:
        _insert(actor, bus, factory.make(to))
    while not actor.is_draining:
        to = actor.random.choice((*message_factory.ADDRESSES, message_factory.BROADCAST))
        _insert(actor, bus, factory.make(to))
        actor.pause(0.01, 0.2)


def _insert(actor: Actor, bus: sqlite3.Connection, message: dict[str, Any]) -> None:
    call = actor.next_call()
    actor.journal.write("sending", call=call, messages=message_factory.describe_all([message]), key=None)
    row = {**message, "sender": f"{actor.name}:abroad", "body": json.dumps(message["body"])}
    try:
        bus.execute("BEGIN IMMEDIATE")
        bus.execute(_INSERT, row)
        id = bus.execute("SELECT max(id) FROM messages").fetchone()[0]
        bus.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if bus.in_transaction:
            bus.execute("ROLLBACK")
        actor.journal.write("refused", call=call, error=str(error))
        if "locked" not in str(error):
            raise
    else:
        actor.journal.write("sent", call=call, ids=[id])


if __name__ == "__main__":
    run_actor(produce)
