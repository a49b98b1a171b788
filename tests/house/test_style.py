"""The house style, where a machine can hold it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import raven
import raven_rpc

PACKAGES = [Path(package.__file__).parent for package in (raven, raven_rpc) if package.__file__]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
TESTS = sorted(Path(__file__).parents[1].rglob("test_*.py"))


def name_of(path: Path) -> str:
    return next((str(path.relative_to(home.parent)) for home in PACKAGES if path.is_relative_to(home)), path.name)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_in_its_docstring_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert docstring
    assert docstring[0].isalpha() or docstring[0] == "`"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_named_by_one_noun(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "tools", "lib"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 340


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_file_of_tests_is_short_enough_to_be_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_is_annotated(path: Path) -> None:
    bare = [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None and node.name != "__init__"
    ]

    assert not bare


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_prints_or_exits_but_the_command_line(path: Path) -> None:
    if "cli" in path.parts:
        return
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "os._exit", "exit")
    ]

    assert not calls


def test_the_names_of_tests_are_sentences() -> None:
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert node.name.count("_") >= 3, f"{path.name}: {node.name}"
