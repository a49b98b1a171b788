"""Gaps in the coverage: found by function, and held against the reasons in docs/coverage.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.gaps import Gap, find, reasons

SOURCE = '''"""Sums."""


class Sums:
    def add(self, a: int, b: int) -> int:
        if a:
            return a + b
        return b


def twice(a: int) -> int:
    return 2 * a


LIMIT = 3
'''


def report(lines: list[int], branches: list[list[int]]) -> dict[str, Any]:
    return {"files": {"sums.py": {"missing_lines": lines, "missing_branches": branches}}}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def test_a_file_that_is_run_wholly_has_no_gaps(sources: Path) -> None:
    assert not list(find(report([], []), sources))


def test_a_line_that_is_not_run_is_a_gap_of_its_innermost_function(sources: Path) -> None:
    assert list(find(report([8, 12], []), sources)) == [
        Gap("sums.py", "Sums.add", ("8",)),
        Gap("sums.py", "twice", ("12",)),
    ]


def test_a_turn_that_is_never_taken_is_a_gap(sources: Path) -> None:
    assert list(find(report([], [[6, 8], [11, -11]]), sources)) == [
        Gap("sums.py", "Sums.add", ("6 -> 8",)),
        Gap("sums.py", "twice", ("11 -> exit",)),
    ]


def test_a_turn_to_a_line_that_is_not_run_is_no_second_gap(sources: Path) -> None:
    assert list(find(report([8], [[6, 8]]), sources)) == [Gap("sums.py", "Sums.add", ("8",))]


def test_a_line_outside_of_all_functions_belongs_to_the_module(sources: Path) -> None:
    assert list(find(report([15], []), sources)) == [Gap("sums.py", "module", ("15",))]


def test_reasons_are_read_from_the_rows_of_the_table() -> None:
    text = "# Coverage\n\n| file | function | why |\n|---|---|---|\n| `raven/a.py` | `A.b` | only on macOS |\n"

    assert reasons(text) == {("raven/a.py", "A.b"): "only on macOS"}


def test_every_reason_names_a_function_that_is_there() -> None:
    root = Path(__file__).parents[2]
    gone = []
    for file, function in reasons((root / "docs" / "coverage.md").read_text(encoding="utf-8")):
        path = root / file
        name = function.rpartition(".")[2]
        if not path.exists() or (function != "module" and f"def {name}(" not in path.read_text(encoding="utf-8")):
            gone.append((file, function))

    assert not gone
