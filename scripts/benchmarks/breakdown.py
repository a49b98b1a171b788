"""Where the time of one small `send`, `claim` and `ack` goes: the parts of each, and the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raven.host.bus import HostedBus
from raven.store.checkpoint import PAGES
from scripts.benchmarks import components
from scripts.benchmarks.interleave import interleave, mean_us
from scripts.benchmarks.metric import Metric
from scripts.benchmarks.round_trip import RoundTripFloor
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER, LeanFloor

# These counts stay below the size of the WAL that starts a checkpoint; checkpoints are measured separately.
_SENDS, _ROUND_TRIPS = 1000, 500
_NOTE = (
    "checkpoints run between the rounds; each part except those in bare apsw is measured in its own loop, in which it "
    "is cheaper than in a send; the rest is that difference, the calls between the parts, and all parts too small to "
    "be measured alone"
)
_ROUND_TRIP_NOTE = "the total and the part in bare apsw take turns within send + claim + ack, on two connections"


class Floor(RoundTripFloor, LeanFloor):
    """The statements alone: values bound by position, and no checkpoint earlier than raven's."""

    def __init__(self, db: Path) -> None:
        super().__init__(db, BODY_TEXT)
        self.consumer.execute(f"PRAGMA wal_autocheckpoint = {PAGES}").fetchall()


def run(folder: Path, quick: bool) -> list[Metric]:
    sides = {
        **_sends(folder),
        **_round_trips(folder),
        **components.checks(_SENDS),
        **components.blocks(folder, _SENDS),
        **components.results(folder, _SENDS),
    }
    us = interleave(sides, 8 if quick else 30)
    transaction = {
        "the check of the file (one stat)": us["stat"],
        "the transaction's context": _subtract(us["empty block"], us["empty transaction"]),
    }
    receipt = {"the doorbell of receipts": us["receipt bell"]}
    send = {
        "the body as JSON text": us["encode"],
        "the other checks": _subtract(us["check"], us["encode"]),
        **transaction,
        "BEGIN IMMEDIATE, two inserts, COMMIT in bare apsw": us["bare send"],
        "storing, without its statements": _subtract(us["store"], us["inserts"]),
        "two doorbells without a listener": us["bells"],
        "the returned message": us["sent"],
    }
    claim = {
        **transaction,
        "BEGIN IMMEDIATE, next_ready, claim, COMMIT in bare apsw": us["bare claim"],
        "the check for due deliveries": us["look"],
        "the returned message": us["got"],
        **receipt,
    }
    ack = {**transaction, "BEGIN IMMEDIATE, ack, COMMIT in bare apsw": us["bare ack"], **receipt}
    return [
        *_metrics("send", us["send"], send, _NOTE),
        *_metrics("claim", us["claim"], claim, _ROUND_TRIP_NOTE),
        *_metrics("ack", us["ack"], ack, _ROUND_TRIP_NOTE),
        Metric.of(f"checkpoints, spread over {_SENDS:,} sends", us["checkpoint"], "us"),
    ]


def _metrics(step: str, total: Sequence[float], parts: Mapping[str, Sequence[float]], note: str) -> list[Metric]:
    summed = [sum(values) for values in zip(*parts.values(), strict=True)]
    named = {**parts, "the rest: calls, cold caches": _subtract(total, summed)}
    return [
        Metric.of(f"{step}, in total", total, "us", note=note),
        *(Metric.of(f"{step}, part: {name}", values, "us") for name, values in named.items()),
    ]


def _subtract(total: Sequence[float], part: Sequence[float]) -> list[float]:
    return [more - less for more, less in zip(total, part, strict=True)]


def _sends(folder: Path) -> dict[str, Callable[[], float]]:
    sender, floor = HostedBus.at(SENDER, str(folder / "sends.db")), LeanFloor(folder / "bare-sends.db")

    def send_us() -> float:
        sender.checkpoint()
        return mean_us(lambda: sender.send(RECIPIENT, "work", BODY), _SENDS)

    def bare_us() -> float:
        floor.connection.wal_checkpoint()
        return mean_us(floor.send, _SENDS)

    def checkpoint_us() -> float:
        send_us()
        return mean_us(sender.checkpoint, 1) / _SENDS

    return {"send": send_us, "bare send": bare_us, "checkpoint": checkpoint_us}


def _round_trips(folder: Path) -> dict[str, Callable[[], float]]:
    db, floor = str(folder / "trips.db"), Floor(folder / "bare-trips.db")
    producer, consumer = HostedBus.at(SENDER, db), HostedBus.at(RECIPIENT, db)
    steps = (
        lambda _: producer.send(RECIPIENT, "work", BODY),
        lambda _: consumer.claim(),
        lambda messages: consumer.ack(messages[0].id),
    )
    bare_steps = (lambda _: floor.send(), lambda _: floor.claim(), floor.ack)

    def step_us(index: int) -> float:
        producer.checkpoint()
        return _mean_within_us(steps, index, _ROUND_TRIPS)

    def bare_step_us(index: int) -> float:
        floor.connection.wal_checkpoint()
        return _mean_within_us(bare_steps, index, _ROUND_TRIPS)

    return {
        "claim": lambda: step_us(1),
        "bare claim": lambda: bare_step_us(1),
        "ack": lambda: step_us(2),
        "bare ack": lambda: bare_step_us(2),
    }


def _mean_within_us(steps: Sequence[Callable[[Any], Any]], index: int, count: int) -> float:
    """Return the mean time of the step at `index` while all steps run in turn; each gets the result of the last one."""
    elapsed_s = 0.0
    for _ in range(count):
        result = None
        for number, step in enumerate(steps):
            begin = time.perf_counter()
            result = step(result)
            if number == index:
                elapsed_s += time.perf_counter() - begin
    return elapsed_s / count * 1e6
