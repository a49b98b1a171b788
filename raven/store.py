"""Store: one SQLite file in WAL mode, and the only place that talks to SQLite.

Who else can be in the file at any moment: other threads of this client (a lock), other processes and other SQLite
clients (`BEGIN IMMEDIATE`, with a busy wait), a forked child (its own connection), and whoever deletes or replaces the
file (its inode is checked before each write and on each tick).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

import apsw

from raven import busfile, forks, migration
from raven.config import Durability
from raven.errors import (
    BusyError,
    ClosedError,
    ConfigError,
    CorruptError,
    DatabaseError,
    DiskFullError,
    FileMissingError,
    NotABusError,
    ReadOnlyError,
)
from raven.patience import Patience
from raven.statements import SQL
from raven.transaction import Params, Transaction, fetch

WAL_SIZE_LIMIT = 4 * 1024 * 1024
_VACUUM_BITE = 1000

_TRANSLATIONS: dict[type[apsw.Error], tuple[type[DatabaseError], str]] = {
    apsw.BusyError: (BusyError, "is locked by another writer: try again, or find the program that holds it"),
    apsw.LockedError: (BusyError, "is locked by another writer: try again, or find the program that holds it"),
    apsw.FullError: (
        DiskFullError,
        "cannot grow: the disk, the quota or the file size limit is used up; free some room",
    ),
    apsw.ReadOnlyError: (ReadOnlyError, "cannot be written: check the permissions of the file and of its folder"),
    apsw.PermissionsError: (ReadOnlyError, "cannot be written: check the permissions of the file and of its folder"),
    apsw.CantOpenError: (FileMissingError, "cannot be opened: check that its folder exists and may be written"),
    apsw.NotADBError: (NotABusError, "is not an SQLite database: choose another path"),
    apsw.CorruptError: (CorruptError, "is damaged: run `raven doctor`, and restore a backup"),
}


def sqlite_version() -> tuple[int, ...]:
    """Return the version of the SQLite that the driver brings."""
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


class Store:
    """One long-lived connection to the bus file at `path`.

    A write is `with store.write() as tx:`, one transaction that is committed when the block ends and rolled back when
    it raises. Every error of SQLite comes out as a DatabaseError. With `durability="full"` a commit survives power
    loss, not only the death of processes. `create=False` refuses to make a file that is not there.
    """

    def __init__(
        self, path: str, *, busy_timeout_s: float = 5.0, durability: Durability = "normal", create: bool = True
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigError(f"durability {durability!r} is not known: use 'normal' or 'full'")
        if not isinstance(busy_timeout_s, int | float) or not 0 <= busy_timeout_s <= 3600:
            raise ConfigError(f"busy_timeout_s {busy_timeout_s!r} is out of range: use 0 to 3600 seconds")
        if "\0" in path or not path.isprintable():
            raise FileMissingError(f"the path {path!r} holds what no bus file may be called by: choose another")
        # One bus is one real file, by whatever link it is reached: SQLite and the doorbells must agree on its name.
        self.path = os.path.realpath(path)
        self.busy_timeout_s = busy_timeout_s
        self._durability = durability
        self._patience = Patience(busy_timeout_s)
        self._closed = False
        self._in_parents_transaction: apsw.Connection | None = None
        self._lock = threading.RLock()
        self._entered: FrameType | None = None
        self.replaced = 0  # how often another file took the place of this one
        self._connection: apsw.Connection | None = None
        forks.guard(self)
        with self._lock:  # held, so that no fork comes while SQLite is at work
            self._connection = self._open(create)

    def write(self) -> Self:
        """Return the context of one write transaction, which yields a Transaction; the file is verified first."""
        if not busfile.is_still(self.path, self._inode):
            self.verify()
        return self

    def write_on(self) -> Self:
        """Do as `write` does without verifying the file: for the steps of a loop that verifies it at its ticks."""
        return self

    def __enter__(self) -> Transaction:
        self._acquire()
        if self._entered is not None:
            self._end_interrupted()
        try:
            self._entered = sys._getframe(1)
            self._transaction.control("BEGIN IMMEDIATE")
        except BaseException as error:
            try:
                self._leave()
            finally:
                self._release()
            if isinstance(error, apsw.Error):
                raise self._translated(error) from error
            raise
        return self._transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._transaction.control("COMMIT")
        except apsw.Error as failure:
            raise self._translated(failure) from failure
        finally:
            try:
                self._leave()
            finally:
                self._release()
        if isinstance(error, apsw.Error):
            raise self._translated(error) from error

    def _leave(self) -> None:
        """Roll back what was not committed, and close now if that was asked for meanwhile."""
        self._entered = None
        if self._connection is not None:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self._closed:
                self._connection.close()

    def _end_interrupted(self) -> None:
        """End a transaction whose block was left by an exception of a signal handler at the very door of `__exit__`.

        Where that block is still running (this is a finalizer or a signal handler inside it) it is left alone, and
        this write is refused.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self._entered:
            frame = frame.f_back
        if frame is None:
            self._leave()
        self._release()
        if frame is not None:
            raise DatabaseError(f"this thread is in a transaction on {self.path} already: wait for its end")

    def rows(self, name: str, params: Params | None = None) -> list[Any]:
        """Run a named SELECT in a transaction of its own and return its rows."""
        return self._query(SQL[name], params)

    def value(self, name: str, params: Params | None = None) -> Any:
        """Run a named SELECT and return the first column of its first row, or None."""
        rows = self._query(SQL[name], params)
        return rows[0][0] if rows else None

    def pragma(self, name: str) -> str:
        """Read one of SQLite's own settings, or run one of its checks, and return the answer as text."""
        return "; ".join(str(row[0]) for row in self._query(f"PRAGMA {name}"))

    def give_space_back(self) -> None:
        """Shorten the file by its free pages, in small bites, and the WAL if no reader is in the way."""
        while int(self.pragma("freelist_count")):
            with self._connected() as connection:
                connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_BITE})").fetchall()
        self.trim_wal()

    def trim_wal(self) -> None:
        """Write the WAL back into the file and cut it to nothing, unless somebody is using it just now."""
        with suppress(BusyError), self.impatient(), self._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def verify(self) -> None:
        """Notice that the file was replaced (go on with the new one, and log it) or is gone (FileMissingError)."""
        self._acquire()
        try:
            self._verify()
        finally:
            self._release()

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Let this thread's calls inside raise BusyError at once, for callers that can wait without blocking it."""
        self._acquire()
        self._patience.limit_s = 0.0
        try:
            yield
        finally:
            self._patience.limit_s = self.busy_timeout_s
            self._release()

    def sibling(self) -> Store:
        """Open another connection to the same file, for a thread that must not wait for this one's transactions."""
        return Store(self.path, busy_timeout_s=self.busy_timeout_s, durability=self._durability, create=False)

    def close(self) -> None:
        """Close the connection; every later call raises ClosedError. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            # A signal handler can come here from within this thread's own transaction, which then closes at its end.
            if self._connection is not None and self._entered is None:
                self._connection.close()

    # Connections

    def before_fork(self) -> None:
        """Let no other thread be inside SQLite while this process forks."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on in the parent."""
        self._release()

    def forsake(self) -> None:
        """Close the inherited connection in a forked child, leaving the file alone; the next use opens another."""
        inherited, self._connection = self._connection, None
        self._lock = threading.RLock()
        if inherited is not None and not inherited.in_transaction:
            inherited.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            inherited.close()
        elif inherited is not None:
            # Forked inside a transaction: to close it would roll back what the parent is writing.
            self._in_parents_transaction = inherited

    def _acquire(self) -> apsw.Connection:
        """Take the lock for this thread and return the connection; it is made anew where the last one had to go."""
        self._lock.acquire()
        try:
            if self._closed:
                raise ClosedError(f"the client of {self.path} is closed: make a new BusClient")
            if self._in_parents_transaction is not None:
                raise DatabaseError(f"this process was forked inside a transaction on {self.path}: fork outside of it")
            if self._connection is None:
                self._connection = self._open(create=False)
            return self._connection
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        try:  # noqa: SIM105 on the path of every write, where `suppress` costs several times the release
            self._lock.release()
        except RuntimeError:
            pass  # An exception of a signal handler came between this thread's last release and its book-keeping.

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        connection = self._acquire()
        try:
            yield connection
        except apsw.Error as error:
            raise self._translated(error) from error
        finally:
            self._release()

    def _query(self, sql: str, params: Params | None = None) -> list[Any]:
        connection = self._acquire()
        try:
            return fetch(connection, sql, params)
        except apsw.Error as error:
            raise self._translated(error) from error
        finally:
            self._release()

    def _verify(self) -> None:
        if not busfile.is_still(self.path, self._inode):
            import logging

            logging.getLogger("raven").warning(
                "the bus %s was replaced while in use: going on with the new file", self.path
            )
            # While the old connection holds its WAL open, no other file can have that inode.
            busfile.drop_stale_wal(self.path, self._wal_inode)
            old, self._connection = self._connection, None
            if old is not None:
                old.close()
            self._connection = self._open(create=False)
            self.replaced += 1

    def _open(self, create: bool) -> apsw.Connection:
        busfile.prepare(self.path, create=create)
        naps = 0
        while True:
            try:
                return self._connect()
            except apsw.BusyError as error:
                # SQLite calls no busy handler while another process turns a new file into WAL mode.
                if not self._patience.wait(naps):
                    raise self._translated(error) from error
                naps += 1
            except apsw.Error as error:
                raise self._translated(error) from error

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_handler(self._patience.wait)
            # Plans must not depend on bound values: where they may, SQLite compiles a statement anew at each run.
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
            migration.check_format(connection, self.path)
            for setting in (
                "journal_mode = WAL",
                f"synchronous = {self._durability}",
                f"journal_size_limit = {WAL_SIZE_LIMIT}",
            ):
                connection.execute(f"PRAGMA {setting}").fetchall()
            migration.migrate(connection)
            self._inode = busfile.inode(self.path)
            self._wal_inode = busfile.wal_inode(self.path)
        except BaseException:
            connection.close()
            raise
        self._transaction = Transaction(connection)
        return connection

    def _translated(self, error: apsw.Error) -> DatabaseError:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE:
            return DiskFullError(f"the bus {self.path} {_TRANSLATIONS[apsw.FullError][1]}")
        for kind, (ours, text) in _TRANSLATIONS.items():
            if isinstance(error, kind):
                waited = (
                    f" (waited {self._patience.limit_s:g} s)" if ours is BusyError and self._patience.limit_s else ""
                )
                return ours(f"the bus {self.path} {text}{waited}")
        return DatabaseError(f"the bus {self.path} could not be used: {error}; run `raven doctor`")
