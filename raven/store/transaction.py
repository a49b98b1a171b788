"""Transaction: one open write transaction, and how rows are read in and out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from raven.errors import InputError
from raven.store.sql import SQL

if TYPE_CHECKING:
    import apsw

Params = Mapping[str, Any]


class Transaction:
    """One open `BEGIN IMMEDIATE`; what takes it as an argument writes with it and never commits."""

    __slots__ = ("_connection", "_run", "_run_many", "control")

    control: Callable[[Literal["BEGIN IMMEDIATE", "COMMIT", "SAVEPOINT step", "RELEASE step"]], object]
    """Begin or commit, a transaction or a step of one; only the Store does."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # One cursor for all statements: to make one for each costs a tenth of a small transaction.
        cursor = connection.cursor()
        self._run = self.control = cursor.execute
        self._run_many = cursor.executemany

    def rows(self, name: str, params: Params, max_bytes: int | None = None) -> list[Any]:
        """Run a named statement and return its rows, as `fetch` does."""
        try:
            return _some(self._run(SQL[name], params), max_bytes)
        except UnicodeDecodeError:
            return fetch(self._connection, SQL[name], params, max_bytes)

    def value(self, name: str, params: Params) -> Any:
        """Run a named statement and return the first column of its first row, or None."""
        rows = self.rows(name, params)
        return rows[0][0] if rows else None

    def change(self, name: str, params: Params) -> int:
        """Run a named statement and return how many rows it changed."""
        self._run(SQL[name], params)
        return self._connection.changes()

    def insert(self, name: str, values: Sequence[Any]) -> int:
        """Run a named INSERT and return the new row's id.

        The values stand in the order of the statement's parameters: to bind them by name takes a tenth of a small send.
        """
        self._run(SQL[name], values)
        return self._connection.last_insert_rowid()

    def insert_many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Do as `insert` does for each row, and return the id of the last."""
        self._run_many(SQL[name], rows)
        return self._connection.last_insert_rowid()


def fetch(
    connection: apsw.Connection, sql: str, params: Params | None = None, max_bytes: int | None = None
) -> list[Any]:
    """Run a statement and return its rows; text that is no UTF-8, as foreign writers can store it, shows as U+FFFD.

    With `max_bytes` it stops after the row with which their texts come to so much. Raises InputError for a parameter
    that UTF-8 cannot hold.
    """
    try:
        return _some(connection.execute(sql, params), max_bytes)
    except UnicodeEncodeError as error:
        raise InputError(
            f"{error.object[:40]!r} holds the lone surrogate {error.object[error.start]!r}, which UTF-8 cannot hold"
        ) from None
    except UnicodeDecodeError:
        names = [column[0] for column in connection.execute(sql, params).get_description()]
        columns = ", ".join(
            f"""CASE typeof("{n}") WHEN 'text' THEN CAST("{n}" AS BLOB) ELSE "{n}" END""" for n in names
        )
        rows = _some(connection.execute(f"SELECT {columns} FROM ({sql})", params), max_bytes)  # noqa: S608 our own names
        return [tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in row) for row in rows]


def size_of(row: Sequence[Any]) -> int:
    """Return how long the texts of a row are together: what `max_bytes` counts."""
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def _some(cursor: apsw.Cursor, max_bytes: int | None) -> list[Any]:
    if max_bytes is None:
        return cursor.fetchall()
    rows, size = [], 0
    for row in cursor:
        rows.append(row)
        size += size_of(row)
        if size >= max_bytes:
            break
    return rows
