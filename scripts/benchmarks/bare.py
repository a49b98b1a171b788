"""The floor of waking: the same two inserts, one FIFO and one UPDATE to take the message, in bare apsw, without raven.

usage: python -m scripts.benchmarks.bare receive|answer FOLDER     the other process; `receive` prints its latencies in
                                                                 ms as JSON when it is asked to, `answer` answers
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, Literal

import apsw

from raven import BusClient
from raven.store.sql import SQL
from scripts.benchmarks.send import DELIVERY, MESSAGE, RECIPIENT, SENDER
from scripts.harness.program import Program

_TAKE = """
UPDATE deliveries SET state = 2
 WHERE id = (SELECT id FROM deliveries WHERE state < 2 AND recipient = ? AND ready_at = 0 ORDER BY urgency, id LIMIT 1)
RETURNING (SELECT body FROM messages WHERE messages.id = deliveries.id >> 20)"""
_TEXT = "x" * 160


class End:
    """One of the two processes: it sends to the other, and takes what the other has sent when its FIFO was written."""

    def __init__(self, folder: Path, address: str, other: str) -> None:
        self._address, self._other = address, other
        self._connection = apsw.Connection(str(folder / "bare.db"))
        self._connection.set_busy_timeout(5000)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._run = self._connection.cursor().execute
        # Opened for both, so that no open waits for the other process, and no end of it hangs up.
        self._bell, self._ring = (os.open(folder / name, os.O_RDWR) for name in (address, other))
        self._poller = select.poll()
        self._poller.register(self._bell, select.POLLIN)
        self._rings = 0

    def send(self, body: str) -> None:
        self._run("BEGIN IMMEDIATE")
        self._run(SQL["insert_message"], {**MESSAGE, "body": body, "created_at": time.time_ns() // 1000})
        message_id = self._connection.last_insert_rowid()
        self._run(SQL["insert_delivery"], {**DELIVERY, "message_id": message_id, "recipient": self._other})
        self._run("COMMIT")
        os.write(self._ring, b"!")

    def receive(self) -> str:
        """Wait for the next body."""
        while not self._rings:
            self._poller.poll()
            self._rings = len(os.read(self._bell, 4096))
        self._rings -= 1
        self._run("BEGIN IMMEDIATE")
        ((body,),) = self._run(_TAKE, (self._address,)).fetchall()
        self._run("COMMIT")
        return str(body)

    def close(self) -> None:
        self._connection.close()
        os.close(self._bell)
        os.close(self._ring)


class Bare(Program):
    """The other process, and the end at which this one sends to it."""

    def __init__(self, folder: Path, task: Literal["receive", "answer"]) -> None:
        BusClient.at(SENDER, str(folder / "bare.db")).close()  # makes the tables
        for name in (SENDER, RECIPIENT):
            os.mkfifo(folder / name)
        self.near = End(folder, SENDER, RECIPIENT)
        super().__init__("benchmarks.bare", task, str(folder), greets=True)

    def send_time(self) -> None:
        """Send the time, as a crowd does."""
        self.near.send(f'{{"sent_ns":{time.monotonic_ns()},"text":"{_TEXT}"}}')

    def report(self) -> list[float]:
        """Return how long what was sent since the last report was on its way, in ms."""
        self.near.send('"report"')
        latencies: list[float] = json.loads(self.line())
        return latencies

    def end(self) -> None:
        super().end()
        self.near.close()


def receive(end: End) -> None:
    latencies: list[float] = []
    while True:
        body: Any = json.loads(end.receive())
        if body == "report":
            print(json.dumps(latencies), flush=True)
            latencies = []
        else:
            latencies.append((time.monotonic_ns() - body["sent_ns"]) / 1e6)


def answer(end: End) -> None:
    while True:
        end.send(end.receive())


if __name__ == "__main__":
    own_end = End(Path(sys.argv[2]), RECIPIENT, SENDER)
    print("ready", flush=True)
    {"receive": receive, "answer": answer}[sys.argv[1]](own_end)
