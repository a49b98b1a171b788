"""Steps: a short run of a bus that dies at every step it takes, one death after the other, each judged by the checker.

Where a storm is chance, this is complete: with a stride of 1 there is no moment between two steps of SQLite with its
files at which the run has not died.
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
from scripts.stress.history.history import look_of
from scripts.stress.trial import Round

_PATIENCE_S = 60.0


def run(round: Round, stride: int, seconds: float) -> None:
    """Die at each step of SQLite, after it and in the midst of it, and at some of the lines of raven's code.

    Or at as many of them as there is time for.
    """
    for steps, moment, apart in (("io", "after", stride), ("io", "halfway", stride), ("line", "before", 151 * stride)):
        folder = round.folder / f"steps-{steps}-{moment}"
        folder.mkdir()
        first = str(round.random.randint(1, apart))
        with Program("stress.kill9.kill_each_step", str(folder), steps, str(apart), first, moment) as program:
            died, over_at = True, time.monotonic() + seconds / 3
            while died and time.monotonic() < over_at:
                place, died = json.loads(program.line(_PATIENCE_S))
                _judge(round, Path(place), died)
        shutil.rmtree(folder, ignore_errors=True)


def _judge(round: Round, folder: Path, died: bool) -> None:
    seen: dict[str, Any] = json.loads((folder / "look.json").read_text(encoding="utf-8"))
    where = folder.name
    if died:
        round.count("kills at each step in turn")
    first, second = seen["codes"]
    round.expect(first in (0, -9) and second == 0, f"{where}: the processes have ended with {first} and {second}")
    round.expect(seen["checked"] == ["ok"], f"{where}: the file should be sound, and is: {seen['checked']}")
    for verdict in checker.check(history_of(journal.read(folder / "journals"), look_of(seen["look"]))):
        round.report(verdict.kind, f"{where}: {verdict.what}")
    shutil.rmtree(folder)
