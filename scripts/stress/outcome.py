"""Outcome: what a trial has done, how often, and what it found broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# Lost: acknowledged, and gone. Doubled: more often than promised. Reordered: out of order. Broken: all else.
Kind = Literal["lost", "doubled", "reordered", "broken"]
KINDS: tuple[Kind, ...] = ("lost", "doubled", "reordered", "broken")
_SHOWN = 12


class Finding(NamedTuple):
    """A promise that was not kept: of which kind, what happened, in words, and in the round of which seed."""

    kind: Kind
    what: str
    seed: int


@dataclass
class Outcome:
    """What a trial has come to; `plot` is the SVG of its last round, where it draws one."""

    done: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    rounds: int = 0
    seconds: float = 0.0
    plot: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings

    def count(self, kind: Kind) -> int:
        """Return how many findings of a kind there are."""
        return sum(finding.kind == kind for finding in self.findings)

    def deeds(self) -> str:
        """Return what was done in words, and how often."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.done.items()))


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the outcomes by the names of their trials as a table for a terminal."""
    rows = [("trial", "rounds", "s", *KINDS, "what was done")]
    for name, outcome in outcomes.items():
        counts = (f"{outcome.count(kind):,}" for kind in KINDS)
        rows.append((name, f"{outcome.rounds:,}", f"{outcome.seconds:.0f}", *counts, outcome.deeds()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(_line(row, widths) for row in rows)


def describe(name: str, outcome: Outcome) -> list[str]:
    """Return what was found in words, each with the command that does it again."""
    lines = [
        f"{finding.kind} in {name}: {finding.what}\n    again: scripts/torture {name} --seed {finding.seed} --rounds 1"
        for finding in outcome.findings[:_SHOWN]
    ]
    if len(outcome.findings) > _SHOWN:
        lines.append(f"... and {len(outcome.findings) - _SHOWN:,} more in {name}")
    return lines


def _line(row: tuple[str, ...], widths: Iterable[int]) -> str:
    name, *cells = (
        f"{cell:{'<' if place == 0 else '>'}{width}}"
        for place, (cell, width) in enumerate(zip(row, widths, strict=False))
    )
    return "  ".join([name, *cells, row[-1]]).rstrip()
