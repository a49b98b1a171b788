"""Crowd: processes that connect to a helper as fast as they can, and leave in every manner."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from scripts.harness.program import Program
from scripts.harness.served import Served
from scripts.stress.socket.connector import MANNERS
from scripts.stress.trial import Round

_PROCESSES = 3
_SECONDS = 0.7


def connects(round: Round, helper: Served) -> None:
    """Connect from several processes for a moment, each in a manner of its own."""
    manners = [round.random.choice(sorted(MANNERS)) for _ in range(_PROCESSES)]
    made, failed = visit(helper.path, manners, _SECONDS)
    round.count("connects", made)
    round.expect(made, f"of {failed} connects some should succeed")
    print(f"socket: {made / _SECONDS:,.0f} connects a second ({', '.join(manners)})", file=sys.stderr)


def visit(path: str, manners: Sequence[str], seconds: float) -> tuple[int, int]:
    """Have a process for each manner connect for so long; returns how many connects there were, and how many failed."""
    with ExitStack() as stack:
        visitors = [
            stack.enter_context(Program("stress.socket.connector", manner, path, str(seconds))) for manner in manners
        ]
        counts = [json.loads(visitor.line()) for visitor in visitors]
    made, failed = (sum(column) for column in zip(*counts, strict=True))
    return made, failed
