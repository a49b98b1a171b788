"""Report: figures as a table for the terminal or docs/benchmarks.md, and as JSON.

usage: python -m scripts.benchmarks.report FILE.json     prints the table of docs/benchmarks.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from scripts.benchmarks.figure import Bar, Figure


class Report(NamedTuple):
    """The figures of one run by the name of their benchmark, and on what they were taken."""

    machine: str
    date: str
    raven: str
    quick: bool
    figures: dict[str, list[Figure]]

    def dump(self) -> str:
        """Return the JSON of `--json`."""
        shape = self._asdict() | {
            "figures": {name: [figure.as_dict() for figure in found] for name, found in self.figures.items()}
        }
        return json.dumps(shape, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read what `dump` has made."""
        shape: Mapping[str, Any] = json.loads(text)
        figures = {name: [Figure.from_dict(one) for one in found] for name, found in shape["figures"].items()}
        return cls(**{**shape, "figures": figures})

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the cells of the table: what, figure with its spread, the sides' medians, bar, whether it is met."""
        return [_row(figure) for found in self.figures.values() for figure in found]

    def table(self) -> str:
        """Return the table for a terminal."""
        rows = [("what", "median (middle half)", "medians of the sides", "bar", "met"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(_line(row, widths) for row in rows)

    def markdown(self) -> str:
        """Return the table for docs/benchmarks.md."""
        lines = ["| what | median (middle half) | medians of the sides | bar | met |", "|---|---|---|---|---|"]
        escaped = ([cell.replace("|", "\\|") for cell in row] for row in self.rows())
        lines += [f"| {' | '.join(row)} |" for row in escaped]
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """Return what must be known of the figures and their sides, each once."""
        found: dict[str, None] = {}
        for figures in self.figures.values():
            for figure in figures:
                if figure.note:
                    found[f"{figure.what}: {figure.note}"] = None
                found.update((f"{side.name}: {side.note}", None) for side in figure.sides if side.note)
        return list(found)


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    value = amount(figure.value, figure.unit)
    if figure.low != figure.high:
        value += f" ({amount(figure.low)} to {amount(figure.high)})"
    sides = ", ".join(f"{side.name} {amount(side.median, side.unit)}" for side in figure.sides)
    met = {True: "yes", False: "NO", None: ""}[figure.is_met]
    return figure.what, value, sides, _bar(figure.bar, figure.unit), met


def _bar(bar: Bar | None, unit: str) -> str:
    return "" if bar is None else f"{bar.relation} {bar.limit:,g}{unit and ' ' + unit}"


def amount(value: float, unit: str = "") -> str:
    """Write a number with about three digits, and its unit."""
    digits = 0 if value == 0 or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def _line(row: Sequence[str], widths: Iterable[int]) -> str:
    cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()


if __name__ == "__main__":
    report = Report.load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(report.markdown())
    print()
    for note in report.notes():
        print(f"- {note}")
