"""What waiting costs while nothing happens: the elected subscriber, which runs the WAL watch, and another."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.figure import Figure, at_most


def run(folder: Path, quick: bool) -> list[Figure]:
    rounds, seconds = (3, 3.0) if quick else (3, 10.0)
    shares = []
    with Crowd(folder / "bus.db", 2) as crowd:
        time.sleep(1)  # starting up is not waiting
        for _ in range(rounds):
            shares.append(sorted(cpu_percent(crowd, seconds)))
    return [
        Figure.of("CPU of a waiting subscriber, nothing happening", [one for one, _ in shares], "%", at_most(0.2)),
        Figure.of("the same, of the WAL watcher", [elected for _, elected in shares], "%", at_most(1.5)),
    ]


def cpu_percent(crowd: Crowd, seconds: float) -> list[float]:
    """Let time pass, and return what each subscriber has used of one core meanwhile."""
    begin, before = time.monotonic(), crowd.cpu_s()
    time.sleep(seconds)
    elapsed, after = time.monotonic() - begin, crowd.cpu_s()
    return [100 * (now - then) / elapsed for now, then in zip(after, before, strict=True)]
