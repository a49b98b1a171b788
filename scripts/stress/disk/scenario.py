"""Disk: no room, no permission, read-only, a file too large, a quota, by every way to the bus.

Three programs at once: one fails each call by which each operation reaches the disk, one fills a small file system
again and again, and one takes rights away. Each finds that what failed did nothing and said so in raven's own words,
that the same client goes on when it is over, and that others were not harmed.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack

from scripts.harness.program import Program
from scripts.stress import report
from scripts.stress.trial import Round

# More than any single step takes, far less than for ever.
_PATIENCE_S = 120.0
# How long one round goes on at most: another then begins from another seed.
_ROOM_S = 15.0
_SWEEP_S = 60.0


def run(round: Round) -> None:
    """Run each of the programs once."""
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(_start(round, name, *arguments))
            for name, arguments in (
                ("room", ("full_disk", str(min(round.seconds, _ROOM_S)))),
                ("rights", ("permissions",)),
                ("calls", ("fault_sweep", str(min(round.seconds, _SWEEP_S)), "calls")),
            )
        }
        _follow(round, "calls", programs["calls"])
        _follow(
            round, "flushes", stack.enter_context(_start(round, "flushes", "fault_sweep", str(_SWEEP_S), "flushes"))
        )
        for name in ("room", "rights"):
            line = programs[name].line(_PATIENCE_S)
            if why := json.loads(line).get("skipped"):
                round.count(f"skipped ({name}: {why})")
            else:
                report.add_to_round(round, line, name)


def sweep(round: Round, what: str) -> None:
    """Only fail each call of one sort, or what must be found wanting (`broken`)."""
    with _start(round, what, "fault_sweep", str(round.seconds), what) as program:
        _follow(round, what, program)


def _start(round: Round, name: str, module: str, *arguments: str) -> Program:
    folder = f"{round.folder}/{name}"
    os.mkdir(folder)
    return Program(f"stress.disk.{module}", folder, str(round.random.randrange(1 << 30)), *arguments)


def _follow(round: Round, name: str, program: Program) -> None:
    """Tell what each operation has come to, until all have had their turn."""
    while "is_whole" not in (answer := json.loads(program.line(_PATIENCE_S))):
        round.count(f"failed {name}", answer["cases"])
        for kind, words in answer["found"]:
            round.report(kind, f"{name}: {words}")
        round.count("raven errors", sum(count for error, count in answer["errors"].items() if "Error" in error))
    round.count(f"sweeps of all {name}", answer["is_whole"])
