"""Exchange: random histories of linked buses; each message is handled once, and each receipt becomes true."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.stress.exchange.history import History
from scripts.stress.exchange.hosts import Host
from scripts.stress.trial import Round

_STEPS = 160


def run(round: Round) -> None:
    """Run one history of the seed of the round."""
    findings = play(round.folder, round.seed, round)
    for kind, text in findings:
        round.report(kind, text)  # type: ignore[arg-type]


def play(folder: Path, seed: int, round: Round | None = None, steps: int = _STEPS) -> list[tuple[str, str]]:
    """Run the history of a seed in an empty folder, which is deleted; returns the broken promises."""
    template = folder.parent / "template.db"
    if not template.exists():
        Host.make_template(template)
    history = History(folder, template, seed, steps)
    try:
        history.run()
    finally:
        history.close()
        shutil.rmtree(folder)
    if round is not None:
        for what, number in history.counts.items():
            round.count(what, number)
    return history.findings
