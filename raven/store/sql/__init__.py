"""Statements: the named SQL of `queries.sql`, the numbered migrations and the views beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

from raven.model.message import DELIVERY_COLUMNS, INHERITED, MESSAGE_COLUMNS

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


def _listed(names: Iterable[str], table: str = "") -> str:
    """Write columns as a list; `to` is a word of SQL, too."""
    return ", ".join(f'{table}"to"' if name == "to" else f"{table}{name}" for name in names)


def _fragments() -> dict[str, str]:
    """Return the lists of columns for which `queries.sql` has names."""
    given = MESSAGE_COLUMNS[1:]  # SQLite gives a message its id
    # The last column of a delivery tells when its lease ends, which the table does not keep by itself.
    leased_until = "CASE WHEN d.lease IS NOT NULL THEN d.ready_at END AS leased_until"
    return {
        "@columns": _listed(given),
        "@values": ", ".join(f":{name}" for name in given),
        "@delivery": f"{_listed(MESSAGE_COLUMNS, 'm.')}, {_listed(DELIVERY_COLUMNS[:-1], 'd.')}, {leased_until}",
        "@whole": _listed(MESSAGE_COLUMNS + DELIVERY_COLUMNS),
        "@inherited": _listed(INHERITED, "m."),
    }


def _expanded(text: str) -> str:
    for name, columns in _fragments().items():
        text = text.replace(name, columns)
    return text


@cache
def migrations() -> tuple[str, ...]:
    """Return the names of the migrations in order; their number is the schema version that this raven writes."""
    return tuple(sorted(name for name in os.listdir(_FOLDER) if name[:4].isdigit() and name.endswith(".sql")))


def migrations_after(version: int) -> tuple[str, ...]:
    """Return what brings a file of a schema version up to date: the migrations it has not seen, and the views."""
    return tuple(_read(name) for name in (*migrations()[version:], "views.sql"))


SQL = _named_statements(_expanded(_read("queries.sql")))
