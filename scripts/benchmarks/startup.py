"""Start-up of the command line, as whole processes, against an interpreter that only imports click and apsw."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from scripts.benchmarks.result import Result, ratio

_FLOOR = [sys.executable, "-c", "import click, apsw"]


def run(folder: Path, quick: bool) -> list[Result]:
    raven = str(Path(sys.executable).with_name("raven"))
    send = [raven, "send", "--db", str(folder / "bus.db"), "--from", "a:bench", "--to", "b:bench", "-t", "work"]
    commands = {"raven version": [raven, "version"], "raven send": send}
    times: dict[str, list[float]] = {name: [] for name in ("floor", *commands)}
    for _ in range(10 if quick else 30):
        times["floor"].append(_time(_FLOOR, folder))
        for name, command in commands.items():
            times[name].append(_time(command, folder))
    results = []
    for name in commands:
        found = ratio(times[name], times["floor"])
        medians = f"{statistics.median(times[name]):.0f} ms, {statistics.median(times['floor']):.0f} ms"
        results.append(
            Result(f"{name}, whole process", f"{found:.2f} times ({medians})", "at most 1.4 times", found <= 1.4)
        )
    return results


def _time(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000
