"""Statements: the named SQL of `queries.sql`, the numbered migrations and the views beside it."""

from __future__ import annotations

import os
from functools import cache

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _read(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _named_statements(text: str) -> dict[str, str]:
    """Split at the headings `-- name --`; each statement loses its heading and its description."""
    statements = {}
    # Without regular expressions: to compile them takes longer than all of this.
    for part in text.split("\n\n-- ")[1:]:
        name, _, rest = part.partition(" --\n")
        lines = [line for line in rest.split("\n") if not line.startswith("--")]
        statements[name] = "\n".join(lines).strip().rstrip(";")
    return statements


@cache
def migrations() -> tuple[str, ...]:
    """Return the names of the migrations in order; their number is the schema version that this raven writes."""
    return tuple(sorted(name for name in os.listdir(_FOLDER) if name[:4].isdigit() and name.endswith(".sql")))


def scripts_after(version: int) -> tuple[str, ...]:
    """Return what brings a file of a schema version up to date: the migrations it has not seen, and the views."""
    return tuple(_read(name) for name in (*migrations()[version:], "views.sql"))


SQL = _named_statements(_read("queries.sql"))
