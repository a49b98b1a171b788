"""System calls of one operation: of raven, of the same SQL in bare apsw, and of other queues on SQLite."""

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

from scripts.benchmarks import peers
from scripts.benchmarks.metric import Metric

_ROOT = Path(__file__).parents[2]
_OPERATIONS = {
    "send": "raven's send",
    "bare-send": "the same inserts in bare apsw",
    "round-trip": "raven's send + claim + ack",
    "bare-round-trip": "the same SQL in bare apsw",
}
_PEERS = ("litequeue", "persist-queue", "huey")
# A line of the table of `strace -c`: share of the time, seconds, us per call, calls, errors if any, name.
_ROW = re.compile(r" *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)")
_WARM_UPS = 100
_SHOWN = 5
_LIMIT_S = 120


class NotCountedError(Exception):
    """strace could not count the calls; the text has the reason."""


def run(folder: Path, quick: bool) -> list[Metric]:
    if shutil.which("strace") is None:
        return [_not_measured("system calls", "the strace program is not installed here")]
    try:
        _calls(folder, [sys.executable, "-c", ""])
    except NotCountedError as error:
        return [_not_measured("system calls", str(error))]
    rounds, count = (2, 300) if quick else (5, 1000)
    metrics = [_metric(folder, operation, label, rounds, count) for operation, label in _OPERATIONS.items()]
    for name in _PEERS:
        try:
            label = f"{name}'s {peers.kind_of(name).steps}"
        except ModuleNotFoundError:
            metrics.append(_not_measured(f"system calls of {name}", "not installed"))
        else:
            metrics.append(_metric(folder, name, label, rounds, count))
    return metrics


def _not_measured(label: str, reason: str) -> Metric:
    return Metric(f"{label}: not measured", 0, "calls", 0, 0, note=reason)


def _metric(folder: Path, operation: str, label: str, rounds: int, count: int) -> Metric:
    label = f"system calls of {label}"
    try:
        rounds_calls = [_per_operation(folder, operation, count) for _ in range(rounds)]
    except NotCountedError as error:
        return _not_measured(label, str(error))
    kinds = {kind: sum(calls.get(kind, 0) for calls in rounds_calls) / rounds for kind in set().union(*rounds_calls)}
    top = sorted(kinds, key=lambda kind: -kinds[kind])[:_SHOWN]
    note = ", ".join(f"{kind} {kinds[kind]:.1f}" for kind in top if kinds[kind] >= 0.05)
    return Metric.of(label, [sum(calls.values()) for calls in rounds_calls], "calls", note=note)


def _per_operation(folder: Path, operation: str, count: int) -> dict[str, float]:
    """Return the calls of each kind per operation, as the difference between a long and a short process."""
    few, many = (_calls_of(folder, operation, steps) for steps in (_WARM_UPS, _WARM_UPS + count))
    many.subtract(few)
    return {kind: calls / count for kind, calls in many.items()}


def _calls_of(folder: Path, operation: str, count: int) -> Counter[str]:
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        return _calls(folder, [sys.executable, "-m", "scripts.benchmarks.repeat_op", operation, temporary, str(count)])


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
            errors = process.communicate(timeout=_LIMIT_S)[1]
        except subprocess.TimeoutExpired:
            raise NotCountedError(f"strace took longer than {_LIMIT_S} s") from None
        finally:
            if process.returncode is None:
                # The traced process would continue without strace.
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise NotCountedError((errors.strip().splitlines() or ["strace failed without a message"])[-1])
    rows = (_ROW.fullmatch(line) for line in table.read_text(encoding="utf-8").splitlines())
    return Counter({row[2]: int(row[1]) for row in rows if row and row[2] != "total"})
