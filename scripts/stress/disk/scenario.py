"""Disk: full disks, missing permissions, read-only mounts, file size limits and quotas, by every way to the bus.

Three programs run at once: one fails each call of each operation to the disk, one fills a small file system again and
again, and one removes permissions. A failed call must do nothing and raise an error of raven. The same client must go
on afterwards, and other clients must not be harmed.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack

from scripts.harness.program import Program
from scripts.stress import report
from scripts.stress.trial import Round

# Longer than any single step.
_TIMEOUT_S = 120.0
# The longest times in one round; a longer trial has several rounds.
_ROOM_S = 15.0
_SWEEP_S = 60.0


def run(round: Round) -> None:
    """Run each of the programs once."""
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(_start(round, name, *arguments))
            for name, arguments in (
                ("full_disk", ("full_disk", str(min(round.seconds, _ROOM_S)))),
                ("permissions", ("permissions",)),
                ("calls", ("fault_sweep", str(min(round.seconds, _SWEEP_S)), "calls")),
            )
        }
        _follow(round, "calls", programs["calls"])
        _follow(
            round, "flushes", stack.enter_context(_start(round, "flushes", "fault_sweep", str(_SWEEP_S), "flushes"))
        )
        for name in ("full_disk", "permissions"):
            line = programs[name].line(_TIMEOUT_S)
            if why := json.loads(line).get("skipped"):
                round.count(f"skipped ({name}: {why})")
            else:
                report.add_to_round(round, line, name)


def sweep(round: Round, calls: str) -> None:
    """Only fail each call of one kind; `broken` uses an operation that the sweep must find."""
    with _start(round, calls, "fault_sweep", str(round.seconds), calls) as program:
        _follow(round, calls, program)


def _start(round: Round, name: str, module: str, *arguments: str) -> Program:
    folder = f"{round.folder}/{name}"
    os.mkdir(folder)
    return Program(f"stress.disk.{module}", folder, str(round.random.randrange(1 << 30)), *arguments)


def _follow(round: Round, name: str, program: Program) -> None:
    """Add the results of each operation to the round, until all operations were tried."""
    while "is_complete" not in (answer := json.loads(program.line(_TIMEOUT_S))):
        round.count(f"failed {name}", answer["cases"])
        for kind, text in answer["findings"]:
            round.report(kind, f"{name}: {text}")
        round.count("raven errors", sum(count for error, count in answer["errors"].items() if "Error" in error))
    round.count(f"sweeps of all {name}", answer["is_complete"])
