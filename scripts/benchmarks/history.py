"""`send`, `inbox`, `claim` and `ack` with a million finished messages in the file, against an empty file."""

from __future__ import annotations

import operator
import statistics
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import apsw

from raven import BusClient
from scripts.benchmarks.interleave import interleave
from scripts.benchmarks.metric import Metric, Side, at_most
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER

_STEPS = ("send", "inbox", "claim", "ack", "all four, checkpoints included,")
# Messages that were sent, claimed and acked long ago, written in one statement each.
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

    def round_trips_us(self, count: int) -> tuple[float, ...]:
        """Return the time of each step of a round trip, and of the whole round trip; messages go one by one.

        Each step is a median without checkpoints, which always fall on the same step, on a different one in each file.
        The whole is a mean with the cost of checkpoints.
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


def run(folder: Path, quick: bool) -> list[Metric]:
    # Long batches, so that each side has its share of checkpoints in every round.
    rounds, batch, history = (8, 500, 100_000) if quick else (8, 1000, 1_000_000)
    fill(folder / "full.db", history)
    pairs = {f"{history:,} before": Pair(folder / "full.db"), "none before": Pair(folder / "empty.db")}
    times = interleave({name: partial(pair.round_trips_us, batch) for name, pair in pairs.items()}, rounds)
    metrics = []
    for index, step in enumerate(_STEPS):
        full, empty = (
            Side(name, "us", tuple(steps_us[index] for steps_us in rounds_us)) for name, rounds_us in times.items()
        )
        name = f"{step} with {history:,} finished messages in the file, against an empty one"
        metrics.append(Metric.ratio(name, full, empty, at_most(1.2)))
    return metrics


def fill(db: Path, count: int) -> None:
    """Make a bus with `count` finished messages."""
    BusClient.at(RECIPIENT, str(db)).close()
    connection = apsw.Connection(str(db))
    connection.execute("PRAGMA synchronous = OFF; BEGIN")
    connection.execute(_FILL_MESSAGES, (count,))
    connection.execute(_FILL_DELIVERIES)
    connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
