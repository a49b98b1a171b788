"""Results: the outcomes of one run and its machine, as JSON and as the table of docs/reliability.md.

usage: python -m scripts.stress.results FILE.json     prints the table of docs/reliability.md
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from scripts.stress.outcome import KINDS, Finding, Outcome


class Results(NamedTuple):
    """The outcomes of one run, by trial name."""

    machine: str
    date: str
    raven: str
    seed: int
    outcomes: dict[str, Outcome]

    def dump(self) -> str:
        """Return the JSON of `--json`."""
        outcomes = {
            name: {
                "rounds": outcome.rounds,
                "seconds": round(outcome.seconds, 1),
                "counts": dict(sorted(outcome.counts.items())),
                "findings": [finding._asdict() for finding in outcome.findings],
            }
            for name, outcome in self.outcomes.items()
        }
        return json.dumps(self._asdict() | {"outcomes": outcomes}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read the JSON that `dump` wrote."""
        results: Mapping[str, Any] = json.loads(text)
        outcomes = {
            name: Outcome(
                Counter(fields["counts"]),
                [Finding(**finding) for finding in fields["findings"]],
                fields["rounds"],
                fields["seconds"],
            )
            for name, fields in results["outcomes"].items()
        }
        return cls(**{**results, "outcomes": outcomes})

    def markdown(self) -> str:
        """Return the table of docs/reliability.md."""
        lines = [f"| trial | s | {' | '.join(KINDS)} | actions |", f"|{'---|' * (len(KINDS) + 3)}"]
        for name, outcome in self.outcomes.items():
            counts = " | ".join(f"{outcome.count_findings(kind):,}" for kind in KINDS)
            lines.append(f"| {name} | {outcome.seconds:,.0f} | {counts} | {outcome.actions()} |")
        return "\n".join(lines)


if __name__ == "__main__":
    print(Results.load(Path(sys.argv[1]).read_text(encoding="utf-8")).markdown())
