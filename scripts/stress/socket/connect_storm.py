"""Connect storm: processes that connect to a server as fast as they can, and close in every mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from scripts.harness.program import Program
from scripts.harness.served import Served
from scripts.stress.socket.connector import CLOSE_MODES
from scripts.stress.trial import Round

_PROCESSES = 3
_SECONDS = 0.7


def connect_from_processes(round: Round, server: Served) -> None:
    """Connect from several processes for a moment, each with a random close mode."""
    modes = [round.random.choice(sorted(CLOSE_MODES)) for _ in range(_PROCESSES)]
    connected, failed = connect_repeatedly(server.path, modes, _SECONDS)
    round.count("connects", connected)
    round.expect(connected, f"of {failed} connects some should succeed")
    print(f"socket: {connected / _SECONDS:,.0f} connects a second ({', '.join(modes)})", file=sys.stderr)


def connect_repeatedly(path: str, modes: Sequence[str], seconds: float) -> tuple[int, int]:
    """Run a process for each mode; returns the number of connects, and the number of failed ones."""
    with ExitStack() as stack:
        connectors = [
            stack.enter_context(Program("stress.socket.connector", mode, path, str(seconds))) for mode in modes
        ]
        counts = [json.loads(connector.line()) for connector in connectors]
    connected, failed = (sum(column) for column in zip(*counts, strict=True))
    return connected, failed
