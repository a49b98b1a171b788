"""Store: the named statements of one SQLite file, and its write transactions."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from raven.errors import BusyError, DatabaseError, DiskFullError
from raven.store import file
from raven.store.connection import SqliteError
from raven.store.sql import SQL
from raven.store.sql.rows import Params, fetch
from raven.store.transaction import Writer

if TYPE_CHECKING:
    import apsw

_T = TypeVar("_T")
_VACUUM_BATCH = 1000
_INCREMENTAL = "2"
# Where fsync leaves data in the cache of the disk, there is another call.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Store(Writer):
    """One long-lived connection to the bus file at `path`, its reads, and its write transactions.

    A write is `store.write(step)`, see Writer. If another thread or asyncio task is in an atomic block, reads do not
    wait for its end: they use a second connection. Each SQLite error is raised as a DatabaseError.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        self._beside: dict[str, Store] = {}
        super().__init__(path, **settings)

    def verify(self) -> None:
        """Notice that the file was replaced or is gone.

        While another thread or task is in an atomic block this does nothing; the next read notices.
        """
        with self.lock:
            if self.block is None or not self.is_block_of_others():
                self.usable or self.make_usable()
                self._verify()

    def close(self) -> None:
        """Close the connection; every later call raises ClosedError. Closing twice is allowed."""
        self.is_closed = True  # no other block begins
        self.wait_for_others()
        super().close()
        for store in list(self._beside.values()):
            store.close()

    def rows(
        self, name: str, params: Params | None = None, max_bytes: int | None = None, *, whole: bool = False
    ) -> list[Any]:
        """Run a named SELECT in its own transaction and return its rows, as `fetch` does."""
        return self._query(SQL[name], params, max_bytes, whole)

    def value(self, name: str, params: Params | None = None) -> Any:
        """Run a named SELECT and return the first column of its first row, or None."""
        rows = self._query(SQL[name], params)
        return rows[0][0] if rows else None

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run user SQL in a write transaction, or in the open atomic block; raises StatementError."""
        return self.write(lambda tx: tx.execute(sql, params))

    def pragma(self, name: str) -> str:
        """Read one of SQLite's settings, or run one of its checks, and return the result as text."""
        return "; ".join(str(row[0]) for row in self._query(f"PRAGMA {name}"))

    def incremental_vacuum(self, pages: int) -> None:
        """Remove at most this many free pages from the file."""
        self.use(lambda connection: connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall())

    def vacuum(self) -> None:
        """Remove all free pages from the file, in small batches, and truncate the WAL unless a reader blocks that.

        A file that another program has rebuilt without INCREMENTAL auto-vacuum keeps its free pages and reuses them.
        """
        while self.pragma("auto_vacuum") == _INCREMENTAL and int(self.pragma("freelist_count")):
            self.incremental_vacuum(_VACUUM_BATCH)
        self.truncate_wal()

    def truncate_wal(self) -> None:
        """Copy the WAL into the file and truncate it, unless another connection is using it."""
        with suppress(BusyError):
            self.no_wait(
                lambda: self.use(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
            )

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes, or 0 if there is no WAL."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def sync(self) -> None:
        """Put all commits so far on the disk, so that they survive a loss of power; raises DatabaseError.

        A commit with durability="full" does the same, but all other writers wait for it: this holds no lock.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(f"{self.path}-wal", flags)
        except FileNotFoundError:  # the last process has closed the file, and all of the WAL is in it
            return
        try:
            # SQLite locks other files, so that no lock ends when this descriptor is closed.
            fcntl.fcntl(descriptor, _FULL_SYNC) if _FULL_SYNC else _sync_data(descriptor)
        except OSError as error:
            kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else DatabaseError
            raise kind(f"{self.path}-wal cannot be put on the disk: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def wal_version(self) -> tuple[int, int]:
        """Return a version of the WAL that changes with each commit; (0, 0) if there is no WAL."""
        try:
            status = os.stat(f"{self.path}-wal")
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def checkpoint(self) -> None:
        """Copy the WAL into the file as far as its readers allow, so that SQLite can reuse it from its start."""
        with suppress(BusyError):
            self.use(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def new_connection(self) -> Store:
        """Open another connection to the same file, for a thread that must not wait for this one's transactions."""
        return Store(self.path, busy_timeout_s=self.busy_timeout_s, durability=self.durability, create=False)

    def use(self, step: Callable[[apsw.Connection], _T]) -> _T:
        """Call `step` with the connection, outside of atomic blocks of other threads, and return its result."""
        with self.lock:
            if self.block is None or self.other_block() is None:
                try:
                    return step(self.usable or self.make_usable())
                except SqliteError as error:
                    raise self.error_from(error) from error
        with self.turn:
            self.wait_for_others()
            return self.use(step)

    def _query(
        self, sql: str, params: Params | None = None, max_bytes: int | None = None, whole: bool = False
    ) -> list[Any]:
        with self.lock:
            is_beside = self.block is not None and self.is_block_of_others()
            if not is_beside:
                try:
                    return fetch(self.usable or self.make_usable(), sql, params, max_bytes, whole=whole)
                except SqliteError as error:
                    # Ignore errors of a file that was replaced: its WAL may already be gone.
                    if self._is_writing() or file.is_same(self.path, self.inode):
                        raise self.error_from(error) from error
        if is_beside and (self._beside or file.is_same(self.path, self.inode)):
            beside = self._open_beside()
            beside.verify()
            return beside._query(sql, params, max_bytes, whole)
        if is_beside:
            # A connection opened now would find this file's WAL beside the file that replaced it.
            self.use(lambda _: None)
        self.verify()
        return self._query(sql, params, max_bytes, whole)

    def _open_beside(self) -> Store:
        """Return the second connection, for reads beside another thread's atomic block; the first read opens it."""
        beside = self._beside.get("reads")
        if beside is None:
            opened = self.new_connection()
            beside = self._beside.setdefault("reads", opened)
            if beside is not opened:
                opened.close()
            if self.is_closed:
                beside.close()
        return beside
