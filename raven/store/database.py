"""Store: the named statements of one SQLite file, and its write transactions."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from raven.errors import BusyError, DatabaseError, InputError
from raven.store import file as busfile
from raven.store.connection import Connection, SqliteError
from raven.store.sql import SQL
from raven.store.transaction import Params, Transaction, fetch

if TYPE_CHECKING:
    import apsw

_T = TypeVar("_T")
_VACUUM_BITE = 1000
_INCREMENTAL = "2"


class _Action(NamedTuple):
    """What waits for a commit, and what is to be done if that does not come."""

    run: Callable[[Iterable[str]], Any]
    addresses: Iterable[str]
    undo: Callable[[], None] | None


class Store(Connection):
    """One long-lived connection to the bus file at `path`.

    A write is `with store.write() as tx:`, one transaction that is committed when the block ends and rolled back when
    it raises; between `begin_group` and `end_group` it is a step of one larger transaction. Every error of SQLite comes
    out as a DatabaseError.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        self._entered: FrameType | None = None
        self._writer = 0  # the thread that was the last to begin a write
        self._groups: list[int] = []  # of each open group, how many of the actions below came before it
        self._step_is_open = False
        self._after_commit: list[_Action] = []
        super().__init__(path, **settings)

    def write(self) -> Self:
        """Return the context of one write transaction, which yields a Transaction; the file is verified first.

        Inside a group it is a step of the group's transaction, undone alone when it raises.
        """
        if not busfile.is_still(self.path, self._inode):
            self.verify()
        return self

    def write_on(self) -> Self:
        """Do as `write` does without verifying the file: for the steps of a loop that verifies it at its ticks."""
        return self

    def after_commit(
        self,
        action: Callable[[Iterable[str]], _T],
        addresses: Iterable[str] = (),
        undo: Callable[[], None] | None = None,
    ) -> _T | None:
        """Run an action once what this thread has written so far is committed: now, unless it is inside a write.

        Returns what the action does, or None if that is still to come. Where the writes are undone, `undo` is run.
        """
        if (self._groups or self._entered is not None) and self._writer == threading.get_ident():
            self._after_commit.append(_Action(action, addresses, undo))
            return None
        return action(addresses)

    def __enter__(self) -> Transaction:
        self._acquire()
        if self._entered is not None:
            self._end_interrupted()
        # First of all: another thread may just be asking whether an action of its own has to wait for a commit.
        self._writer = threading.get_ident()
        try:
            self._entered = sys._getframe(1)
            if self._groups:
                self._begin_step()
                self._step_is_open, self._step_mark = True, len(self._after_commit)
            else:
                self._transaction.control("BEGIN IMMEDIATE")
        except BaseException as error:
            try:
                if isinstance(error, SqliteError):
                    raise self._translated(error) from error
                raise
            finally:
                try:
                    self._leave()
                finally:
                    self._release()
        return self._transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._transaction.control("RELEASE step" if self._step_is_open else "COMMIT")
                self._step_is_open = False
            elif isinstance(error, SqliteError):
                raise self._translated(error) from error
        except SqliteError as failure:
            self._drop_actions(0)
            raise self._translated(failure) from failure
        finally:
            actions = None
            try:
                self._leave()
                if self._after_commit and not self._groups:
                    actions = self._take_actions()
            finally:
                self._release()
        if actions:
            _run_actions(actions)

    def group_depth(self) -> int:
        """Return how many groups this thread has open."""
        return len(self._groups) if self._writer == threading.get_ident() else 0

    def check_outside(self, what: str) -> None:
        """Refuse to wait inside a transaction for what can only come after it; raises InputError."""
        if self.group_depth():
            raise InputError(
                f"cannot {what} inside a transaction: what it sends is sent when it ends, so wait after it"
            )

    def begin_group(self) -> None:
        """Begin one transaction of all that this thread writes until `end_group`."""
        if not self._groups or self._writer != threading.get_ident():
            self.verify()
        connection = self._acquire()
        depth, mark = len(self._groups), len(self._after_commit)
        try:
            if self._groups:
                self._begin_step()
            else:
                self._transaction.control("BEGIN IMMEDIATE")
            self._writer = threading.get_ident()
            self._groups.append(mark)
        except BaseException as error:
            try:
                if isinstance(error, SqliteError):
                    raise self._translated(error) from error
                raise
            finally:
                del self._groups[depth:]
                try:
                    if not self._groups and connection.in_transaction:
                        self._undo(0)
                finally:
                    self._release()

    def end_group(self, commit: bool) -> None:
        """Commit what the group has written and run what waits for that, or undo it all; an inner group is a step."""
        mark = self._groups[-1]
        try:
            self._groups.pop()
            if not commit:
                self._undo(mark)
            elif self._groups:
                self._transaction.control("RELEASE step")
            else:
                self._check_group()
                self._transaction.control("COMMIT")
        except BaseException as error:
            self._drop_actions(mark)
            if isinstance(error, SqliteError):
                raise self._translated(error) from error
            raise
        finally:
            try:
                actions = []
                if not self._groups:
                    self._leave()
                    actions = self._take_actions()
            finally:
                self._release()
        _run_actions(actions)

    def _begin_step(self) -> None:
        self._check_group()
        self._transaction.control("SAVEPOINT step")

    def _check_group(self) -> None:
        """Refuse to go on with a group that SQLite has undone already, or whose file is gone."""
        if self._connection is None or not self._connection.in_transaction:
            raise DatabaseError(f"the transaction on {self.path} was undone by an earlier error in it: begin it again")
        if not busfile.is_still(self.path, self._inode):
            raise DatabaseError(f"the bus {self.path} was replaced during a transaction: begin it again")

    def _undo(self, mark: int) -> None:
        """Roll back the innermost step, or all where there is none."""
        self._drop_actions(mark)
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK TO step; RELEASE step" if self._groups else "ROLLBACK")

    def _leave(self) -> None:
        """Roll back what was not committed, and close now if that was asked for meanwhile."""
        self._entered = None
        if self._connection is not None:
            if self._step_is_open:
                self._step_is_open = False
                self._undo(self._step_mark)
            elif not self._groups and self._connection.in_transaction:
                self._undo(0)
            if self._closed and not self._groups:
                self._connection.close()

    def _drop_actions(self, mark: int) -> None:
        """Drop what waited for a commit that will not come, the last first."""
        while len(self._after_commit) > mark:
            action = self._after_commit.pop()
            if action.undo is not None:
                action.undo()

    def _take_actions(self) -> list[_Action]:
        """Return what waited for the commit, while no other thread can write: what comes after it waits for its own."""
        actions, self._after_commit = self._after_commit, []
        return actions

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

    def rows(self, name: str, params: Params | None = None, max_bytes: int | None = None) -> list[Any]:
        """Run a named SELECT in a transaction of its own and return its rows, as `fetch` does."""
        return self._query(SQL[name], params, max_bytes)

    def value(self, name: str, params: Params | None = None) -> Any:
        """Run a named SELECT and return the first column of its first row, or None."""
        rows = self._query(SQL[name], params)
        return rows[0][0] if rows else None

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run the user's own SQL in a write transaction, or as a step of the open group; raises StatementError."""
        from raven.store import authorizer as own_sql

        with self.write(), self._connected() as connection:
            return own_sql.run(connection, sql, params)

    def pragma(self, name: str) -> str:
        """Read one of SQLite's own settings, or run one of its checks, and return the answer as text."""
        return "; ".join(str(row[0]) for row in self._query(f"PRAGMA {name}"))

    def give_pages_back(self, count: int) -> None:
        """Shorten the file by at most so many of its free pages."""
        with self._connected() as connection:
            connection.execute(f"PRAGMA incremental_vacuum({int(count)})").fetchall()

    def give_space_back(self) -> None:
        """Shorten the file by its free pages, in small bites, and the WAL if no reader is in the way.

        A file that other hands have made anew without INCREMENTAL auto-vacuum keeps its free pages, to use them again.
        """
        while self.pragma("auto_vacuum") == _INCREMENTAL and int(self.pragma("freelist_count")):
            self.give_pages_back(_VACUUM_BITE)
        self.trim_wal()

    def trim_wal(self) -> None:
        """Write the WAL back into the file and cut it to nothing, unless somebody is using it just now."""
        with suppress(BusyError), self.impatient(), self._connected() as connection:
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

    def sibling(self) -> Store:
        """Open another connection to the same file, for a thread that must not wait for this one's transactions."""
        return Store(self.path, busy_timeout_s=self.busy_timeout_s, durability=self.durability, create=False)

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        connection = self._acquire()
        try:
            yield connection
        except SqliteError as error:
            raise self._translated(error) from error
        finally:
            self._release()

    def _query(self, sql: str, params: Params | None = None, max_bytes: int | None = None) -> list[Any]:
        connection = self._acquire()
        try:
            return fetch(connection, sql, params, max_bytes)
        except SqliteError as error:
            # Of a file in whose place there is another now no error counts: its WAL may be gone already.
            if self._is_writing() or busfile.is_still(self.path, self._inode):
                raise self._translated(error) from error
        finally:
            self._release()
        self.verify()
        return self._query(sql, params, max_bytes)


def _run_actions(actions: Iterable[_Action]) -> None:
    """Run what waited for a commit, each action once for all its addresses."""
    merged: dict[Callable[[Iterable[str]], Any], dict[str, None]] = {}
    for action, addresses, _ in actions:
        merged.setdefault(action, {}).update(dict.fromkeys(addresses))
    for action, addresses in merged.items():
        action(addresses)
