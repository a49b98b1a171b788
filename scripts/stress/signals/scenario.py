"""Signals: a real timer interrupts every public call at a random instruction, and nothing stays locked after it."""

from __future__ import annotations

from scripts.harness.program import Program
from scripts.stress import report
from scripts.stress.trial import Round

_ROUND_S = 20.0
_TIMEOUT_S = 120.0


def run(round: Round) -> None:
    """Run the interrupted process for some seconds; it checks itself after each interrupt."""
    seconds = min(round.seconds, _ROUND_S)
    with Program("stress.signals.interrupted", round.folder / "bus.db", round.seed, seconds) as program:
        report.add_to_round(round, program.line(seconds + _TIMEOUT_S))
