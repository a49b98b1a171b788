"""Report: what an actor has done and found, which it prints as one line of JSON for its trial."""

from __future__ import annotations

import json
from collections import Counter

from scripts.stress.outcome import Kind
from scripts.stress.trial import Round


class Report:
    """Counts what was done, and lists what was found broken, as a Round does."""

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self.findings: list[tuple[Kind, str]] = []

    def did(self, what: str, times: int = 1) -> None:
        """Count what was done, in the plural."""
        self._done[what] += times

    def found(self, kind: Kind, what: str) -> None:
        """Tell of a promise that was not kept."""
        self.findings.append((kind, what))

    def expect(self, condition: object, what: str) -> None:
        """Tell of something broken unless the condition holds."""
        if not condition:
            self.found("broken", what)

    def print(self) -> None:
        """Print the line."""
        print(json.dumps({"done": self._done, "found": self.findings}), flush=True)


def take(round: Round, line: str, name: str = "") -> None:
    """Tell a round what an actor has printed, with the name of the actor before each finding."""
    report = json.loads(line)
    for what, times in report["done"].items():
        round.did(what, times)
    for kind, what in report["found"]:
        round.found(kind, f"{name}: {what}" if name else what)
