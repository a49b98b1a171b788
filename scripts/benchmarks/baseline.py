"""The baseline of a wake-up in bare apsw: the same two inserts, one FIFO, and one UPDATE that takes the message.

usage: python -m scripts.benchmarks.baseline receive|answer FOLDER     the second process; receive: prints its latencies
                                               in ms as JSON on request, answer: sends each body back
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


class Endpoint:
    """One of the two processes: it sends to the other process, and takes a message for each byte in its own FIFO."""

    def __init__(self, folder: Path, address: str, other: str) -> None:
        self._address, self._other = address, other
        self._connection = apsw.Connection(str(folder / "bare.db"))
        self._connection.set_busy_timeout(5000)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._run = self._connection.cursor().execute
        # O_RDWR: no open waits for the other process, and the exit of the other process is no hang-up.
        self._own_fifo, self._other_fifo = (os.open(folder / name, os.O_RDWR) for name in (address, other))
        self._poller = select.poll()
        self._poller.register(self._own_fifo, select.POLLIN)
        self._unread = 0

    def send(self, body: str) -> None:
        self._run("BEGIN IMMEDIATE")
        self._run(SQL["insert_message"], {**MESSAGE, "body": body, "created_at": time.time_ns() // 1000})
        message_id = self._connection.last_insert_rowid()
        self._run(SQL["insert_delivery"], {**DELIVERY, "message_id": message_id, "recipient": self._other})
        self._run("COMMIT")
        os.write(self._other_fifo, b"!")

    def receive(self) -> str:
        """Wait for the next body."""
        while not self._unread:
            self._poller.poll()
            self._unread = len(os.read(self._own_fifo, 4096))
        self._unread -= 1
        self._run("BEGIN IMMEDIATE")
        ((body,),) = self._run(_TAKE, (self._address,)).fetchall()
        self._run("COMMIT")
        return str(body)

    def close(self) -> None:
        self._connection.close()
        os.close(self._own_fifo)
        os.close(self._other_fifo)


class Baseline(Program):
    """The second process, and the endpoint of this one."""

    def __init__(self, folder: Path, task: Literal["receive", "answer"]) -> None:
        BusClient.at(SENDER, str(folder / "bare.db")).close()  # makes the tables
        for name in (SENDER, RECIPIENT):
            os.mkfifo(folder / name)
        self.endpoint = Endpoint(folder, SENDER, RECIPIENT)
        super().__init__("benchmarks.baseline", task, str(folder), greets=True)

    def send_time(self) -> None:
        """Send the current time, as `Subscribers.send` does."""
        self.endpoint.send(f'{{"sent_ns":{time.monotonic_ns()},"text":"{_TEXT}"}}')

    def report(self) -> list[float]:
        """Return the latency of each message since the last report, in ms."""
        self.endpoint.send('"report"')
        latencies: list[float] = json.loads(self.line())
        return latencies

    def end(self) -> None:
        super().end()
        self.endpoint.close()


def receive(endpoint: Endpoint) -> None:
    latencies: list[float] = []
    while True:
        body: Any = json.loads(endpoint.receive())
        if body == "report":
            print(json.dumps(latencies), flush=True)
            latencies = []
        else:
            latencies.append((time.monotonic_ns() - body["sent_ns"]) / 1e6)


def answer(endpoint: Endpoint) -> None:
    while True:
        endpoint.send(endpoint.receive())


if __name__ == "__main__":
    own_endpoint = Endpoint(Path(sys.argv[2]), RECIPIENT, SENDER)
    print("ready", flush=True)
    {"receive": receive, "answer": answer}[sys.argv[1]](own_endpoint)
