"""Connection: one long-lived connection to the bus file; of the store, only this module imports the driver.

Concurrent users of the file, and the protection against each: other threads of this client (a lock); other processes
and SQLite clients (`BEGIN IMMEDIATE` with a busy handler); a forked child (a connection of its own); a program that
deletes or replaces the file (an inode check before each write and at each tick).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TypeVar

import apsw

from raven.config import Durability
from raven.errors import (
    BusyError,
    ClosedError,
    ConfigError,
    DatabaseError,
    FileMissingError,
    RavenError,
    abbreviate,
)
from raven.files import ownership
from raven.files.turnstile import Turn
from raven.model.limits import is_number
from raven.store import file, fork_safety, migrations
from raven.store.checkpoint import WAL_SIZE_LIMIT, BusyHandler
from raven.store.errors import from_sqlite
from raven.store.sql import change_log, link_triggers, migrations_after

_T = TypeVar("_T")
SqliteError = apsw.Error
REFUSED = apsw.AuthError
SqliteConnection = apsw.Connection
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema"


def sqlite_version() -> tuple[int, ...]:
    """Return the version of the driver's SQLite."""
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


def new_schema(*, with_change_log: bool = False, with_link: bool = False) -> list[Any]:
    """Return kind, name, table and SQL of each object in the schema of a new bus, or of one with more."""
    with closing(apsw.Connection(":memory:")) as connection:
        for script in (*migrations_after(0), *([change_log()] * with_change_log), *([link_triggers()] * with_link)):
            connection.execute(script)
        return connection.execute(SCHEMA).fetchall()


class ConnectionBusyError(BusyError):
    """Another thread of this program uses the connection; the file may be free."""


class Connection:
    """A connection to the bus file at `path`, safe for threads and forks; it reconnects if the file is replaced.

    `durability="full"`: a commit survives power loss, not only the death of processes. `checkpoints=False`: only
    `checkpoint` (and other connections) copy the WAL into the file. `create=False`: refuse to create a missing file.
    `usable` is the connection if it may be used now, else None.
    """

    def __init__(
        self,
        path: str,
        *,
        busy_timeout_s: float = 5.0,
        durability: Durability = "normal",
        checkpoints: bool = True,
        create: bool = True,
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigError(f"durability {abbreviate(durability)} is not known: use 'normal' or 'full'")
        if not is_number(busy_timeout_s, 0, 3600):
            raise ConfigError(f"busy_timeout_s {abbreviate(busy_timeout_s)} is out of range: use 0 to 3600 seconds")
        ownership.check_setting()
        if "\0" in path or not path.isprintable():
            shown = path.encode("unicode_escape").decode()
            raise FileMissingError(f"invalid bus path '{shown}': it contains a NUL or unprintable character")
        # Resolve symlinks: SQLite and the doorbells must agree on one name for the file.
        self.path = os.path.realpath(path)
        distrust = ownership.distrust_links(path) if self.path != os.path.abspath(path) else None
        if distrust is not None:
            raise DatabaseError(str(distrust))
        self.busy_timeout_s = busy_timeout_s
        self.durability = durability
        self.checkpoints = checkpoints
        self.busy_handler = BusyHandler(busy_timeout_s)
        self.is_closed = False
        self._in_parents_transaction: apsw.Connection | None = None
        self.lock = threading.RLock()
        self.deferred: deque[Callable[[], object]] = deque()
        self.replaced = 0  # how often another file replaced this one
        self.connection: apsw.Connection | None = None
        self.usable: apsw.Connection | None = None
        self._open_errno = 0  # the errno of the last failed attempt to connect
        fork_safety.register(self)
        with self.lock:  # no fork can happen while SQLite runs
            self._open(create)

    def verify(self) -> None:
        """Reconnect, with a warning, if the file was replaced; raise FileMissingError if it is gone."""
        with self.lock:
            self.usable or self.make_usable()
            self._verify()

    def no_wait(self, step: Callable[[], _T]) -> _T:
        """Call `step` and return its result; in it, calls of this thread raise BusyError instead of waiting.

        Raises ConnectionBusyError at once if another thread uses the connection.
        """
        try:
            return self._call_if_free(step)
        finally:
            if self.deferred:
                self.run_deferred()

    def _call_if_free(self, step: Callable[[], _T], at_most_s: float = 0.0) -> _T:
        # `map` records in C that the lock is taken. Between the begin of `finally` and the release no handler can run.
        taken: list[bool] = []
        try:
            taken.extend(map(self.lock.acquire, (False,)))
            if not taken[0]:
                raise ConnectionBusyError(f"another thread uses the client of {self.path}: try again")
            return self.busy_handler.limit(at_most_s, step)
        finally:
            if taken and taken[0]:
                self.lock.release()

    def take_turn(self) -> Turn | None:
        """Wait for a turn before the first try to begin, after a long transaction; return None if it may not wait.

        When the timeout is over, the caller tries all the same.
        """
        if not (timeout_s := self.busy_handler.timeout_s):
            return None
        turn = Turn(self.path, timeout_s)
        if not turn.may_try():
            turn.wait()
        return turn

    def wait_for_turn(self, turn: Turn | None, busy: BaseException) -> Turn:
        """Wait until a writer that found the write lock taken may try again; raises `busy` if the timeout is over."""
        timeout_s = self.busy_handler.timeout_s
        turn = turn or Turn(self.path, timeout_s)
        if timeout_s:
            turn.may_try()
        if not turn.wait():
            turn.leave()
            try:
                raise busy from busy.__cause__
            finally:
                del busy  # it refers to this frame
        return turn

    def when_free(self, action: Callable[[], object], at_most_s: float = 0.0) -> bool:
        """Call `action` now or, while this or another thread uses the connection, when that write or block ends.

        For finalizers and event loops, which wait for no thread. In it, a write waits at most `at_most_s` seconds for
        other processes; after a BusyError it is called again after the next write. Other errors of raven are dropped.
        Returns whether it has succeeded already.
        """
        results: list[object] = []
        self.deferred.append(lambda: results.append(action()))
        self.run_deferred(at_most_s)
        return bool(results)

    def run_deferred(self, at_most_s: float = 0.0) -> None:
        """Call the actions of `when_free` that wait for the end of a use of the connection, or of another writer."""
        with suppress(ConnectionBusyError):
            # If this thread owns the lock, this is a finalizer inside of a use.
            while (
                self.deferred
                and not self.lock._is_owned()  # type: ignore[attr-defined]
                and self._call_if_free(self._run_one_deferred, at_most_s)
            ):
                pass

    def _run_one_deferred(self) -> bool:
        """Call one action unless an atomic block is open; return whether to go on."""
        if self._is_writing():
            return False
        with suppress(IndexError, RavenError):
            action = self.deferred.popleft()
            try:
                action()
            except BusyError:
                self.deferred.appendleft(action)
                return False
        return True

    def close(self) -> None:
        """Close the connection; every later call raises ClosedError. Closing twice is allowed."""
        with self.lock:
            self.is_closed, self.usable = True, None
            # A signal handler can call this within this thread's own transaction, which then closes at its end.
            if self.connection is not None and not self._is_writing():
                connection, self.connection = self.connection, None
                connection.close()

    def is_used_by_others(self) -> bool:
        """Whether another thread uses the connection without `lock`."""
        return False

    def wait_for_others(self) -> None:
        """Wait until no other thread uses the connection without `lock`."""

    def abandon_in_child(self) -> None:
        """Close the inherited connection in a forked child without touching the file; the next use opens another."""
        inherited, self.connection = self.connection, None
        self.usable = None
        self.lock = threading.RLock()
        self.deferred.clear()  # the loops of the parent's threads
        if inherited is None:
            return
        with suppress(apsw.ConnectionClosedError):
            if inherited.in_transaction:
                # Closing it would roll back the parent's transaction, and so would the end of the child's copy of it.
                self._in_parents_transaction = inherited
                inherited.authorizer = _deny
                return
            inherited.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            inherited.close()

    def make_usable(self) -> apsw.Connection:
        """Return the connection, opened again if necessary; needs the lock."""
        if self.is_closed:
            raise ClosedError(f"the client of {self.path} is closed: make a new BusClient")
        if self._in_parents_transaction is not None:
            raise DatabaseError(f"this process was forked inside a transaction on {self.path}: fork outside of it")
        return self.usable or self._open(create=False)

    def _is_writing(self) -> bool:
        """Whether a transaction is open."""
        return self.connection is not None and self.connection.in_transaction

    def _verify(self) -> None:
        if not self._is_writing() and not file.is_same(self.path, self.inode):
            import logging

            logging.getLogger("raven").warning(
                "the bus %s was replaced while in use: continuing with the new file", self.path
            )
            # While the old connection holds its WAL open, no other file can get that inode.
            file.remove_stale_wal(self.path, self._wal_inode)
            old, self.connection, self.usable = self.connection, None, None
            if old is not None:
                old.close()
            self._open(create=False)
            self.replaced += 1

    def _open(self, create: bool) -> apsw.Connection:
        file.prepare(self.path, create=create)
        attempts = 0
        while True:
            try:
                with file.lock(self.path):
                    self.connection = self._connect()
                break
            except apsw.BusyError as error:
                # SQLite calls no busy handler while another process switches a new file to WAL mode.
                if not self.busy_handler.wait(attempts):
                    raise self.error_from(error) from error
                attempts += 1
            except apsw.Error as error:
                file.check_ownership(self.path)  # SQLite may have met another user's file that came after the check
                raise self.error_from(error) from error
        self.usable = None if self.is_closed else self.connection
        return self.connection

    def _connect(self) -> apsw.Connection:
        self._open_errno = 0
        file.check_ownership(self.path)
        checked = file.inode(self.path)
        connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
        connection.transaction_mode = "IMMEDIATE"
        try:
            connection.set_busy_handler(self.busy_handler.wait)
            # Plans must not depend on bound values: otherwise SQLite can recompile a statement at each run.
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
            # Functions in the schema of a file that another program has changed can do nothing outside of SQL.
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            # The first read opens a WAL that is there; for a new file, `_make_ready` makes one.
            self._run_checked(connection, lambda: connection.execute("PRAGMA schema_version").fetchall())
            self._run_checked(connection, lambda: self._make_ready(connection))
            self.inode = file.inode(self.path)
            self._wal_inode = file.wal_inode(self.path)
        except BaseException:
            self._open_errno = connection.system_errno
            connection.close()
            raise
        if self.inode != checked:
            connection.close()
            return self._connect()
        return connection

    def _run_checked(self, connection: apsw.Connection, step: Callable[[], object]) -> None:
        """Run a step that opens the WAL, and check whose WAL it is.

        Another user may have made it since the last check. Closing the connection must not copy it into the file then.
        Otherwise closing must remove the WAL, even if the step has refused the file.
        """
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        try:
            step()
        finally:
            file.check_ownership(self.path)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _make_ready(self, connection: apsw.Connection) -> None:
        """Check that the file is a bus, and set raven's modes and schema."""
        migrations.check_format(connection, self.path)
        # On macOS, fsync leaves data in the disk's own cache: the first two settings flush it; elsewhere they change
        # nothing. Without the second, checkpointed pages could reach the disk out of order.
        for setting in (
            f"fullfsync = {self.durability == 'full':d}",
            "checkpoint_fullfsync = 1",
            "journal_mode = WAL",
            f"synchronous = {self.durability}",
            f"journal_size_limit = {WAL_SIZE_LIMIT}",
            "wal_autocheckpoint = 0",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        migrations.migrate(connection)

    def error_from(self, error: apsw.Error) -> DatabaseError:
        """Return raven's error for one of SQLite's on this connection."""
        os_errno = self._open_errno
        if self.connection is not None:
            with suppress(apsw.Error):
                os_errno = self.connection.system_errno
        return from_sqlite(error, self.path, self.busy_handler.timeout_s, os_errno)


def _deny(*action: object) -> int:
    """Let SQLite refuse every statement."""
    return apsw.SQLITE_DENY
