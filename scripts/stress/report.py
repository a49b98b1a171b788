"""Report: the counts and findings of an actor process, printed as one line of JSON for its trial."""

from __future__ import annotations

import json
from collections import Counter

from scripts.stress.outcome import Kind
from scripts.stress.trial import Round


class Report:
    """Collects counts and findings in an actor process, with the methods of a Round."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.findings: list[tuple[Kind, str]] = []

    def count(self, action: str, times: int = 1) -> None:
        """Count an action, named in the plural."""
        self._counts[action] += times

    def report(self, kind: Kind, text: str) -> None:
        """Report a broken promise."""
        self.findings.append((kind, text))

    def expect(self, condition: object, text: str) -> None:
        """Report a broken promise unless the condition holds."""
        if not condition:
            self.report("broken", text)

    def print(self) -> None:
        """Print the line."""
        print(json.dumps({"counts": self._counts, "findings": self.findings}), flush=True)


def add_to_round(round: Round, line: str, name: str = "") -> None:
    """Add the report that an actor printed to a round; `name` is put before each finding."""
    report = json.loads(line)
    for action, times in report["counts"].items():
        round.count(action, times)
    for kind, text in report["findings"]:
        round.report(kind, f"{name}: {text}" if name else text)
