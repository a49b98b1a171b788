"""Starvation: some processes make long transactions back to back, and no call of another may fail or wait for long."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Any

from raven import BusClient
from scripts.harness.program import Program
from scripts.harness.served import Served
from scripts.stress import report
from scripts.stress.starvation.honest import Caller
from scripts.stress.trial import Round

_ROUND_S = 15.0
_TIMEOUT_S = 60.0
_LENGTHS_S = (0.02, 0.1, 0.25)
_WRITERS = (1, 2, 5)
# A call may consist of several transactions, and of the start of a process.
_MAX_WAITED = 20
_OTHER_TIME_S = 4.0


def run(round: Round) -> None:
    """Run long writers of one length beside one process of each kind of honest calls."""
    length_s = round.random.choice(_LENGTHS_S)
    writers = round.random.choice(_WRITERS)
    db, socket = str(round.folder / "bus.db"), str(round.folder / "s")
    BusClient.at("sink:s", db).close()
    with ExitStack() as stack:
        stack.enter_context(Served(db, socket))
        hogs = [_start(stack, "long_writer", db, number, length_s) for number in range(writers)]
        honest = {kind: _start(stack, "honest", db, socket, kind) for kind in Caller(db, socket).kinds}
        time.sleep(min(round.seconds, _ROUND_S))
        for program in (*honest.values(), *hogs):
            program.tell("stop")
        for kind, program in honest.items():
            worst_s = float(program.line(_TIMEOUT_S))
            waited = math.ceil(worst_s / length_s)
            round.keep_longest("transactions waited at most", waited)
            round.expect(
                worst_s < _MAX_WAITED * length_s + _OTHER_TIME_S,
                f"one of the {kind} took {worst_s:.1f} s beside {writers} writers of {length_s:g} s each",
            )
            report.add_to_round(round, program.line(_TIMEOUT_S))
        for hog in hogs:
            report.add_to_round(round, hog.line(_TIMEOUT_S))


def _start(stack: ExitStack, name: str, *arguments: Any) -> Program:
    return stack.enter_context(Program(f"stress.starvation.{name}", *arguments, greets=True))
