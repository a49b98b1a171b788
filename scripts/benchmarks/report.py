"""Report: metrics as a table for the terminal or docs/benchmarks.md, and as JSON.

usage: python -m scripts.benchmarks.report FILE.json     prints the table of docs/benchmarks.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from scripts.benchmarks.metric import Bar, Metric


class Report(NamedTuple):
    """The metrics of one run by the name of their benchmark, with the machine, the date and the version of raven."""

    machine: str
    date: str
    raven: str
    quick: bool
    metrics: dict[str, list[Metric]]

    def dump(self) -> str:
        """Return the JSON of `--json`."""
        by_benchmark = {name: [metric.as_dict() for metric in metrics] for name, metrics in self.metrics.items()}
        return json.dumps({**self._asdict(), "metrics": by_benchmark}, indent=1) + "\n"

    @classmethod
    def load(cls, text: str) -> Self:
        """Read the JSON that `dump` returns."""
        values: Mapping[str, Any] = json.loads(text)
        by_benchmark = {name: list(map(Metric.from_dict, metrics)) for name, metrics in values["metrics"].items()}
        return cls(**{**values, "metrics": by_benchmark})

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the cells of each row: name, value with its spread, medians of the sides, bar, and the verdict."""
        return [_row(metric) for metrics in self.metrics.values() for metric in metrics]

    def table(self) -> str:
        """Return the table for a terminal."""
        rows = [("metric", "median (middle half)", "medians of the sides", "bar", "met"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(_line(row, widths) for row in rows)

    def markdown(self) -> str:
        """Return the table for docs/benchmarks.md."""
        lines = ["| metric | median (middle half) | medians of the sides | bar | met |", "|---|---|---|---|---|"]
        escaped = ([cell.replace("|", "\\|") for cell in row] for row in self.rows())
        lines += [f"| {' | '.join(row)} |" for row in escaped]
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """Return the notes of all metrics and sides, each once."""
        notes: dict[str, None] = {}
        for metrics in self.metrics.values():
            for metric in metrics:
                if metric.note:
                    notes[f"{metric.name}: {metric.note}"] = None
                notes.update((f"{side.name}: {side.note}", None) for side in metric.sides if side.note)
        return list(notes)


def _row(metric: Metric) -> tuple[str, str, str, str, str]:
    value = amount(metric.value, metric.unit)
    if metric.low != metric.high:
        value += f" ({amount(metric.low)} to {amount(metric.high)})"
    sides = ", ".join(f"{side.name} {amount(side.median, side.unit)}" for side in metric.sides)
    met = {True: "yes", False: "NO", None: ""}[metric.is_met]
    return metric.name, value, sides, _bar(metric.bar, metric.unit), met


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
