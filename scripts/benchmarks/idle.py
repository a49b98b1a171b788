"""What waiting costs while nothing happens: the elected subscriber, which runs the WAL watch, and another."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.result import Result


def run(folder: Path, quick: bool) -> list[Result]:
    seconds = 10 if quick else 30
    with Crowd(folder / "bus.db", 2) as crowd:
        crowd.start()
        time.sleep(1)
        begin = time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - begin
        shares = sorted(100 * report["cpu_s"] / elapsed for report in crowd.stop())
    return [
        Result("a waiting subscriber, nothing happening", f"{shares[0]:.2f} % CPU", "at most 0.2 %", shares[0] <= 0.2),
        Result("the elected one (WAL watch)", f"{shares[1]:.2f} % CPU", "at most 1.5 %", shares[1] <= 1.5),
    ]
