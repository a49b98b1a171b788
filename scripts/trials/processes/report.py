"""Report: what an actor has done and found, which it prints as one line of JSON for its trial."""

from __future__ import annotations

import json
from collections import Counter

from scripts.trials.outcome import Kind


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
