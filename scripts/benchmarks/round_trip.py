"""`send + claim + ack`: small bodies against other queues, large ones against the same SQL in bare apsw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from raven import BusClient
from raven.store.sql import SQL
from scripts.benchmarks import peers
from scripts.benchmarks.interleave import interleave_sides, mean_us
from scripts.benchmarks.metric import Metric, at_most, less_than
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER, Floor, connect

_BARS = {
    "litequeue": at_most(0.55),
    "persist-queue": less_than(0.5),
    "huey": less_than(0.5),
    "Redis streams": less_than(0.5),
}
_LARGE = {"text": "x" * 200_000}
_LARGE_TEXT = '{"text":"' + "x" * 200_000 + '"}'
_LEASE_US = 30_000_000


class Raven:
    """Two clients of one bus: one sends, the other claims and acks."""

    def __init__(self, db: Path, body: Any) -> None:
        self._producer, self._consumer = BusClient.at(SENDER, str(db)), BusClient.at(RECIPIENT, str(db))
        self._body = body

    def round_trip(self) -> Any:
        self._producer.send(RECIPIENT, "work", self._body)
        [message] = self._consumer.claim()
        self._consumer.ack(message.id)
        return message.body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()
        self._consumer.close()


class RoundTripFloor(Floor):
    """The same three transactions with prepared statements on two connections; the body is never decoded."""

    def __init__(self, db: Path, text: str) -> None:
        super().__init__(db)
        self._text = text
        self.consumer = connect(db)
        self._run_consumer = self.consumer.cursor().execute

    def round_trip(self) -> None:
        self.run("BEGIN IMMEDIATE")
        self.insert(self._text)
        self.run("COMMIT")
        self.ack(self.claim())

    def claim(self) -> int:
        """Lease the next message, and return its id."""
        run, now = self._run_consumer, time.time_ns() // 1000
        query = {"recipient": RECIPIENT, "now": now, "until": now + _LEASE_US, "lease": 1, "max": 1}
        run("BEGIN IMMEDIATE")
        [row] = run(SQL["next_ready"], query).fetchall()
        run(SQL["claim"], query)
        run("COMMIT")
        return int(row[0])

    def ack(self, message_id: int) -> None:
        self._run_consumer("BEGIN IMMEDIATE")
        done = {"recipient": RECIPIENT, "now": time.time_ns() // 1000, "lease": 1, "message_id": message_id}
        self._run_consumer(SQL["ack"], done)
        self._run_consumer("COMMIT")


def run(folder: Path, quick: bool) -> list[Metric]:
    # Long batches, so that each side has its share of checkpoints in every round.
    rounds, batch = (8, 100) if quick else (20, 300)
    with Raven(folder / "trip.db", BODY) as raven, peers.opened(folder) as (opened, missing):
        steps: dict[str, Callable[[], float]] = {"raven": partial(mean_us, raven.round_trip, batch)}
        steps |= {peer.name: partial(mean_us, peer.round_trip, batch) for peer in opened.values()}
        sides = interleave_sides(steps, rounds, "us", notes={peer.name: peer.note for peer in opened.values()})
    ours = sides["raven"]
    note = f"left out: {', '.join(missing)}" if missing else ""
    return [
        Metric.of("send + claim + ack of 200 bytes", ours.values, "us", note=note),
        *(
            Metric.ratio(
                f"send + claim + ack against {_of(name)} {peer.steps}", ours, sides[peer.name], _BARS.get(name)
            )
            for name, peer in opened.items()
        ),
    ]


def _of(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def run_large(folder: Path, quick: bool) -> list[Metric]:
    rounds, batch = (8, 20) if quick else (16, 40)
    floor = RoundTripFloor(folder / "floor.db", _LARGE_TEXT)
    with Raven(folder / "large.db", _LARGE) as raven:
        sides = interleave_sides(
            {
                "raven": partial(mean_us, raven.round_trip, batch),
                "bare apsw": partial(mean_us, floor.round_trip, batch),
            },
            rounds,
            "us",
            notes={"bare apsw": "the same SQL, the body a JSON text of 200 kB that is neither encoded nor decoded"},
        )
    name = "send + claim + ack of one text of 200 kB against the same SQL"
    return [Metric.ratio(name, *sides.values(), at_most(1.3))]
