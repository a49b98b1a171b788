"""Outcome: the counts and the findings of one trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# Lost: acknowledged, then gone. Duplicated: more often than promised. Reordered: out of order. Broken: anything else.
Kind = Literal["lost", "duplicated", "reordered", "broken"]
KINDS: tuple[Kind, ...] = ("lost", "duplicated", "reordered", "broken")
_SHOWN = 12


class Finding(NamedTuple):
    """A broken promise: its kind, a description, and the seed of the round that found it."""

    kind: Kind
    text: str
    seed: int


@dataclass
class Outcome:
    """The result of a trial; `plot` is the SVG of its last round, for a trial that draws one."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    plot: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings

    def count_findings(self, kind: Kind) -> int:
        """Return the number of findings of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def actions(self) -> str:
        """Return the counted actions as one line of text."""
        return ", ".join(f"{count:,} {action}" for action, count in sorted(self.counts.items()))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the outcomes, by trial name, as a table for a terminal."""
    rows = [("trial", "rounds", "s", *KINDS, "actions")]
    for name, outcome in outcomes.items():
        counts = (f"{outcome.count_findings(kind):,}" for kind in KINDS)
        rows.append((name, f"{outcome.rounds:,}", f"{outcome.seconds:.0f}", *counts, outcome.actions()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(_line(row, widths) for row in rows)


def describe(name: str, outcome: Outcome) -> list[str]:
    """Return the first findings as text, each with the command that repeats its round."""
    lines = [
        f"{finding.kind} in {name}: {finding.text}\n"
        f"    repeat with: scripts/torture {name} --seed {finding.seed} --rounds 1"
        for finding in outcome.findings[:_SHOWN]
    ]
    if len(outcome.findings) > _SHOWN:
        lines.append(f"... and {len(outcome.findings) - _SHOWN:,} more in {name}")
    return lines


def _line(row: tuple[str, ...], widths: Iterable[int]) -> str:
    name, *cells = (
        f"{cell:{'<' if column == 0 else '>'}{width}}"
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    )
    return "  ".join([name, *cells, row[-1]]).rstrip()
