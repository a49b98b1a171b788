"""Gaps: what no test runs, function by function, each with the reason that docs/coverage.md gives for it.

usage: python -m scripts.gaps COVERAGE.json [--at-least PERCENT]     exit 1 where one has no reason, or it is too little
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).parents[1]
_REASONS = _ROOT / "docs" / "coverage.md"
_ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| `(?P<function>[^`]+)` \| (?P<reason>.+) \|$", re.MULTILINE)


class Gap(NamedTuple):
    """A function of a file with lines, or turns at a branch, that no test takes; both as a person reads them."""

    file: str
    function: str
    missing: tuple[str, ...]


def find(report: Mapping[str, Any], sources: Path = _ROOT) -> Iterator[Gap]:
    """Find the gaps in a report of `coverage json` with branches."""
    for file, found in sorted(report["files"].items()):
        if not (sources / file).is_file():  # a module of the same name that a test has made
            continue
        missing = {line: f"{line}" for line in found["missing_lines"]}
        for start, end in found["missing_branches"]:
            if start not in missing and end not in missing:
                missing[start] = f"{start} -> {'exit' if end < 0 else end}"
        if not missing:
            continue
        spans = list(_functions(ast.parse((sources / file).read_text(encoding="utf-8"))))
        gaps: dict[str, list[str]] = {}
        for line in sorted(missing):
            # The innermost function begins last.
            name = max(((start, name) for start, end, name in spans if start <= line <= end), default=(0, "module"))[1]
            gaps.setdefault(name, []).append(missing[line])
        for name, lines in gaps.items():
            yield Gap(file, name, tuple(lines))


def reasons(text: str) -> dict[tuple[str, str], str]:
    """Read the reasons in a table of file, function and reason, by the first two."""
    return {(row["file"], row["function"]): row["reason"] for row in _ROW.finditer(text)}


def _functions(tree: ast.Module) -> Iterator[tuple[int, int, str]]:
    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}"
                yield child.lineno, child.end_lineno or child.lineno, name
                yield from walk(child, f"{name}.")
            else:
                yield from walk(child, prefix)

    return walk(tree, "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.gaps", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--at-least", type=float, default=95.0, metavar="PERCENT")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    totals = report["totals"]
    branches = 100 * totals["covered_branches"] / totals["num_branches"]
    known, unexplained = reasons(_REASONS.read_text(encoding="utf-8")), 0
    for gap in find(report):
        reason = known.get((gap.file, gap.function))
        unexplained += reason is None
        print(f"{gap.file} {gap.function}: {', '.join(gap.missing)}\n    {reason or 'NOT EXPLAINED'}")
    print(
        f"branches {branches:.1f} %, lines and branches {totals['percent_covered']:.1f} %, "
        f"{unexplained} gaps without a reason in {_REASONS.relative_to(_ROOT)}"
    )
    return 1 if unexplained or branches < options.at_least else 0


if __name__ == "__main__":
    sys.exit(main())
