"""The floor of waking: the same two inserts, one FIFO and one UPDATE to take the message, in bare apsw, without raven.

usage: python -m scripts.benchmarks.bare DB FIFO COUNT     the receiving process; prints its latencies in ms as JSON
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import apsw

from raven import BusClient
from raven.statements import SQL
from scripts.benchmarks.send import DELIVERY, MESSAGE, RECIPIENT

_TAKE = """
UPDATE deliveries SET state = 2
 WHERE id = (SELECT id FROM deliveries WHERE state < 2 AND recipient = ? AND ready_at = 0 ORDER BY urgency, id LIMIT 1)
RETURNING (SELECT body FROM messages WHERE messages.id = deliveries.id >> 20)"""


def latencies_ms(folder: Path, count: int) -> list[float]:
    """Send `count` messages to a waiting process and return how long each was on its way."""
    db, fifo = folder / "bare.db", folder / "fifo"
    BusClient.at(RECIPIENT, str(db)).close()
    os.mkfifo(fifo)
    program = [sys.executable, "-m", "scripts.benchmarks.bare", str(db), str(fifo), str(count)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as receiver:
        ring = os.open(fifo, os.O_WRONLY)  # returns when the receiver is there
        connection = _connect(str(db))
        for _ in range(count):
            time.sleep(0.005)
            now_ns = time.monotonic_ns()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SQL["add_message"], {**MESSAGE, "body": str(now_ns), "created_at": now_ns // 1000})
            connection.execute(SQL["add_delivery"], {**DELIVERY, "message_id": connection.last_insert_rowid()})
            connection.execute("COMMIT")
            os.write(ring, b"!")
        printed, _ = receiver.communicate(timeout=60)
    found: list[float] = json.loads(printed)
    return found


def receive(db: str, fifo: str, count: int) -> None:
    connection = _connect(db)
    bell = os.open(fifo, os.O_RDONLY)
    poller = select.poll()
    poller.register(bell, select.POLLIN)
    found = []
    while len(found) < count:
        poller.poll()
        os.read(bell, 4096)
        connection.execute("BEGIN IMMEDIATE")
        bodies = connection.execute(_TAKE, (RECIPIENT,)).fetchall()
        connection.execute("COMMIT")
        found += [(time.monotonic_ns() - int(body)) / 1e6 for (body,) in bodies]
    print(json.dumps(found))


def _connect(db: str) -> apsw.Connection:
    connection = apsw.Connection(db)
    connection.set_busy_timeout(5000)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


if __name__ == "__main__":
    receive(sys.argv[1], sys.argv[2], int(sys.argv[3]))
