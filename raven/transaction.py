"""Transaction: one open write transaction, and how rows are read in and out of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from raven.statements import SQL

if TYPE_CHECKING:
    import apsw

Params = Mapping[str, Any]


class Transaction:
    """One open `BEGIN IMMEDIATE`; what takes it as an argument writes with it and never commits."""

    __slots__ = ("_connection", "_run")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # One cursor for all statements: to make one for each costs a tenth of a small transaction.
        self._run = connection.cursor().execute

    def rows(self, name: str, params: Params) -> list[Any]:
        """Run a named statement and return its rows."""
        try:
            return self._run(SQL[name], params).fetchall()
        except UnicodeDecodeError:
            return fetch(self._connection, SQL[name], params)

    def value(self, name: str, params: Params) -> Any:
        """Run a named statement and return the first column of its first row, or None."""
        rows = self.rows(name, params)
        return rows[0][0] if rows else None

    def change(self, name: str, params: Params) -> int:
        """Run a named statement and return how many rows it changed."""
        self._run(SQL[name], params)
        return self._connection.changes()

    def control(self, verb: Literal["BEGIN IMMEDIATE", "COMMIT", "SAVEPOINT step", "RELEASE step"]) -> None:
        """Begin or commit, a transaction or a step of one; only the Store does."""
        self._run(verb)

    def insert(self, name: str, params: Params) -> int:
        """Run a named INSERT and return the new row's id."""
        self._run(SQL[name], params)
        return self._connection.last_insert_rowid()


def fetch(connection: apsw.Connection, sql: str, params: Params | None = None) -> list[Any]:
    """Run a statement and return its rows; text that is no UTF-8, as foreign writers can store it, shows as U+FFFD."""
    try:
        return connection.execute(sql, params).fetchall()
    except UnicodeDecodeError:
        names = [column[0] for column in connection.execute(sql, params).get_description()]
        columns = ", ".join(
            f"""CASE typeof("{n}") WHEN 'text' THEN CAST("{n}" AS BLOB) ELSE "{n}" END""" for n in names
        )
        rows = connection.execute(f"SELECT {columns} FROM ({sql})", params)  # noqa: S608 names of our own columns
        return [tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in row) for row in rows]
