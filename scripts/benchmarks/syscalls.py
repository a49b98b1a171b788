"""System calls of one operation: raven's, those of the same SQL in bare apsw, and those of other queues on SQLite."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks.figure import Figure
from scripts.benchmarks.peers import roster

_ROOT = Path(__file__).parents[2]
_STEPS = {
    "send": "raven's send",
    "bare-send": "the same inserts in bare apsw",
    "trip": "raven's send + claim + ack",
    "bare-trip": "the same SQL in bare apsw",
}
_PEERS = ("litequeue", "persist-queue", "huey")
# A line of the table of `strace -c`: share of the time, seconds, us per call, calls, errors if any, name.
_ROW = re.compile(r" *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)")
_WARM_UPS = 100
_SHOWN = 5
_LIMIT_S = 120


class NotCountedError(Exception):
    """Calls that could not be counted, and why."""


def run(folder: Path, quick: bool) -> list[Figure]:
    if shutil.which("strace") is None:
        return [_not_measured("system calls", "the strace program is not installed here")]
    try:
        _calls(folder, [sys.executable, "-c", ""])
    except NotCountedError as error:
        return [_not_measured("system calls", str(error))]
    rounds, count = (2, 300) if quick else (5, 1000)
    figures = [_figure(folder, step, what, rounds, count) for step, what in _STEPS.items()]
    for name in _PEERS:
        try:
            what = f"{name}'s {roster.kind_of(name).steps}"
        except ModuleNotFoundError:
            figures.append(_not_measured(f"system calls of {name}", "not installed"))
        else:
            figures.append(_figure(folder, name, what, rounds, count))
    return figures


def _not_measured(what: str, why: str) -> Figure:
    return Figure(f"{what}: not measured", 0, "calls", 0, 0, note=why)


def _figure(folder: Path, step: str, what: str, rounds: int, count: int) -> Figure:
    what = f"system calls of {what}"
    try:
        found = [_per_step(folder, step, count) for _ in range(rounds)]
    except NotCountedError as error:
        return _not_measured(what, str(error))
    kinds = {kind: sum(one.get(kind, 0) for one in found) / rounds for kind in set().union(*found)}
    most = sorted(kinds, key=lambda kind: -kinds[kind])[:_SHOWN]
    note = ", ".join(f"{kind} {kinds[kind]:.1f}" for kind in most if kinds[kind] >= 0.05)
    return Figure.of(what, [sum(one.values()) for one in found], "calls", note=note)


def _per_step(folder: Path, step: str, count: int) -> dict[str, float]:
    """Return how many calls of each kind a step takes: what a process makes more of than one of fewer steps."""
    few, many = (_calls_of(folder, step, steps) for steps in (_WARM_UPS, _WARM_UPS + count))
    many.subtract(few)
    return {kind: calls / count for kind, calls in many.items()}


def _calls_of(folder: Path, step: str, count: int) -> Counter[str]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return _calls(folder, [sys.executable, "-m", "scripts.benchmarks.repeater", step, place, str(count)])


def _calls(folder: Path, command: Sequence[str]) -> Counter[str]:
    """Run a command, and return the system calls of all its threads by kind; raises NotCountedError."""
    table = folder / "strace.txt"
    with subprocess.Popen(
        ["strace", "-f", "-q", "-c", "-o", str(table), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        process_group=0,
    ) as process:
        try:
            said = process.communicate(timeout=_LIMIT_S)[1]
        except subprocess.TimeoutExpired:
            raise NotCountedError(f"not over within {_LIMIT_S} s") from None
        finally:
            if process.returncode is None:
                # What is traced would go on without strace.
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise NotCountedError((said.strip().splitlines() or ["strace has failed, and says nothing"])[-1])
    rows = (_ROW.fullmatch(line) for line in table.read_text(encoding="utf-8").splitlines())
    return Counter({row[2]: int(row[1]) for row in rows if row and row[2] != "total"})
