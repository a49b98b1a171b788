"""`send + claim + ack`: small bodies against other queues, large ones against the same SQL in bare apsw."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from raven import BusClient
from raven.store.sql import SQL
from scripts.benchmarks.figure import Figure, at_most, less_than
from scripts.benchmarks.peers import roster
from scripts.benchmarks.rounds import alternate, each_us
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

    def trip(self) -> Any:
        self._producer.send(RECIPIENT, "work", self._body)
        [message] = self._consumer.claim()
        self._consumer.ack(message.id)
        return message.body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()
        self._consumer.close()


class TripFloor(Floor):
    """The same three transactions with prepared statements on two connections, the body never decoded."""

    def __init__(self, db: Path, text: str) -> None:
        super().__init__(db)
        self._text = text
        self.taker = connect(db)
        self._take = self.taker.cursor().execute

    def trip(self) -> None:
        self.run("BEGIN IMMEDIATE")
        self.insert(self._text)
        self.run("COMMIT")
        self.ack(self.claim())

    def claim(self) -> int:
        """Lease the next message, and return its id."""
        take, now = self._take, time.time_ns() // 1000
        query = {"recipient": RECIPIENT, "now": now, "until": now + _LEASE_US, "lease": 1, "max": 1}
        take("BEGIN IMMEDIATE")
        [row] = take(SQL["next_ready"], query).fetchall()
        take(SQL["claim"], query)
        take("COMMIT")
        return int(row[0])

    def ack(self, message_id: int) -> None:
        self._take("BEGIN IMMEDIATE")
        done = {"recipient": RECIPIENT, "now": time.time_ns() // 1000, "lease": 1, "message_id": message_id}
        self._take(SQL["ack"], done)
        self._take("COMMIT")


def run(folder: Path, quick: bool) -> list[Figure]:
    # Batches so long that each side has its share of checkpoints in every round.
    rounds, batch = (8, 100) if quick else (20, 300)
    with Raven(folder / "trip.db", BODY) as raven, roster.opened(folder) as (peers, missing):
        steps: dict[str, Callable[[], float]] = {"raven": partial(each_us, raven.trip, batch)}
        steps |= {peer.name: partial(each_us, peer.trip, batch) for peer in peers.values()}
        sides = alternate(steps, rounds, "us", notes={peer.name: peer.note for peer in peers.values()})
    ours = sides["raven"]
    note = f"left out: {', '.join(missing)}" if missing else ""
    return [
        Figure.of("send + claim + ack of 200 bytes", ours.values, "us", note=note),
        *(
            Figure.ratio(
                f"send + claim + ack against {_of(name)} {peer.steps}", ours, sides[peer.name], _BARS.get(name)
            )
            for name, peer in peers.items()
        ),
    ]


def _of(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def run_large(folder: Path, quick: bool) -> list[Figure]:
    rounds, batch = (8, 20) if quick else (16, 40)
    floor = TripFloor(folder / "floor.db", _LARGE_TEXT)
    with Raven(folder / "large.db", _LARGE) as raven:
        sides = alternate(
            {"raven": partial(each_us, raven.trip, batch), "bare apsw": partial(each_us, floor.trip, batch)},
            rounds,
            "us",
            notes={"bare apsw": "the same SQL, the body a JSON text of 200 kB that is neither encoded nor decoded"},
        )
    what = "send + claim + ack of one text of 200 kB against the same SQL"
    return [Figure.ratio(what, *sides.values(), at_most(1.3))]
