"""Ping-pong: a message and its answer between two processes that each wait for the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from raven import BusClient
from scripts.benchmarks.baseline import Baseline
from scripts.benchmarks.interleave import interleave, merge_rounds, percentiles
from scripts.benchmarks.metric import Metric, at_most
from scripts.benchmarks.send import BODY, BODY_TEXT, RECIPIENT, SENDER
from scripts.harness.program import Program

_BATCH = 200
_DEADLINE_S = 120


def run(folder: Path, quick: bool) -> list[Metric]:
    db = str(folder / "bus.db")
    with (
        BusClient.at(SENDER, db) as bus,
        Program("benchmarks.pong", db, RECIPIENT),
        Baseline(folder, "answer") as baseline,
    ):
        sides = {"raven": partial(_round_trips_ms, bus), "bare apsw and FIFO": partial(_bare_round_trips_ms, baseline)}
        times = interleave(sides, 5 if quick else 30)
    middle, slow = percentiles(times, 50, "ms"), percentiles(merge_rounds(times), 99, "ms")
    name = "ping-pong of two processes, round trip:"
    return [
        Metric.of(f"{name} p50", middle[0].values, "ms", at_most(0.9), middle),
        Metric.of(f"{name} p99", slow[0].values, "ms", at_most(3), slow),
        Metric.ratio(f"{name} p50 against bare apsw with a FIFO each way", middle[0], middle[1]),
    ]


def _round_trips_ms(bus: BusClient) -> list[float]:
    answers = bus.listen(timeout_s=_DEADLINE_S)

    def round_trip() -> None:
        bus.send(RECIPIENT, "ping", BODY)
        next(answers)

    return _each_ms(round_trip)


def _bare_round_trips_ms(baseline: Baseline) -> list[float]:
    def round_trip() -> None:
        baseline.endpoint.send(BODY_TEXT)
        baseline.endpoint.receive()

    return _each_ms(round_trip)


def _each_ms(round_trip: Callable[[], None]) -> list[float]:
    times = []
    for _ in range(_BATCH):
        begin = time.perf_counter()
        round_trip()
        times.append((time.perf_counter() - begin) * 1000)
    return times
