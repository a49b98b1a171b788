"""Where the time of one small `send`, `claim` and `ack` goes: the parts of each, and what is left of the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raven.host.bus import HostedBus
from raven.store.checkpoint import PAGES
from scripts.benchmarks import parts
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.rounds import each_us, in_turns
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, LeanFloor
from scripts.benchmarks.trip import TripFloor

# So many fill the WAL not quite so far that it is written back, which is measured by itself.
_SENDS, _TRIPS = 1000, 500
_NOTE = (
    "checkpoints run between the rounds; each part except those in bare apsw is measured in its own loop, in which it "
    "is cheaper than in a send; the rest is that difference, the calls between the parts, and all parts too small to "
    "be measured alone"
)
_TRIP_NOTE = "the total and the part in bare apsw take turns within send + claim + ack, on two connections"


class Floor(TripFloor, LeanFloor):
    """The statements alone: the values of a message by their places, and no write-back before raven's."""

    def __init__(self, db: Path) -> None:
        super().__init__(db, BODY_TEXT)
        self.taker.execute(f"PRAGMA wal_autocheckpoint = {PAGES}").fetchall()


def run(folder: Path, quick: bool) -> list[Figure]:
    measured = {
        **_sends(folder),
        **_trips(folder),
        **parts.checks(_SENDS),
        **parts.blocks(folder, _SENDS),
        **parts.results(folder, _SENDS),
    }
    us = in_turns(measured, 8 if quick else 30)
    around = {
        "the check of the file (one stat)": us["stat"],
        "the transaction's context": _less(us["empty block"], us["empty transaction"]),
    }
    receipt = {"the doorbell of receipts": us["receipt bell"]}
    send = {
        "the body as JSON text": us["encode"],
        "the other checks": _less(us["check"], us["encode"]),
        **around,
        "BEGIN IMMEDIATE, two inserts, COMMIT in bare apsw": us["bare send"],
        "storing, without its statements": _less(us["store"], us["inserts"]),
        "two doorbells without a listener": us["bells"],
        "the returned message": us["sent"],
    }
    claim = {
        **around,
        "BEGIN IMMEDIATE, next_ready, claim, COMMIT in bare apsw": us["bare claim"],
        "the check for due deliveries": us["look"],
        "the returned message": us["got"],
        **receipt,
    }
    ack = {**around, "BEGIN IMMEDIATE, ack, COMMIT in bare apsw": us["bare ack"], **receipt}
    return [
        *_figures("send", us["send"], send, _NOTE),
        *_figures("claim", us["claim"], claim, _TRIP_NOTE),
        *_figures("ack", us["ack"], ack, _TRIP_NOTE),
        Figure.of(f"checkpoints, spread over {_SENDS:,} sends", us["write-back"], "us"),
    ]


def _figures(step: str, whole: Sequence[float], its: Mapping[str, Sequence[float]], note: str) -> list[Figure]:
    together = [sum(values) for values in zip(*its.values(), strict=True)]
    named = {**its, "the rest: calls, cold caches": _less(whole, together)}
    return [
        Figure.of(f"{step}, in total", whole, "us", note=note),
        *(Figure.of(f"{step}, part: {name}", values, "us") for name, values in named.items()),
    ]


def _less(whole: Sequence[float], part: Sequence[float]) -> list[float]:
    return [more - less for more, less in zip(whole, part, strict=True)]


def _sends(folder: Path) -> dict[str, Callable[[], float]]:
    sender, floor = HostedBus.at(SENDER, str(folder / "sends.db")), LeanFloor(folder / "bare-sends.db")

    def send_us() -> float:
        sender.checkpoint()
        return each_us(lambda: sender.send(RECIPIENT, "work", BODY), _SENDS)

    def bare_us() -> float:
        floor.connection.wal_checkpoint()
        return each_us(floor.send, _SENDS)

    def write_back_us() -> float:
        send_us()
        return each_us(sender.checkpoint, 1) / _SENDS

    return {"send": send_us, "bare send": bare_us, "write-back": write_back_us}


def _trips(folder: Path) -> dict[str, Callable[[], float]]:
    db, floor = str(folder / "trips.db"), Floor(folder / "bare-trips.db")
    producer, consumer = HostedBus.at(SENDER, db), HostedBus.at(RECIPIENT, db)
    steps = (
        lambda _: producer.send(RECIPIENT, "work", BODY),
        lambda _: consumer.claim(),
        lambda messages: consumer.ack(messages[0].id),
    )
    bare = (lambda _: floor.send(), lambda _: floor.claim(), floor.ack)

    def trips_us(place: int) -> float:
        producer.checkpoint()
        return _amid_us(steps, place, _TRIPS)

    def bare_us(place: int) -> float:
        floor.connection.wal_checkpoint()
        return _amid_us(bare, place, _TRIPS)

    return {
        "claim": lambda: trips_us(1),
        "bare claim": lambda: bare_us(1),
        "ack": lambda: trips_us(2),
        "bare ack": lambda: bare_us(2),
    }


def _amid_us(steps: Sequence[Callable[[Any], Any]], place: int, count: int) -> float:
    """Return how long one of some steps takes in turns with the others; each is given what the last has returned."""
    taken = 0.0
    for _ in range(count):
        result = None
        for number, step in enumerate(steps):
            begin = time.perf_counter()
            result = step(result)
            if number == place:
                taken += time.perf_counter() - begin
    return taken / count * 1e6
