"""`send`, `claim` and `ack` of one small message after the other, in an empty file and in one with a long history."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import apsw

from raven import BusClient
from scripts.benchmarks.result import Result, ratio

_BODY = {"text": "x" * 180}
_SENDER, _CONSUMER = "alice:bench", "bob:bench"
# What was sent, claimed and acked long ago, written at once.
_FILL_MESSAGES = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO messages (id, sender, "to", type, body, created_at)
SELECT n, 'alice:bench', 'bob:bench', 'work', json_object('text', printf('%.180c', 'x')), n FROM numbers"""
_FILL_DELIVERIES = """
INSERT INTO deliveries (id, recipient, urgency, state, attempts, delivered_at, finished_at, lease)
SELECT id << 20, 'bob:bench', 1, 2, 1, created_at + 1, created_at + 2, 140737488355328 + id FROM messages"""


class Pair:
    """A sender and a consumer on one file."""

    def __init__(self, db: str) -> None:
        self.sender = BusClient.at(_SENDER, db)
        self.consumer = BusClient.at(_CONSUMER, db)

    def trip_us(self, count: int) -> float:
        """Return how long one message takes through send, claim and ack."""
        start = time.perf_counter()
        for _ in range(count):
            self.sender.send(_CONSUMER, "work", _BODY)
            (message,) = self.consumer.claim()
            self.consumer.ack(message.id)
        return (time.perf_counter() - start) / count * 1e6

    def reads_us(self, count: int) -> float:
        """Return how long one look into the inbox takes, where a few messages wait."""
        start = time.perf_counter()
        for _ in range(count):
            self.consumer.inbox(peek=True)
        return (time.perf_counter() - start) / count * 1e6


def run(folder: Path, quick: bool) -> list[Result]:
    rounds, batch, history = (10, 200, 100_000) if quick else (40, 300, 1_000_000)
    empty, full = str(folder / "empty.db"), str(folder / "full.db")
    fill(full, history)
    pairs = [Pair(empty), Pair(full)]
    trips: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for pair, times in zip(pairs, trips, strict=True):
            figure = pair.trip_us(batch)
            if number:  # the first warms up
                times.append(figure)
    for pair in pairs:
        pair.sender.send_many([{"to": _CONSUMER, "type": "work", "body": _BODY} for _ in range(10)])
    looks: list[list[float]] = [[], []]
    for _ in range(rounds):
        for pair, times in zip(pairs, looks, strict=True):
            times.append(pair.reads_us(batch))
    grown, grown_look = ratio(trips[1], trips[0]), ratio(looks[1], looks[0])
    return [
        Result("send + claim + ack, small body", f"{statistics.median(trips[0]):.0f} us", "", True),
        Result(
            f"the same with {history:,} finished messages",
            f"{grown:.2f} times ({statistics.median(trips[1]):.0f} us)",
            "at most 1.2 times",
            grown <= 1.2,
        ),
        Result(
            f"inbox of 10 with {history:,} finished messages",
            f"{grown_look:.2f} times ({statistics.median(looks[1]):.0f} us)",
            "at most 1.2 times",
            grown_look <= 1.2,
        ),
    ]


def fill(db: str, count: int) -> None:
    """Make a bus with so many finished messages."""
    BusClient.at(_CONSUMER, db).close()
    connection = apsw.Connection(db)
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    connection.execute(_FILL_MESSAGES, (count,))
    connection.execute(_FILL_DELIVERIES)
    connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
