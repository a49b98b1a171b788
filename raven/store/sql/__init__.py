"""SQL: the named statements of `queries.sql` and `exchange.sql`, the numbered migrations and the views."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache

from raven.model.address import PRIVATE_MARK
from raven.model.message import DELIVERY_COLUMNS, HELD_UNTIL, INHERITED, MESSAGE_COLUMNS

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _read(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _named_statements(text: str) -> dict[str, str]:
    """Split the text at its headings `-- name --`; returns the statements by name, without comments."""
    statements = {}
    # No regular expressions: compiling them takes longer than this loop.
    for part in text.split("\n\n-- ")[1:]:
        name, _, rest = part.partition(" --\n")
        lines = [line for line in rest.split("\n") if not line.startswith("--")]
        statements[name] = "\n".join(lines).strip().rstrip(";")
    return statements


def _listed(names: Iterable[str], table: str = "") -> str:
    """Return a column list; `to` is quoted, because it is an SQL keyword."""
    return ", ".join(f'{table}"to"' if name == "to" else f"{table}{name}" for name in names)


def _fragments() -> dict[str, str]:
    """Return the column lists and conditions that `queries.sql` inserts by name."""
    insertable = MESSAGE_COLUMNS[1:]  # SQLite assigns the id
    # `leased_until` is not a column of the table: while a delivery is leased, `ready_at` holds the end of the lease.
    leased_until = "CASE WHEN d.lease IS NOT NULL THEN d.ready_at END AS leased_until"
    return {
        "@columns": _listed(insertable),
        "@values": ", ".join(f":{name}" for name in insertable),
        "@delivery": f"{_listed(MESSAGE_COLUMNS, 'm.')}, {_listed(DELIVERY_COLUMNS[:-1], 'd.')}, {leased_until}",
        "@message": _listed(MESSAGE_COLUMNS, "m."),
        "@whole": _listed(MESSAGE_COLUMNS + DELIVERY_COLUMNS),
        "@inherited": _listed(INHERITED, "m."),
        "@held": str(HELD_UNTIL),
        # As `is_private` in address.py; most roles fail the first condition, which is the cheaper one.
        "@private": f"substr(role, -17, 1) = '{PRIVATE_MARK}' AND role GLOB '*{PRIVATE_MARK}{'[0-9a-f]' * 16}'",
    }


def _expanded(statements: dict[str, str]) -> dict[str, str]:
    """Insert the fragments; those of `queries.sql` itself, `@name`, may have in them others that come later."""
    fragments = {name: statements.pop(name) for name in list(statements) if name.startswith("@")} | _fragments()
    for name, statement in statements.items():
        for fragment, text in fragments.items():
            statement = statement.replace(fragment, text)  # noqa: PLW2901
        statements[name] = statement
    return statements


@cache
def migrations() -> tuple[str, ...]:
    """Return the names of the migrations in order; their count is the schema version of this raven."""
    return tuple(sorted(name for name in os.listdir(_FOLDER) if name[:4].isdigit() and name.endswith(".sql")))


def migrations_after(version: int) -> tuple[str, ...]:
    """Return the scripts that bring a file of a schema version up to date: newer migrations, then the views."""
    return tuple(_read(name) for name in (*migrations()[version:], "views.sql"))


def change_log() -> str:
    """Return the script that makes the change log of a bus, or mends it; it keeps the changes so far."""
    return _read("change_log.sql")


def link_triggers() -> str:
    """Return the script that makes the triggers of a bus with a link, or mends them."""
    return _read("link_triggers.sql")


def load_exchange() -> None:
    """Add the statements of `exchange.sql`, which only a bus with a link needs."""
    if "hold" not in SQL:
        SQL.update(_expanded(_named_statements(_read("exchange.sql"))))


def normalized(sql: str) -> str:
    """Return SQL without comments and with single blanks, for a comparison."""
    return " ".join(" ".join(line.partition("--")[0] for line in sql.split("\n")).split())


def _with_scoped(statements: dict[str, str]) -> dict[str, str]:
    """Add a scoped twin of each statement that reads `log`; it takes the parameter :scope besides."""
    scoped_log = f"FROM ({statements['scoped_log']}) AS log"
    for name, statement in list(statements.items()):
        if "FROM log" in statement:
            twin = name if name.startswith("scoped_") else f"scoped_{name}"
            if twin == name or twin not in statements:
                statements[twin] = statement.replace("FROM log", scoped_log)
    return statements


SQL = _with_scoped(_expanded(_named_statements(_read("queries.sql"))))
