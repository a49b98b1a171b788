"""Waking: from just before `send` in one process to its delivery in another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from raven import BusClient, Message
from scripts.benchmarks.baseline import Baseline
from scripts.benchmarks.interleave import interleave, merge_rounds, percentiles
from scripts.benchmarks.many_subscribers import Subscribers
from scripts.benchmarks.metric import Metric, Side, at_most
from scripts.benchmarks.send import BODY, RECIPIENT
from scripts.benchmarks.traffic import RATE, Traffic

_BATCH = 100
_PAUSE_S = 0.005
_SUBSCRIBERS = 100


def run_one(folder: Path, quick: bool) -> list[Metric]:
    with Subscribers(folder / "bus.db", 1) as subscribers, Baseline(folder, "receive") as baseline:
        sides = {
            "raven": partial(_subscribers_wakes_ms, subscribers),
            "bare apsw and FIFO": partial(_bare_wakes_ms, baseline),
        }
        measured = interleave(sides, 5 if quick else 20)
    middle, slow = percentiles(measured, 50, "ms"), percentiles(merge_rounds(measured), 99, "ms")
    name = "wake of an idle subscriber, send to delivery:"
    return [
        Metric.of(f"{name} p50", middle[0].values, "ms", at_most(0.6), middle),
        Metric.of(f"{name} p99", slow[0].values, "ms", sides=slow),
        Metric.ratio(f"{name} p50 against bare apsw with a bare FIFO", middle[0], middle[1]),
    ]


def wakes_ms(bus: BusClient, wait_for: Callable[[Message], object]) -> list[float]:
    """Send messages one after the other; return the time from just before each send to the end of `wait_for`."""
    times = []
    for _ in range(_BATCH):
        time.sleep(_PAUSE_S)
        begin = time.perf_counter()
        wait_for(bus.send(RECIPIENT, "work", BODY))
        times.append((time.perf_counter() - begin) * 1000)
    return times


def _subscribers_wakes_ms(subscribers: Subscribers) -> list[float]:
    for _ in range(_BATCH):
        time.sleep(_PAUSE_S)
        subscribers.send(subscribers.addresses[0])
    return subscribers.report()[0].latencies_ms


def _bare_wakes_ms(baseline: Baseline) -> list[float]:
    for _ in range(_BATCH):
        time.sleep(_PAUSE_S)
        baseline.send_time()
    return baseline.report()


def run_many(folder: Path, quick: bool) -> list[Metric]:
    rounds, seconds = (2, 4.0) if quick else (3, 10.0)
    # Each round has new subscribers and a new file: no other subscriber polls meanwhile.
    sides = {
        f"{_SUBSCRIBERS} subscribers": partial(Traffic.measure, folder, _SUBSCRIBERS, seconds),
        "one subscriber": partial(Traffic.measure, folder, 1, seconds),
    }
    measured = interleave(sides, rounds, warm_ups=0)
    many, one = measured.values()
    latencies = {
        name: [traffic.latencies_ms for traffic in rounds_traffic] for name, rounds_traffic in measured.items()
    }
    middle, slow = percentiles(latencies, 50, "ms"), percentiles(latencies, 99, "ms")
    cost = [
        Side(name, "us", tuple(traffic.cost_us for traffic in rounds_traffic))
        for name, rounds_traffic in measured.items()
    ]
    parts = "; ".join(f"{name}: {_parts(rounds_traffic)}" for name, rounds_traffic in measured.items())
    name = f"{_SUBSCRIBERS} subscribers, {RATE} messages/s to random ones:"
    return [
        Metric.of(f"{name} wake p50", middle[0].values, "ms", at_most(0.6), middle),
        Metric.of(f"{name} wake p99", slow[0].values, "ms", at_most(10), slow),
        Metric.ratio(
            f"{name} CPU time per message against one subscriber", cost[0], cost[1], at_most(1.3), f"all of it; {parts}"
        ),
        Metric.of(f"{name} CPU of all subscribers", [traffic.busy_percent for traffic in many], "%"),
        Metric.of(f"{name} CPU of all while nothing happens", [traffic.idle_percent for traffic in many], "%"),
        Metric.of(f"{name} lost or duplicated", [float(sum(traffic.wrong for traffic in many + one))], "", at_most(0)),
    ]


def _parts(rounds_traffic: Sequence[Traffic]) -> str:
    parts = zip(
        *((traffic.sender_us, traffic.subscribers_us, traffic.idle_us) for traffic in rounds_traffic), strict=True
    )
    sender_us, subscribers_us, idle_us = map(statistics.median, parts)
    return (
        f"{sender_us:.0f} us in the sender, {subscribers_us:.0f} us in subscribers; "
        f"idling takes {idle_us:.0f} us in the same time"
    )
