"""Results: the outcomes of one run, on what they were had, as JSON and as the table of docs/reliability.md.

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
    """The outcomes of one run by the names of their trials."""

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
                "done": dict(sorted(outcome.done.items())),
                "findings": [finding._asdict() for finding in outcome.findings],
            }
            for name, outcome in self.outcomes.items()
        }
        return json.dumps(self._asdict() | {"outcomes": outcomes}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what `dump` has made."""
        shape: Mapping[str, Any] = json.loads(text)
        outcomes = {
            name: Outcome(
                Counter(found["done"]), [Finding(**one) for one in found["findings"]], found["rounds"], found["seconds"]
            )
            for name, found in shape["outcomes"].items()
        }
        return cls(**{**shape, "outcomes": outcomes})

    def markdown(self) -> str:
        """Return the table for docs/reliability.md."""
        lines = [f"| trial | s | {' | '.join(KINDS)} | what was done |", f"|{'---|' * (len(KINDS) + 3)}"]
        for name, outcome in self.outcomes.items():
            counts = " | ".join(f"{outcome.count(kind):,}" for kind in KINDS)
            lines.append(f"| {name} | {outcome.seconds:,.0f} | {counts} | {outcome.deeds()} |")
        return "\n".join(lines)


if __name__ == "__main__":
    print(Results.load(Path(sys.argv[1]).read_text(encoding="utf-8")).markdown())
