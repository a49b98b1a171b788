"""Ping-pong: a message and its answer between two processes that each wait for the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.bare import Bare
from scripts.benchmarks.figure import Figure, at_most
from scripts.benchmarks.rounds import in_turns, percentiles, together
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER
from scripts.harness.program import Program

_BATCH = 200
_DEADLINE_S = 120


def run(folder: Path, quick: bool) -> list[Figure]:
    db = str(folder / "bus.db")
    with (
        BusClient.at(SENDER, db) as bus,
        Program("benchmarks.ponger", db, RECIPIENT),
        Bare(folder, "answer") as bare,
    ):
        sides = {"raven": partial(_trips_ms, bus), "bare apsw and FIFO": partial(_bare_trips_ms, bare)}
        found = in_turns(sides, 5 if quick else 30)
    middle, slow = percentiles(found, 50, "ms"), percentiles(together(found), 99, "ms")
    what = "ping-pong of two processes, round trip:"
    return [
        Figure.of(f"{what} p50", middle[0].values, "ms", at_most(0.9), middle),
        Figure.of(f"{what} p99", slow[0].values, "ms", at_most(3), slow),
        Figure.ratio(f"{what} p50 against bare apsw with a FIFO each way", middle[0], middle[1]),
    ]


def _trips_ms(bus: BusClient) -> list[float]:
    answers = bus.listen(timeout_s=_DEADLINE_S)

    def trip() -> None:
        bus.send(RECIPIENT, "ping", BODY)
        next(answers)

    return _each_ms(trip)


def _bare_trips_ms(bare: Bare) -> list[float]:
    def trip() -> None:
        bare.near.send(BODY_TEXT)
        bare.near.receive()

    return _each_ms(trip)


def _each_ms(trip: Callable[[], None]) -> list[float]:
    times = []
    for _ in range(_BATCH):
        begin = time.perf_counter()
        trip()
        times.append((time.perf_counter() - begin) * 1000)
    return times
