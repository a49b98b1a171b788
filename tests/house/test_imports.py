"""Imports point one way, types included, and each foreign library has one importer."""

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

HOMES = {
    "raven": Path(raven.__file__).parent,
    "raven_rpc": Path(raven_rpc.__file__).parent,
    "raven_http": Path(raven_http.__file__).parent,
    "raven_mcp": Path(raven_mcp.__file__).parent,
}
# A room is a folder, or a module on top. Each may import from the rooms named beside it, and from all that they import.
ROOMS: dict[str, tuple[set[str], str]] = {
    "raven.errors": (set(), "every room raises them"),
    "raven.model": ({"raven.errors"}, "values know no file, so that a client of the socket needs no SQLite"),
    "raven.bus": ({"raven.model"}, "the protocol of both clients needs neither the file nor the socket"),
    "raven.files": ({"raven.errors"}, "whose a file is, is asked before its content is read"),
    "raven.config": ({"raven.model", "raven.files"}, "settings are checked as values are, and whose their file is"),
    "raven.store": ({"raven.config"}, "the file knows no rule of delivery: any rule can stand on it"),
    "raven.agents": ({"raven.store"}, "which session has an address is a matter of the file, not of mail"),
    "raven.wake": ({"raven.store"}, "a waiter reads the file, and the file wakes no waiter by itself"),
    "raven.delivery": (
        {"raven.wake", "raven.agents"},
        "a rule ends by naming the doorbells to ring; an address that is forgotten has no agent",
    ),
    "raven.receive": ({"raven.delivery"}, "loops apply the rules again and again"),
    "raven.query": ({"raven.delivery"}, "reads need to know the states that the rules make"),
    "raven.observer": ({"raven.query"}, "an observer only reads"),
    "raven.exchange": ({"raven.observer"}, "what two hosts owe each other is a matter of their files alone"),
    "raven.transaction": ({"raven.store", "raven.bus"}, "it needs the methods of a client, and the file's transaction"),
    "raven.client": (
        {"raven.observer", "raven.receive", "raven.transaction"},
        "a client reads, sends, receives, and groups calls in transactions",
    ),
    "raven.host": ({"raven.client"}, "a program that serves many addresses holds many clients"),
    "raven.link": ({"raven.client", "raven.exchange"}, "a relay carries what the exchange gives it"),
    "raven.doctor": ({"raven.client", "raven.link"}, "an examination uses the bus as users do, and asks the relay"),
    "raven.cli": ({"raven.host", "raven.doctor", "raven.link"}, "a command calls one method"),
    "raven_rpc.jsonrpc": ({"raven.model", "raven.files"}, "the wire knows no method"),
    "raven_rpc.client": ({"raven_rpc.jsonrpc"}, "a sandbox without SQLite can use it"),
    "raven_rpc.methods": ({"raven_rpc.jsonrpc", "raven.host"}, "a method calls the hosted bus"),
    "raven_rpc.server": ({"raven_rpc.methods"}, "a connection carries calls to methods"),
    "raven_http.guard": ({"raven_rpc.jsonrpc"}, "a request is refused before any work on the bus"),
    "raven_http.page": (set(), "the page is files, and uses the routes as any program does"),
    "raven_http.events": ({"raven.host"}, "one observer of the bus serves all viewers"),
    "raven_http.api": (
        {"raven_rpc.methods", "raven_http.guard"},
        "a route calls a method of the JSON-RPC server, and refuses as the guard does",
    ),
    "raven_http.app": (
        {"raven_http.api", "raven_http.events", "raven_http.guard", "raven_http.page"},
        "the app is its routes behind the guard",
    ),
    "raven_http.server": ({"raven_http.app"}, "uvicorn calls the app"),
    "raven_mcp.options": (set(), "the command line fills them, and every room may read them"),
    "raven_mcp.wire": ({"raven_rpc.jsonrpc"}, "the protocol knows neither tools nor the bus"),
    "raven_mcp.session": (
        {"raven.client", "raven.agents", "raven_mcp.wire", "raven_mcp.options"},
        "a session has an address on the bus, and learns who it is from a call",
    ),
    "raven_mcp.hooks": ({"raven_mcp.session"}, "a hook tells what the session has to hear"),
    "raven_mcp.tools": ({"raven_mcp.session", "raven_mcp.hooks"}, "a tool acts for the session; one of them is a hook"),
    "raven_mcp.server": ({"raven_mcp.tools"}, "one loop carries calls to tools and mail to the session"),
    "raven_mcp.command": ({"raven_mcp.server", "raven_mcp.hooks"}, "two commands start fast, without click"),
    "raven_mcp.install": ({"raven.doctor", "raven_mcp.hooks"}, "it writes what hooks answer, and doctor examines it"),
}
# The public faces are for the command line and the programs of users, which stand on top of everything.
FACES = {"raven", "raven_rpc", "raven_http", "raven_mcp"}
ON_TOP = {"raven.cli", "raven.__main__"}
HEAVY = ("pydantic", "watchfiles", "asyncio", "yaml")


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module and package by its dotted name."""
    modules = {}
    for home, folder in HOMES.items():
        for path in folder.rglob("*.py"):
            parts = [home, *path.relative_to(folder).with_suffix("").parts]
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return modules


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


@cache
def rooms_below(name: str) -> frozenset[str]:
    below, _ = ROOMS[name]
    return frozenset({name}.union(below, *map(rooms_below, below)))


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a tree imports, at any place, types included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            assert node.module
            yield from _homes(node.module, [alias.name for alias in node.names])


def _homes(module: str, names: list[str]) -> Iterator[str]:
    """Yield the modules among the names, and the module itself if another name is imported from it."""
    below = {f"{module}.{name}" for name in names} & modules().keys()
    yield from below
    if len(below) < len(names):
        yield module


def importers(library: str) -> set[str]:
    return {name for name, tree in modules().items() if any(one.partition(".")[0] == library for one in imported(tree))}


def test_every_room_stands_in_the_list() -> None:
    assert {room(name) for name in modules()} <= ROOMS.keys() | FACES | ON_TOP


def test_a_room_imports_only_from_those_below_it() -> None:
    upward = {
        (name, other)
        for name, tree in modules().items()
        if name not in FACES and room(name) not in ON_TOP
        for other in imported(tree)
        if other.partition(".")[0] in HOMES and room(other) not in rooms_below(room(name))
    }

    assert not upward


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {one for one in imported(tree) if one in modules()} - FACES for name, tree in modules().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path, name])}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph.keys() - FACES:
        visit(name, ())
    assert done >= graph.keys() - FACES


@pytest.mark.parametrize("home", HOMES)
def test_a_folder_holds_no_more_modules_than_one_can_take_in(home: str) -> None:
    folders = {path.parent for path in HOMES[home].rglob("*.py")}

    assert {str(folder): count for folder in folders if (count := len(list(folder.glob("*.py")))) > 12} == {}
    assert len(list(HOMES[home].glob("*.py"))) <= 8


@pytest.mark.parametrize("home", HOMES)
def test_a_folder_says_in_two_lines_what_lives_there_and_what_may_import_it(home: str) -> None:
    for path in HOMES[home].glob("*/__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        what, _, imported_by = said.partition("\n\nImported by ")
        above = {name.partition(".")[2] for name, (below, _) in ROOMS.items() if f"{home}.{path.parent.name}" in below}
        unsaid = {name for name in above if f"`{name}`" not in imported_by.partition(";")[0]}
        assert what, path
        assert not unsaid or imported_by.startswith("every room but"), path


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("apsw", {"raven.store", "raven.agents.glance"}),
        ("watchfiles", {"raven.wake.watcher"}),
        (
            "pydantic",
            {
                "raven.exchange.frames",
                "raven.link.settings",
                "raven.model.schemas",
                "raven_rpc.methods.binding",
                "raven_rpc.methods.params",
            },
        ),
        ("nats", {f"raven.link.jetstream.{module}" for module in ("client", "connection", "target")}),
        ("nkeys", {"raven.link.jetstream.target"}),
        ("jsonrpcserver", {"raven_rpc.server.dispatch"}),
        ("click", {"raven.cli"}),
        ("uvicorn", {"raven_http.server"}),
        ("starlette", {"raven_http.api", "raven_http.events", "raven_http.app"}),
        ("yaml", {"raven.config"}),
        ("sqlite3", set()),
    ],
)
def test_a_foreign_library_has_one_importer(library: str, homes: set[str]) -> None:
    assert {name for name in importers(library) if name not in homes and room(name) not in homes} == set()


def test_only_the_command_line_imports_a_way_in_that_is_not_python() -> None:
    outside = {name for name in importers("raven_rpc") if name.partition(".")[0] == "raven"}

    assert {room(name) for name in outside} <= {"raven.cli"}


def test_what_is_heavy_is_imported_inside_functions_only() -> None:
    for name, tree in modules().items():
        if name.startswith("raven.") and room(name) != "raven.link":
            at_import = {ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
            assert not [line for line in at_import for word in (*HEAVY, "raven.link") if word in line], name
