"""Review: the work of the demo's agents, on the Python files of this checkout.

worker.sh does as `review` does, so that the findings do not depend on the agent that took the file. A finding is a line
over 120 characters, blanks at the end of a line, a bare `except:`, or a first line without docstring and comment.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_NOT_OURS = {".venv", ".venv-bench", ".venv-torture", "build", "dist"}
_FUNCTION = re.compile(r"^ *(async )?def ")


def python_files() -> list[str]:
    """Return the Python files that git tracks here or, without git, the Python files of the folder."""
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for path in listed.stdout.splitlines() if Path(path).is_file()]
    return sorted(str(path) for path in Path().rglob("*.py") if not _NOT_OURS & set(path.parts))


def folder_of(path: str) -> str:
    """Return the top folder of a path, "." if it has none."""
    parts = Path(path).parts
    return parts[0] if len(parts) > 1 else "."


def review(path: str) -> dict[str, Any]:
    """Review one file: its lines, its functions, and its findings by line number."""
    with open(path, encoding="utf-8") as file:
        lines = [line.removesuffix("\n") for line in file]
    findings: list[str] = []
    if lines and not re.match(r'r?"""|#', lines[0]):
        findings.append("1: no docstring")
    for number, line in enumerate(lines, 1):
        if len(line) > 120:
            findings.append(f"{number}: over 120 characters")
        if line != line.rstrip():
            findings.append(f"{number}: blanks at the end")
        if re.match(r"^ *except:", line):
            findings.append(f"{number}: bare except")
    functions = sum(bool(_FUNCTION.match(line)) for line in lines)
    return {"path": path, "lines": len(lines), "functions": functions, "findings": findings}


class Longest(NamedTuple):
    """The longest function of a folder."""

    lines: int
    name: str


def audit(paths: Sequence[str]) -> Iterator[dict[str, Longest]]:
    """Parse the files in order; after each one, yield the longest function of each top folder so far."""
    longest: dict[str, Longest] = {}
    for path in paths:
        folder = folder_of(path)
        for node in ast.walk(ast.parse(Path(path).read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = Longest((node.end_lineno or node.lineno) - node.lineno + 1, node.name)
                longest[folder] = max(function, longest.get(folder, function))
        yield longest


def count_lines(paths: Sequence[str]) -> int:
    """Count the lines of some files."""
    total = 0
    for path in paths:
        with open(path, "rb") as file:
            total += sum(1 for _ in file)
    return total
