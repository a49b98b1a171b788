"""Store: the named statements of one SQLite file, and its write transactions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from raven.errors import BusyError
from raven.store import file
from raven.store.connection import SqliteError
from raven.store.sql import SQL
from raven.store.transaction import Params, Writer, fetch

if TYPE_CHECKING:
    import apsw

_T = TypeVar("_T")
_VACUUM_BATCH = 1000
_INCREMENTAL = "2"
# While another thread has the connection: how long to wait before asking again whether it is in a group.
_SLICE_S = 0.01


class Store(Writer):
    """One long-lived connection to the bus file at `path`, its reads, and its write transactions.

    A write is `with store.write() as tx:`, see Transaction. Reads of a thread do not wait for a group that another has
    open: they use a connection of their own. Every error of SQLite comes out as a DatabaseError.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        self._beside: dict[str, Store] = {}
        super().__init__(path, **settings)

    def verify(self) -> None:
        """Notice that the file was replaced or is gone; while another thread has a group open, the next read does."""
        if self._acquire_for_read() is None:
            return
        try:
            self._verify()
        finally:
            self.release()

    def close(self) -> None:
        """Close the connection; every later call raises ClosedError. Closing twice is allowed."""
        super().close()
        for store in list(self._beside.values()):
            store.close()

    def rows(self, name: str, params: Params | None = None, max_bytes: int | None = None) -> list[Any]:
        """Run a named SELECT in a transaction of its own and return its rows, as `fetch` does."""
        return self._query(SQL[name], params, max_bytes)

    def value(self, name: str, params: Params | None = None) -> Any:
        """Run a named SELECT and return the first column of its first row, or None."""
        rows = self._query(SQL[name], params)
        return rows[0][0] if rows else None

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run the user's own SQL in a write transaction, or as a step of the open group; raises StatementError."""
        from raven.store import authorizer

        with self.write(), self._connected() as connection:
            return authorizer.run(connection, sql, params)

    def pragma(self, name: str) -> str:
        """Read one of SQLite's own settings, or run one of its checks, and return the answer as text."""
        return "; ".join(str(row[0]) for row in self._query(f"PRAGMA {name}"))

    def incremental_vacuum(self, pages: int) -> None:
        """Shorten the file by at most so many of its free pages."""
        with self._connected() as connection:
            connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall()

    def vacuum(self) -> None:
        """Shorten the file by its free pages, in small bites, and the WAL if no reader is in the way.

        A file that other hands have made anew without INCREMENTAL auto-vacuum keeps its free pages, to use them again.
        """
        while self.pragma("auto_vacuum") == _INCREMENTAL and int(self.pragma("freelist_count")):
            self.incremental_vacuum(_VACUUM_BATCH)
        self.truncate_wal()

    def truncate_wal(self) -> None:
        """Write the WAL back into the file and cut it to nothing, unless somebody is using it just now."""
        with suppress(BusyError), self.no_wait(), self._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes, 0 where there is none."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def checkpoint(self) -> None:
        """Write the WAL back into the file, as far as its readers allow, so that it is written anew from its start."""
        with suppress(BusyError), self._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def new_connection(self) -> Store:
        """Open another connection to the same file, for a thread that must not wait for this one's transactions."""
        return Store(self.path, busy_timeout_s=self.busy_timeout_s, durability=self.durability, create=False)

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        connection = self.acquire()
        try:
            yield connection
        except SqliteError as error:
            raise self.error_from(error) from error
        finally:
            self.release()

    def _query(self, sql: str, params: Params | None = None, max_bytes: int | None = None) -> list[Any]:
        connection = self._acquire_for_read()
        if connection is None:
            if not self._beside and not file.is_same(self.path, self.inode):
                # A connection that is opened now would find this file's WAL beside the one that took its place.
                super().verify()
                return self._query(sql, params, max_bytes)
            beside = self._open_beside()
            beside.verify()
            return beside._query(sql, params, max_bytes)
        try:
            return fetch(connection, sql, params, max_bytes)
        except SqliteError as error:
            # Of a file in whose place there is another now no error counts: its WAL may be gone already.
            if self._is_writing() or file.is_same(self.path, self.inode):
                raise self.error_from(error) from error
        finally:
            self.release()
        self.verify()
        return self._query(sql, params, max_bytes)

    def _acquire_for_read(self) -> apsw.Connection | None:
        """Take the lock as `acquire` does; None, without it, while another thread has a group open."""
        is_taken = self.lock.acquire(blocking=False)
        while not is_taken and not self.atomic_elsewhere():
            is_taken = self.lock.acquire(timeout=_SLICE_S)
        return (self.usable or self.make_usable()) if is_taken else None

    def _open_beside(self) -> Store:
        """Return the connection for reads beside a group of another thread; it is opened by the first."""
        beside = self._beside.get("reads")
        if beside is None:
            opened = self.new_connection()
            beside = self._beside.setdefault("reads", opened)
            if beside is not opened:
                opened.close()
            if self.is_closed:
                beside.close()
        return beside
