"""Exhaustive: a short run of a bus, killed at each of its steps in turn; the checker judges each.

The rest of the trial is random, and this part is complete: with a stride of 1 it kills the run between any two calls of
SQLite on its files.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from scripts.harness.program import Program
from scripts.stress.history import checker, journal
from scripts.stress.history.assemble import history_of
from scripts.stress.history.history import dump_of
from scripts.stress.trial import Round

_TIMEOUT_S = 60.0


def run(round: Round, stride: int, seconds: float) -> None:
    """Kill the run after and halfway through each call of SQLite, and at some lines of raven's code.

    With a stride above 1, or too little time, it tries only some of the steps.
    """
    for steps, moment, gap in (("io", "after", stride), ("io", "halfway", stride), ("line", "before", 151 * stride)):
        folder = round.folder / f"steps-{steps}-{moment}"
        folder.mkdir()
        first = str(round.random.randint(1, gap))
        with Program("stress.kill9.kill_each_step", str(folder), steps, str(gap), first, moment) as program:
            was_killed, over_at = True, time.monotonic() + seconds / 3
            while was_killed and time.monotonic() < over_at:
                run_folder, was_killed = json.loads(program.line(_TIMEOUT_S))
                _judge(round, Path(run_folder), was_killed)
        shutil.rmtree(folder, ignore_errors=True)


def _judge(round: Round, folder: Path, was_killed: bool) -> None:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    name = folder.name
    if was_killed:
        round.count("kills at each step in turn")
    first, second = result["codes"]
    round.expect(first in (0, -9) and second == 0, f"{name}: the processes ended with {first} and {second}")
    round.expect(result["integrity"] == ["ok"], f"{name}: the file should be sound: {result['integrity']}")
    for verdict in checker.check(history_of(journal.read(folder / "journals"), dump_of(result["dump"]))):
        round.report(verdict.kind, f"{name}: {verdict.text}")
    shutil.rmtree(folder)
