"""Imports point one way, and each foreign library has one importer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import raven

PACKAGE = Path(raven.__file__).parent
# A module may import from the layers below its own, and from its own (a test below forbids cycles).
LAYERS = [
    {"errors"},
    {
        "clock",
        "deadline",
        "body",
        "address",
        "lifecycle",
        "message",
        "schemas",
        "statements",
        "filesystem",
        "forks",
        "signals",
        "patience",
    },
    {"config", "busfile", "doorbell", "own_sql", "prospect", "transaction", "migration", "translation", "writeback"},
    {"connection"},
    {"store"},
    {"draft", "group", "holdings", "identity", "log", "peers"},
    {"posting"},
    {"settlement"},
    {"retention", "walwatch"},
    {"listener"},
    {"mailbox", "waiter"},
    {"dead_letters", "feed", "receipts", "renewal", "statistics", "subscription"},
    {"leased_feed", "request"},
    {"observer"},
    {"sender"},
    {"consumer"},
    {"client"},
    {"checks"},
    {"doctor"},
    {"cli", "__main__"},
]
# The public face may be imported from anywhere, but by nothing below the command line.
FACE = "__init__"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of raven by its dotted name below `raven`."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a tree imports, wherever the import stands; types alone do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def raven_imports(tree: ast.AST) -> set[str]:
    """Return the modules of raven that a tree imports, by their dotted names below `raven`."""
    below = {name.removeprefix("raven.") for name in imported(tree) if name.startswith("raven.")}
    found = {name for name in below if name in modules() or f"{name}.__init__" in modules()}
    # `from raven import BusClient` uses the public face.
    others = below - found - {f"{module}.{name.rpartition('.')[2]}" for name in below for module in found}
    return found | ({FACE} if "raven" in imported(tree) and any("." not in name for name in others) else set())


def layer(name: str) -> int:
    top = name.partition(".")[0]
    if top == FACE:
        return len(LAYERS)
    return next(number for number, names in enumerate(LAYERS) if top in names)


def importers(library: str) -> set[str]:
    return {name for name, tree in modules().items() if any(one.partition(".")[0] == library for one in imported(tree))}


def test_every_module_has_its_layer() -> None:
    known = {FACE}.union(*LAYERS)

    assert {name.partition(".")[0] for name in modules()} <= known


@pytest.mark.parametrize("name", sorted(set(modules()) - {FACE}))
def test_a_module_imports_only_from_its_layer_and_those_below(name: str) -> None:
    wrong = {
        other
        for other in raven_imports(modules()[name])
        if (layer(other) > layer(name) and not (other == FACE and layer(name) == len(LAYERS) - 1))
    }

    assert not wrong


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    graph = {name: raven_imports(tree) - {FACE} for name, tree in modules().items() if name != FACE}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done >= graph.keys()


@pytest.mark.parametrize(
    ("library", "home"), [("apsw", "connection"), ("watchfiles", "walwatch"), ("pydantic", "schemas")]
)
def test_a_foreign_library_has_one_importer(library: str, home: str) -> None:
    assert importers(library) == {home}


def test_only_the_command_line_imports_click() -> None:
    assert {name.partition(".")[0] for name in importers("click")} <= {"cli"}


def test_raven_never_imports_its_helper_nor_another_sqlite() -> None:
    assert not importers("raven_rpc")
    assert not importers("sqlite3")


def test_pydantic_and_watchfiles_are_imported_inside_functions_only() -> None:
    for name, tree in modules().items():
        at_import = {ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
        heavy = [line for line in at_import for word in ("pydantic", "watchfiles", "asyncio", "yaml") if word in line]
        assert not heavy, name
