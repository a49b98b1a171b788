"""Waking: from just before `send` in one process to its delivery in another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from scripts.benchmarks.bare import Bare
from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.figure import Figure, Side, at_most
from scripts.benchmarks.load import RATE, Load
from scripts.benchmarks.rounds import in_turns, percentiles, together

_BATCH = 100
_PAUSE_S = 0.005
_SUBSCRIBERS = 100


def run_one(folder: Path, quick: bool) -> list[Figure]:
    with Crowd(folder / "bus.db", 1) as crowd, Bare(folder, "receive") as bare:
        sides = {"raven": partial(_wakes_ms, crowd), "bare apsw and FIFO": partial(_bare_wakes_ms, bare)}
        found = in_turns(sides, 5 if quick else 20)
    middle, slow = percentiles(found, 50, "ms"), percentiles(together(found), 99, "ms")
    what = "wake of an idle subscriber, send to delivery:"
    return [
        Figure.of(f"{what} p50", middle[0].values, "ms", at_most(0.6), middle),
        Figure.of(f"{what} p99", slow[0].values, "ms", sides=slow),
        Figure.ratio(f"{what} p50 against bare apsw with a bare FIFO", middle[0], middle[1]),
    ]


def _wakes_ms(crowd: Crowd) -> list[float]:
    for _ in range(_BATCH):
        time.sleep(_PAUSE_S)
        crowd.send(crowd.addresses[0])
    return crowd.report()[0].latencies_ms


def _bare_wakes_ms(bare: Bare) -> list[float]:
    for _ in range(_BATCH):
        time.sleep(_PAUSE_S)
        bare.send_time()
    return bare.report()


def run_crowd(folder: Path, quick: bool) -> list[Figure]:
    rounds, seconds = (2, 4.0) if quick else (3, 10.0)
    # Each round has a crowd and a file of its own: no other crowd ticks beside it.
    sides = {
        f"{_SUBSCRIBERS} subscribers": partial(Load.measure, folder, _SUBSCRIBERS, seconds),
        "one subscriber": partial(Load.measure, folder, 1, seconds),
    }
    found = in_turns(sides, rounds, warm_ups=0)
    many, one = found.values()
    latencies = {name: [load.latencies_ms for load in loads] for name, loads in found.items()}
    middle, slow = percentiles(latencies, 50, "ms"), percentiles(latencies, 99, "ms")
    cost = [Side(name, "us", tuple(load.cost_us for load in loads)) for name, loads in found.items()]
    parts = "; ".join(f"{name}: {_parts(loads)}" for name, loads in found.items())
    what = f"{_SUBSCRIBERS} subscribers, {RATE} messages/s to random ones:"
    return [
        Figure.of(f"{what} wake p50", middle[0].values, "ms", at_most(0.6), middle),
        Figure.of(f"{what} wake p99", slow[0].values, "ms", at_most(10), slow),
        Figure.ratio(
            f"{what} CPU time per message against one subscriber", cost[0], cost[1], at_most(1.3), f"all of it; {parts}"
        ),
        Figure.of(f"{what} CPU of all subscribers", [load.busy_percent for load in many], "%"),
        Figure.of(f"{what} CPU of all while nothing happens", [load.idle_percent for load in many], "%"),
        Figure.of(f"{what} lost or duplicated", [float(sum(load.wrong for load in many + one))], "", at_most(0)),
    ]


def _parts(loads: Sequence[Load]) -> str:
    parts = zip(*((load.sender_us, load.crowd_us, load.idle_us) for load in loads), strict=True)
    sender, crowd, idle = (statistics.median(part) for part in parts)
    return f"{sender:.0f} us in the sender, {crowd:.0f} us in subscribers; idling takes {idle:.0f} us in the same time"
