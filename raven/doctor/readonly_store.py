"""Specimen: a bus as it stands, opened so that nothing in it changes by that."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from raven.errors import BusyError, CorruptError, DatabaseError
from raven.store import connection, migrations
from raven.store.connection import SqliteConnection
from raven.store.database import Store
from raven.store.transaction import Transaction

# For so many steps of SQLite's machine nobody looks at the clock.
_PROGRESS_STEPS = 1000


class CheckpointState(NamedTuple):
    """How many pages the WAL holds, and how many of them are written back into the file."""

    pages: int
    checkpointed: int


class ReadOnlyStore(Store):
    """A store that neither turns the file into WAL mode nor brings its schema up to date, as other stores do."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        super().__init__(path, busy_timeout_s=busy_timeout_s, create=False)

    def _make_ready(self, connection: SqliteConnection) -> None:
        self._transaction = Transaction(connection)
        queries = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
        self._is_blank = not any(connection.execute(query).get for query in queries)
        if not self._is_blank:  # that would be prepared to become a bus
            migrations.check_format(connection, self.path)

    def is_blank(self) -> bool:
        """Whether there is nothing in the file yet."""
        return self._is_blank

    def version(self) -> int:
        """Return the version of its schema."""
        return int(self.pragma("user_version"))

    def schema(self) -> list[Any]:
        """Return kind, name, table and SQL of everything that stands in its schema."""
        return self._query(connection.SCHEMA)

    def check_integrity(self, timeout_s: float) -> str | None:
        """Look through all of the file and return `ok` or what is wrong with it; None where the time was too short."""
        deadline = time.monotonic() + timeout_s
        self._interrupt_at(deadline)
        try:
            return self.pragma("integrity_check")
        except (BusyError, CorruptError):
            raise
        except DatabaseError:
            if time.monotonic() < deadline:
                raise
            return None
        finally:
            self._interrupt_at(None)

    def run_checkpoint(self) -> CheckpointState | None:
        """Write the WAL back as far as its readers allow; None where another does that now."""
        with self._connected() as connection:
            row: Any = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        busy, pages, checkpointed = row
        return None if busy or pages < 0 else CheckpointState(pages, checkpointed)

    def _interrupt_at(self, moment: float | None) -> None:
        handler: Any = None if moment is None else lambda: time.monotonic() > moment
        with self._connected() as connection:
            connection.set_progress_handler(handler, _PROGRESS_STEPS)
