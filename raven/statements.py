"""Statements: the named SQL of `raven/sql/queries.sql`, the numbered migrations and the views beside it."""

from __future__ import annotations

import os
import re
from functools import cache

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sql")


def _read(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _named_statements(text: str) -> dict[str, str]:
    """Split on the headings `-- name --`; each statement loses its heading and its description."""
    parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)
    return {
        name: re.sub(r"^--.*\n", "", body.lstrip("\n"), flags=re.MULTILINE).strip().rstrip(";")
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@cache
def migrations() -> tuple[str, ...]:
    """Return the migrations in order; the number of the last is the schema version that this raven writes."""
    names = sorted(name for name in os.listdir(_FOLDER) if re.fullmatch(r"\d{4}_\w+\.sql", name))
    return tuple(_read(name) for name in names)


def scripts_after(version: int) -> tuple[str, ...]:
    """Return what brings a file of a schema version up to date: the migrations it has not seen, and the views."""
    return (*migrations()[version:], _read("views.sql"))


SQL = _named_statements(_read("queries.sql"))
