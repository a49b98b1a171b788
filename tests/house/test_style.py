"""The house style, as far as a test can check it: one test per rule, which names all files that break it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import raven
import raven_http
import raven_mcp
import raven_rpc

PACKAGES = [Path(package.__file__).parent for package in (raven, raven_rpc, raven_http, raven_mcp) if package.__file__]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
PAGE = sorted(path for package in PACKAGES for ending in ("js", "css") for path in package.rglob(f"*.{ending}"))
TESTS = sorted(Path(__file__).parents[1].rglob("test_*.py"))
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "tools", "lib"}
ENDINGS = ("print", "sys.exit", "os._exit", "exit")
MANY_LINES = 400
# A longer file begins a paragraph of its docstring so, and says why it is not two.
REASON = "\nLong because "


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstring(path: Path) -> str:
    return ast.get_docstring(parsed(path)) or ""


def is_excused(path: Path) -> bool:
    return path.suffix == ".py" and REASON in docstring(path)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_rules_have_files_to_hold_for() -> None:
    assert len(MODULES) > 80
    assert len(TESTS) > 80
    assert len(PAGE) > 10


def test_a_module_says_in_its_docstring_what_it_is() -> None:
    assert [str(path) for path in MODULES if not docstring(path).strip("`")[:1].isalpha()] == []


def test_a_module_is_named_by_one_noun() -> None:
    assert [str(path) for path in MODULES if path.stem in NAMELESS] == []


@pytest.mark.parametrize("paths", [MODULES, TESTS, PAGE], ids=["modules", "tests", "page"])
def test_a_file_is_short_enough_to_be_read_or_says_why_it_is_long(paths: list[Path]) -> None:
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}

    assert {path: n for path, n in lines.items() if n > MANY_LINES and not is_excused(Path(path))} == {}


def test_everything_public_is_annotated() -> None:
    bare = [
        f"{path}: {node.name}"
        for path in MODULES
        for node in functions(path)
        if node.returns is None and node.name != "__init__"
    ]

    assert bare == []


def test_no_module_prints_or_exits_but_the_command_line() -> None:
    calls = [
        f"{path}: {ast.unparse(node)}"
        for path in MODULES
        if "cli" not in path.parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ENDINGS
    ]

    assert calls == []


def test_the_names_of_tests_are_sentences() -> None:
    names = [f"{path.name}: {node.name}" for path in TESTS for node in functions(path) if node.name.startswith("test_")]

    assert [name for name in names if name.count("_", name.index(": ")) < 3] == []
