"""Waking: from just before `send` in one process to the message in hand in another."""

from __future__ import annotations

import random
import time
from pathlib import Path

from scripts.benchmarks import bare
from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.result import Result, percentile

_SUBSCRIBERS = 50
_RATE = 200


def run_one(folder: Path, quick: bool) -> list[Result]:
    count = 200 if quick else 1000
    with Crowd(folder / "bus.db", 1) as crowd:
        for _ in range(count):
            time.sleep(0.005)
            crowd.send(crowd.addresses[0])
        latencies = crowd.stop()[0]["latencies_ms"]
    p50 = percentile(latencies, 50)
    floor = percentile(bare.latencies_ms(folder, count), 50)
    figure = f"p50 {p50:.2f} ms, p99 {percentile(latencies, 99):.2f} ms"
    return [
        Result("wake of an idle subscriber, send to in hand", figure, "p50 at most 0.6 ms", p50 <= 0.6),
        Result("the same in bare apsw with a bare FIFO", f"p50 {floor:.2f} ms", "(for comparison)", True),
    ]


def run_crowd(folder: Path, quick: bool) -> list[Result]:
    seconds = 5 if quick else 20
    chance = random.Random(1)
    sent: list[int] = []
    with Crowd(folder / "bus.db", _SUBSCRIBERS) as crowd:
        crowd.start()
        begin = time.monotonic()
        for number in range(seconds * _RATE):
            time.sleep(max(0.0, begin + number / _RATE - time.monotonic()))
            sent.append(crowd.send(chance.choice(crowd.addresses)))
        elapsed = time.monotonic() - begin
        reports = crowd.stop()
    latencies = [latency for report in reports for latency in report["latencies_ms"]]
    got = sorted(id for report in reports for id in report["ids"])
    cpu = 100 * sum(report["cpu_s"] for report in reports) / elapsed
    p99 = percentile(latencies, 99)
    what = f"{_SUBSCRIBERS} subscriber processes, {_RATE} messages/s to random ones:"
    return [
        Result(
            f"{what} wake", f"p50 {percentile(latencies, 50):.2f} ms, p99 {p99:.2f} ms", "p99 at most 10 ms", p99 <= 10
        ),
        Result(f"{what} CPU of all", f"{cpu:.1f} % of one core", "at most 25 %", cpu <= 25),
        Result(f"{what} lost or doubled", f"{abs(len(sent) - len(got))} of {len(sent)}", "none", got == sent),
    ]
