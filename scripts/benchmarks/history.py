"""`send`, `inbox`, `claim` and `ack` where a million messages have been sent and finished before, against none."""

from __future__ import annotations

import operator
import statistics
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import apsw

from raven import BusClient
from scripts.benchmarks.figure import Figure, Side, at_most
from scripts.benchmarks.rounds import in_turns
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER

_STEPS = ("send", "inbox", "claim", "ack", "all four, checkpoints included,")
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

    def __init__(self, db: Path) -> None:
        self._sender = BusClient.at(SENDER, str(db))
        self._consumer = BusClient.at(RECIPIENT, str(db))

    def trips_us(self, count: int) -> tuple[float, ...]:
        """Return how long each step of a message's way takes, and all of them, one message after the other.

        Of each step the median: checkpoints always fall on one and the same step, in each file on another. The whole
        is an average, with what they cost.
        """
        times: list[tuple[float, ...]] = []
        for _ in range(count):
            begin = time.perf_counter()
            self._sender.send(RECIPIENT, "work", BODY)
            sent = time.perf_counter()
            self._consumer.inbox()
            seen = time.perf_counter()
            (message,) = self._consumer.claim()
            claimed = time.perf_counter()
            self._consumer.ack(message.id)
            times.append((begin, sent, seen, claimed, time.perf_counter()))
        columns = pairwise(zip(*times, strict=True))
        steps_s = [statistics.median(map(operator.sub, after, before)) for before, after in columns]
        return tuple(1e6 * seconds for seconds in (*steps_s, (times[-1][-1] - times[0][0]) / count))


def run(folder: Path, quick: bool) -> list[Figure]:
    # Batches so long that each side has its share of checkpoints in every round.
    rounds, batch, history = (8, 500, 100_000) if quick else (8, 1000, 1_000_000)
    fill(folder / "full.db", history)
    pairs = {f"{history:,} before": Pair(folder / "full.db"), "none before": Pair(folder / "empty.db")}
    found = in_turns({name: partial(pair.trips_us, batch) for name, pair in pairs.items()}, rounds)
    figures = []
    for place, step in enumerate(_STEPS):
        full, empty = (
            Side(name, "us", tuple(trips_us[place] for trips_us in each_round)) for name, each_round in found.items()
        )
        what = f"{step} with {history:,} finished messages in the file, against an empty one"
        figures.append(Figure.ratio(what, full, empty, at_most(1.2)))
    return figures


def fill(db: Path, count: int) -> None:
    """Make a bus with so many finished messages."""
    BusClient.at(RECIPIENT, str(db)).close()
    connection = apsw.Connection(str(db))
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    connection.execute(_FILL_MESSAGES, (count,))
    connection.execute(_FILL_DELIVERIES)
    connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
