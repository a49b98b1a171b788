"""The CPU time of waiting on an idle bus: of the subscriber that is the WAL watcher, and of another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.benchmarks.many_subscribers import Subscribers
from scripts.benchmarks.metric import Metric, at_most


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, seconds = (3, 3.0) if quick else (3, 10.0)
    shares = []
    with Subscribers(folder / "bus.db", 2) as subscribers:
        time.sleep(1)  # excludes the start of the processes
        for _ in range(rounds):
            shares.append(sorted(cpu_percent(subscribers.cpu_s, seconds)))
    return [
        Metric.of("CPU of a waiting subscriber, nothing happening", [other for other, _ in shares], "%", at_most(0.2)),
        Metric.of("the same, of the WAL watcher", [watcher for _, watcher in shares], "%", at_most(1.5)),
    ]


def cpu_percent(cpu_s: Callable[[], Sequence[float]], seconds: float) -> list[float]:
    """Sleep, and return the share of one core that each process used meanwhile, in percent, by their CPU times."""
    begin, before = time.monotonic(), cpu_s()
    time.sleep(seconds)
    elapsed, after = time.monotonic() - begin, cpu_s()
    return [100 * (now - then) / elapsed for now, then in zip(after, before, strict=True)]
