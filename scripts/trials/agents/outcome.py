"""Outcome: the results of one run of the trial, as JSON and as the table of docs/coding-agents.md.

usage: python -m scripts.trials.agents.outcome FILE.json     prints the table of docs/coding-agents.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

Verdict = Literal["yes", "NO", "not run"]


class Outcome(NamedTuple):
    """The outcome of one case: the facts that the run saw, and the expectations that failed."""

    program: str
    title: str
    verdict: Verdict
    facts: list[str]
    failures: list[str]
    seconds: float


class Results(NamedTuple):
    """The outcomes of one run by the name of their case, with the versions of the programs."""

    machine: str
    date: str
    raven: str
    versions: dict[str, str]
    outcomes: dict[str, Outcome]

    def dump(self) -> str:
        """Return the JSON of `--json`."""
        outcomes = {name: outcome._asdict() for name, outcome in self.outcomes.items()}
        return json.dumps(self._asdict() | {"outcomes": outcomes}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read the JSON that `dump` wrote."""
        values: Mapping[str, Any] = json.loads(text)
        outcomes = {name: Outcome(**fields) for name, fields in values["outcomes"].items()}
        return cls(**{**values, "outcomes": outcomes})

    def table(self) -> str:
        """Return the table for a terminal."""
        return "\n".join(
            f"{outcome.verdict:<7}  {name:<22}  {'; '.join([*outcome.facts, *outcome.failures])}"
            for name, outcome in self.outcomes.items()
        )

    def markdown(self) -> str:
        """Return the table of docs/coding-agents.md."""
        lines = ["| program | case | as promised | seen |", "|---|---|---|---|"]
        for outcome in self.outcomes.values():
            seen = "; ".join([*outcome.facts, *outcome.failures]).replace("|", "\\|")
            program = self.versions.get(outcome.program, outcome.program)
            lines.append(f"| {program} | {outcome.title} | {outcome.verdict} | {seen} |")
        return "\n".join(lines)


if __name__ == "__main__":
    print(Results.load(Path(sys.argv[1]).read_text(encoding="utf-8")).markdown())
