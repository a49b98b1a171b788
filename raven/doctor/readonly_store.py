"""ReadOnlyStore: a bus opened without changing its journal mode or schema."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from raven.errors import BusyError, CorruptError, DatabaseError
from raven.store import connection, migrations
from raven.store.connection import SqliteConnection
from raven.store.database import Store
from raven.store.transaction import Transaction

# The number of SQLite's virtual machine steps between two checks of the clock.
_PROGRESS_STEPS = 1000


class CheckpointState(NamedTuple):
    """The number of pages in the WAL, and how many of them are checkpointed."""

    pages: int
    checkpointed: int


class ReadOnlyStore(Store):
    """A store that, unlike others, neither sets WAL mode nor upgrades the schema."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        super().__init__(path, busy_timeout_s=busy_timeout_s, create=False)

    def _make_ready(self, connection: SqliteConnection) -> None:
        self._transaction = Transaction(connection)
        queries = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
        self._is_blank = not any(connection.execute(query).get for query in queries)
        if not self._is_blank:  # check_format would prepare an empty file to become a bus
            migrations.check_format(connection, self.path)

    def is_blank(self) -> bool:
        """Whether the file is empty."""
        return self._is_blank

    def version(self) -> int:
        """Return the schema version."""
        return int(self.pragma("user_version"))

    def schema(self) -> list[Any]:
        """Return kind, name, table and SQL of each object in the schema."""
        return self._query(connection.SCHEMA)

    def check_integrity(self, timeout_s: float) -> str | None:
        """Check the whole file; return `ok` or the damage, or None if the timeout was too short."""
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
        """Checkpoint as far as the readers allow; return None if another connection is checkpointing."""
        row: Any = self.use(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
        busy, pages, checkpointed = row
        return None if busy or pages < 0 else CheckpointState(pages, checkpointed)

    def _interrupt_at(self, moment: float | None) -> None:
        handler: Any = None if moment is None else lambda: time.monotonic() > moment
        self.use(lambda connection: connection.set_progress_handler(handler, _PROGRESS_STEPS))
