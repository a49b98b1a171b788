"""Transaction: one open write transaction, from `BEGIN IMMEDIATE` to its end, and the reading of rows.

Concurrent callers: other threads of the client (the connection's lock is held from begin to end); other processes
(`BEGIN IMMEDIATE` waits for them); a signal handler or finalizer within the block (its write is refused); a signal
handler that raises between any two lines (the next write, or the end of the atomic block, rolls back).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from raven.errors import DatabaseError, InputError, LimitError, abbreviate
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import cut_row, json_size
from raven.store import file
from raven.store.checkpoint import Checkpointer, WalHook
from raven.store.connection import Connection, SqliteError
from raven.store.sql import SQL

if TYPE_CHECKING:
    import apsw

Params = Mapping[str, Any]
_T = TypeVar("_T")


class _AfterCommit(NamedTuple):
    """An action to run after the commit, and the one to run if the writes are rolled back."""

    run: Callable[[Iterable[str]], Any]
    addresses: Iterable[str]
    undo: Callable[[], None] | None


class Transaction:
    """One open `BEGIN IMMEDIATE`; functions that take it as an argument write with it and never commit."""

    __slots__ = ("_connection", "_run_many", "run")

    run: Callable[..., apsw.Cursor]  # any SQL; only the Writer uses it, to begin and end transactions

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        # One cursor for all statements: a new one for each would take a tenth of a small transaction's time.
        cursor = connection.cursor()
        self.run = cursor.execute
        self._run_many = cursor.executemany

    def rows(self, name: str, params: Params, max_bytes: int | None = None) -> list[Any]:
        """Run a named statement and return its rows, as `fetch` does."""
        try:
            cursor = self.run(SQL[name], params)
            return cursor.fetchall() if max_bytes is None else _fetch(cursor, max_bytes)
        except UnicodeDecodeError:
            return fetch(self._connection, SQL[name], params, max_bytes)

    def value(self, name: str, params: Params) -> Any:
        """Run a named statement and return the first column of its first row, or None."""
        rows = self.rows(name, params)
        return rows[0][0] if rows else None

    def change(self, name: str, params: Params) -> int:
        """Run a named statement and return how many rows it changed."""
        self.run(SQL[name], params)
        return self._connection.changes()

    def insert(self, name: str, values: Sequence[Any]) -> int:
        """Run a named INSERT with the values in the order of its parameters, and return the new row's id."""
        # Binding by name would take a tenth of a small send's time.
        self.run(SQL[name], values)
        return self._connection.last_insert_rowid()

    def insert_many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a named INSERT for each row, as `insert` does, and return the id of the last row."""
        self._run_many(SQL[name], rows)
        return self._connection.last_insert_rowid()


class Writer(Connection):
    """A connection and its write transactions, one at a time.

    `with write() as tx:` is one transaction, committed at the block's end and rolled back if it raises. Inside an
    atomic block it is a savepoint, and is rolled back alone. Each SQLite error is raised as a DatabaseError.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        self.entered: FrameType | None = None  # the frame whose `with` block is the open transaction
        self._writer = 0  # the last thread that began a write
        self.atomic_marks: list[int] = []  # for each open atomic block, the length of `_after_commit` at its begin
        self._in_savepoint = False
        self._savepoint_mark = 0
        self._after_commit: list[_AfterCommit] = []
        self.on_implicit_join: Callable[[], None] | None = None  # called when a write joins the atomic block
        super().__init__(path, **settings)

    def _make_ready(self, connection: apsw.Connection) -> None:
        super()._make_ready(connection)
        self._transaction = Transaction(connection)
        if self.checkpoints:
            connection.set_wal_hook(WalHook(Checkpointer(self.busy_handler)))

    def write(self) -> Self:
        """Return the context of one write transaction, after verifying the file."""
        try:
            # Runs before every write, so without detours: st_ino and st_dev by index.
            is_same = os.lstat(self.path)[1:3] == self.inode
        except OSError:
            is_same = False
        if not is_same:
            super().verify()  # waits for the end of another thread's atomic block, as this write must
        if self.on_implicit_join is not None and self.nesting():
            self.on_implicit_join()
        return self

    def write_unverified(self) -> Self:
        """Return the context without verifying the file, for a loop that verifies it at its ticks."""
        return self

    def write_no_wait(self) -> NoWait:
        """Return the context of a write transaction that raises BusyError at once if another writer is active."""
        return NoWait(self.write())

    def __enter__(self) -> Transaction:
        self.lock.acquire()
        if self.usable is None:
            self.make_usable()
        if self.entered is not None:
            self._end_interrupted()
        # Set first: another thread may be checking whether its own action must wait for a commit.
        self._writer = threading.get_ident()
        try:
            self.entered = sys._getframe(1)
            if self.atomic_marks:
                self._begin_savepoint()
                self._in_savepoint, self._savepoint_mark = True, len(self._after_commit)
            else:
                self._transaction.run("BEGIN IMMEDIATE")
        except BaseException as error:
            try:
                if isinstance(error, SqliteError):
                    raise self.error_from(error) from error
                raise
            finally:
                try:
                    self._finish()
                finally:
                    self.release()
        return self._transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._transaction.run("RELEASE step" if self._in_savepoint else "COMMIT")
                self._in_savepoint = False
            elif isinstance(error, SqliteError):
                raise self.error_from(error) from error
        except SqliteError as failure:
            self._drop_actions(0)
            raise self.error_from(failure) from failure
        finally:
            actions = None
            try:
                self._finish()
                if self._after_commit and not self.atomic_marks:
                    actions, self._after_commit = self._after_commit, []
            finally:
                try:  # noqa: SIM105 `suppress` costs several times the release
                    self.lock.release()
                except RuntimeError:
                    pass  # see Connection.release
        if actions:
            _run_actions(actions)

    def after_commit(
        self,
        action: Callable[[Iterable[str]], _T],
        addresses: Iterable[str] = (),
        undo: Callable[[], None] | None = None,
    ) -> _T | None:
        """Run an action after the commit of this thread's writes: at once, unless it is inside a write.

        Returns the action's result, or None if the action runs later. If the writes are rolled back, `undo` runs
        instead.
        """
        if (self.atomic_marks or self.entered is not None) and self._writer == threading.get_ident():
            self._after_commit.append(_AfterCommit(action, addresses, undo))
            return None
        return action(addresses)

    def atomic_elsewhere(self) -> bool:
        """Whether another thread is in an atomic block; a read need not wait for its end."""
        return bool(self.atomic_marks) and self._writer != threading.get_ident()

    def nesting(self) -> int:
        """Return the number of atomic blocks that this thread is in."""
        return len(self.atomic_marks) if self._writer == threading.get_ident() else 0

    def refuse_in_transaction(self, what: str) -> None:
        """Raise InputError in a transaction, for a call that waits for something only its commit can cause."""
        if self.nesting():
            raise InputError(
                f"cannot {what} inside a transaction: its messages are sent at the commit, so wait after it"
            )

    def begin_atomic(self) -> None:
        """Begin one transaction for all writes of this thread until `end_atomic`, or a savepoint inside one."""
        if not self.atomic_marks or self._writer != threading.get_ident():
            super().verify()
        connection = self.acquire()
        depth, mark = len(self.atomic_marks), len(self._after_commit)
        try:
            if self.atomic_marks:
                self._begin_savepoint()
            else:
                self._transaction.run("BEGIN IMMEDIATE")
            self._writer = threading.get_ident()
            self.atomic_marks.append(mark)
        except BaseException as error:
            try:
                if isinstance(error, SqliteError):
                    raise self.error_from(error) from error
                raise
            finally:
                del self.atomic_marks[depth:]
                try:
                    if not self.atomic_marks and connection.in_transaction:
                        self._undo(0)
                finally:
                    self.release()

    def end_atomic(self, commit: bool) -> None:
        """Commit the atomic block and run its after-commit actions, or roll it back; an inner block is a savepoint."""
        mark = self.atomic_marks[-1]
        try:
            self.atomic_marks.pop()
            if not commit:
                self._undo(mark)
            elif self.atomic_marks:
                self._transaction.run("RELEASE step")
            else:
                self._check_atomic()
                self._transaction.run("COMMIT")
        except BaseException as error:
            self._drop_actions(mark)
            if isinstance(error, SqliteError):
                raise self.error_from(error) from error
            raise
        finally:
            try:
                actions = []
                if not self.atomic_marks:
                    self._finish()
                    actions, self._after_commit = self._after_commit, []
            finally:
                self.release()
        _run_actions(actions)

    def _begin_savepoint(self) -> None:
        self._check_atomic()
        self._transaction.run("SAVEPOINT step")

    def _check_atomic(self) -> None:
        """Raise DatabaseError if SQLite has rolled back the atomic block already, or if its file is gone."""
        if self.connection is None or not self.connection.in_transaction:
            raise DatabaseError(
                f"the transaction on {self.path} was rolled back by an earlier error in it: begin it again"
            )
        if not file.is_same(self.path, self.inode):
            raise DatabaseError(f"the bus {self.path} was replaced during a transaction: begin it again")

    def _undo(self, mark: int) -> None:
        """Roll back the innermost savepoint, or the transaction if there is no savepoint."""
        self._drop_actions(mark)
        if self.connection is not None and self.connection.in_transaction:
            self.connection.execute("ROLLBACK TO step; RELEASE step" if self.atomic_marks else "ROLLBACK")

    def _finish(self) -> None:
        """Roll back if there was no commit, and close if `close` was called meanwhile."""
        self.entered = None
        if self.connection is not None:
            if self._in_savepoint:
                self._in_savepoint = False
                self._undo(self._savepoint_mark)
            elif not self.atomic_marks and self.connection.in_transaction:
                self._undo(0)
            if self.is_closed and not self.atomic_marks:
                self.connection.close()

    def _drop_actions(self, mark: int) -> None:
        """Drop the actions of a commit that failed, the last first, and run their `undo`."""
        while len(self._after_commit) > mark:
            action = self._after_commit.pop()
            if action.undo is not None:
                action.undo()

    def _end_interrupted(self) -> None:
        """Roll back a transaction whose block a signal handler interrupted before `__exit__` ran.

        If that block still runs (this is a finalizer or a signal handler inside it), refuse this write.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.entered:
            frame = frame.f_back
        if frame is None:
            self._finish()
        self.release()
        if frame is not None:
            raise DatabaseError(f"this thread is already in a transaction on {self.path}: wait for its end")


class NoWait:
    """The context of a write transaction that does not wait for another writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> Transaction:
        with self._writer.lock:
            busy_handler = self._writer.busy_handler
            before, busy_handler.timeout_s = busy_handler.timeout_s, 0.0
            try:
                transaction = self._writer.__enter__()
            finally:
                busy_handler.timeout_s = before
            self._writer.entered = sys._getframe(1)
        return transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)


def fetch(
    connection: apsw.Connection,
    sql: str,
    params: Params | None = None,
    max_bytes: int | None = None,
    *,
    whole: bool = False,
) -> list[Any]:
    """Run a statement and return its rows; invalid UTF-8 from external writers is shown as U+FFFD.

    `max_bytes`: stop before the row that brings the JSON form of these messages over so many bytes, or with `whole`
    raise LimitError. The first row is always returned, cut if it is longer than any page. Raises InputError for a
    parameter that UTF-8 cannot encode.
    """
    try:
        return _fetch(connection.execute(sql, params), max_bytes, whole)
    except UnicodeEncodeError as error:
        raise InputError(
            f"{abbreviate(error.object)} has the lone surrogate {abbreviate(error.object[error.start])}, "
            "which UTF-8 cannot encode"
        ) from None
    except UnicodeDecodeError:
        names = [column[0] for column in connection.execute(sql, params).get_description()]
        columns = ", ".join(
            f"""CASE typeof("{n}") WHEN 'text' THEN CAST("{n}" AS BLOB) ELSE "{n}" END""" for n in names
        )
        rows = _fetch(connection.execute(f"SELECT {columns} FROM ({sql})", params), max_bytes, whole)  # noqa: S608 our own names
        return [tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in row) for row in rows]


def _fetch(cursor: apsw.Cursor, max_bytes: int | None, whole: bool = False) -> list[Any]:
    if max_bytes is None:
        return cursor.fetchall()
    rows: list[Any] = []
    size = 0
    for row in cursor:
        row_size = json_size(row)
        if row_size > MAX_PAGE_BYTES:
            row = cut_row(row)  # noqa: PLW2901 the whole row is not needed again
            row_size = json_size(row)
        size += row_size
        if rows and size > max_bytes:
            if whole:
                raise LimitError(f"these messages are over {max_bytes:,} bytes: ask for fewer with max")
            break
        rows.append(row)
    return rows


def _run_actions(actions: Iterable[_AfterCommit]) -> None:
    """Run the actions after a commit, each action once for all its addresses."""
    merged: dict[Callable[[Iterable[str]], Any], dict[str, None]] = {}
    for action, addresses, _ in actions:
        merged.setdefault(action, {}).update(dict.fromkeys(addresses))
    for action, addresses in merged.items():
        action(addresses)
