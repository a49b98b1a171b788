"""Glance: a read of the bus by a process that lives for some milliseconds, such as an agent's hook.

It opens the file read-only, imports a fraction of the modules of a client, and runs the one statement of `glance.sql`.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import apsw

from raven import store
from raven.errors import FileMissingError
from raven.files import ownership
from raven.model import clock
from raven.store.errors import from_sqlite
from raven.store.file import check_ownership

_STATEMENT = os.path.join(os.path.dirname(os.path.abspath(store.__file__)), "sql", "glance.sql")
_MAX_ROWS = 1000


class Sight(NamedTuple):
    """A session of a program and one message that waits for it; `message_id` is None if none waits."""

    native_id: str
    address: str
    pid: int | None
    started: int | None
    message_id: int | None
    sender: str | None
    type: str | None
    urgency: int | None


class Glance:
    """A bus file, opened read-only at each look. Raises a DatabaseError, never one of SQLite's.

    A bus that no agent has used, of an older schema or still empty, has no sessions.
    """

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        self._path = os.path.realpath(path)
        self._busy_timeout_s = busy_timeout_s
        with open(_STATEMENT, encoding="utf-8") as file:
            self._statement = file.read()

    def look(self, host: str, native_id: str | None) -> list[Sight]:
        """Return the sessions of a program, or the one of that name, each with the messages that wait for it."""
        params = {"host": host, "native_id": native_id, "now": clock.now(), "max": _MAX_ROWS}
        return [Sight(*row) for row in self._rows(params)]

    def _rows(self, params: dict[str, Any]) -> list[Any]:
        self._check()
        connection: apsw.Connection | None = None
        try:
            connection = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(round(1000 * self._busy_timeout_s))
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            return connection.execute(self._statement, params).fetchall()
        except apsw.Error as error:
            if isinstance(error, apsw.SQLError) and "no such table" in str(error):
                return []
            os_errno = connection.system_errno if connection is not None else 0
            raise from_sqlite(error, self._path, self._busy_timeout_s, os_errno) from error
        finally:
            if connection is not None:
                connection.close()

    def _check(self) -> None:
        """Raise an error if no file is there, or if another user could have made it."""
        ownership.check_setting()
        if not os.path.exists(self._path):
            raise FileMissingError(
                f"there is no bus at {self._path}: run `raven init`, or name it with --db or RAVEN_DB"
            )
        check_ownership(self._path)
