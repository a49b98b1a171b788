"""The helper stands on raven's public names, and each foreign library has one importer in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import raven
import raven_rpc

PACKAGE = Path(raven_rpc.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("*.py")}


def imports(tree: ast.AST) -> set[tuple[str, str]]:
    """Return every module that a tree imports from, with the name that it takes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_of_the_helper_takes_only_public_names_of_raven(name: str) -> None:
    for module, taken in imports(MODULES[name]):
        assert not module.startswith("raven."), f"{name} imports {module}"
        if module == "raven":
            assert taken in {"", *raven.__all__}, f"{name} imports {taken} from raven"


@pytest.mark.parametrize(("library", "home"), [("jsonrpcserver", "dispatch"), ("pydantic", "params")])
def test_a_foreign_library_has_one_importer_in_the_helper(library: str, home: str) -> None:
    importers = {
        name
        for name, tree in MODULES.items()
        if any(module.partition(".")[0] == library for module, _ in imports(tree))
    }

    assert importers == {home}


def test_the_public_names_of_the_helper_are_exactly_these() -> None:
    assert sorted(raven_rpc.__all__) == ["Client", "Server", "serve"]
    assert all(getattr(raven_rpc, name) for name in raven_rpc.__all__)


def test_a_client_needs_nothing_of_the_server() -> None:
    program = "import sys; from raven_rpc import Client; Client('x'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"jsonrpcserver", "pydantic", "apsw", "watchfiles", "asyncio"} & set(loaded)
