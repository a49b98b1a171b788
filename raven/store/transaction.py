"""Transaction: one open write transaction, from `BEGIN IMMEDIATE` to its end, and the reading of rows.

Concurrent callers: other threads of the client (a write holds the connection's lock, an atomic block keeps them off);
other asyncio tasks of this thread (refused inside an atomic block); other processes (`BEGIN IMMEDIATE` waits for them);
a signal handler or finalizer inside a write (its write is refused); a signal handler that raises between any two
instructions (C code rolls back and releases the lock).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from raven.errors import BusyError, DatabaseError, InputError
from raven.files.turnstile import LONG_S
from raven.store import file
from raven.store.block import AfterCommit, Block, ThreadToken, run_actions
from raven.store.checkpoint import BEGINS, CALLBACKS, Checkpointer, WalHook
from raven.store.connection import REFUSED, Connection, SqliteError
from raven.store.errors import LOADING
from raven.store.fork_safety import hold
from raven.store.sql import SQL
from raven.store.sql.rows import Params, fetch, fetch_some

if TYPE_CHECKING:
    import apsw

_T = TypeVar("_T")
# How often a thread that waits for the end of another's atomic block looks whether that thread has ended before it.
_CHECK_S = 0.5


class Transaction:
    """One open write transaction; functions that take it as an argument write with it and never commit."""

    __slots__ = ("_connection", "_run", "_run_many", "actions", "is_running")

    def __init__(self, connection: apsw.Connection) -> None:
        self.actions: list[AfterCommit] = []
        self.is_running = False  # a step is using it, unless an interrupt has left this set
        self._connection = connection
        # One cursor for all statements: a new one for each would take a tenth of a small transaction's time.
        cursor = connection.cursor()
        self._run = cursor.execute
        self._run_many = cursor.executemany

    def reset(self) -> None:
        """End a statement that an exception has left half read: it would keep an old state of the file open."""
        self._run("")

    def rows(self, name: str, params: Params, max_bytes: int | None = None) -> list[Any]:
        """Run a named statement and return its rows, as `fetch` does."""
        try:
            cursor = self._run(SQL[name], params)
            return cursor.fetchall() if max_bytes is None else fetch_some(cursor, max_bytes)
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
        """Run a named INSERT with the values in the order of its parameters, and return the new row's id."""
        # Binding by name would take a tenth of a small send's time.
        self._run(SQL[name], values)
        return self._connection.last_insert_rowid()

    def insert_many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a named INSERT for each row, as `insert` does, and return the id of the last row."""
        self._run_many(SQL[name], rows)
        return self._connection.last_insert_rowid()

    def rows_many(self, name: str, params: Iterable[Params]) -> list[Any]:
        """Run a named statement once for each of the parameters, and return the rows of all."""
        return self._run_many(SQL[name], params).fetchall()

    def run_script(self, script: str) -> None:
        """Run a script of raven's own: statements without parameters and results."""
        self._connection.execute(script).fetchall()

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run user SQL and return its rows; raises StatementError."""
        with LOADING:
            from raven.store.sql import authorizer

        return authorizer.run(self._connection, sql, params)

    def after_commit(self, action: Callable[[Iterable[str]], Any], addresses: Iterable[str] = ()) -> None:
        """Run an action after the commit, once for all its addresses; a rollback drops it."""
        self.actions.append(AfterCommit(action, addresses, None))


class Writer(Connection):
    """A connection and its write transactions, one at a time.

    A write is a function that gets a Transaction: `write(step)` commits when the function returns and rolls back if it
    raises. Inside an atomic block it is a savepoint, and is rolled back alone. Each SQLite error is raised as a
    DatabaseError.

    Only C code undoes: the `with` of a lock and of the driver's connection. An exception of a signal handler can come
    between any two Python instructions, also at the first one of an `__exit__`, which then never runs.
    """

    def __init__(self, path: str, **settings: Any) -> None:
        self.block: Block | None = None  # the innermost atomic block, unless it was interrupted
        # The next atomic block or the write that waits for one holds it: threads take turns. A signal handler can write
        # while its thread waits in its turn.
        self.turn = threading.RLock()
        self.was_long = False  # the last transaction held the write lock for long
        self._local = threading.local()
        super().__init__(path, **settings)

    def abandon_in_child(self) -> None:
        """Do as Connection does; the turn may be that of a thread that the child does not have."""
        super().abandon_in_child()
        self.turn = threading.RLock()

    def _make_ready(self, connection: apsw.Connection) -> None:
        super()._make_ready(connection)
        self._transaction = Transaction(connection)
        if self.checkpoints:
            connection.set_wal_hook(WalHook(Checkpointer(self.busy_handler)))

    def write(  # noqa: PLR0912, PLR0915 a helper costs each write time
        self, step: Callable[[Transaction], _T], is_verified: bool = False
    ) -> _T:
        """Verify the file, run `step` in one write transaction, and return its result.

        `is_verified`: the caller is a loop that verifies the file at its ticks.
        """
        try:
            # Runs before every write, so without detours: st_ino and st_dev by index.
            is_same = is_verified or os.lstat(self.path)[1:3] == self.inode
        except OSError:
            is_same = False
        if not is_same:
            self.verify()
        turn = self.take_turn() if self.was_long and self.open_block() is None else None
        is_begun = False
        while True:
            busy: BaseException | None = None
            with self.lock:
                connection = self.usable or self.make_usable()
                # Not zero inside a transaction, and if an interrupt has left a statement half read.
                is_inside = self.block is not None or connection.txn_state()
                other = self._join_block(connection, implicit=True) if is_inside else None
                if other is None:
                    transaction = self._transaction
                    transaction.actions = actions = []  # type: ignore[var-annotated]
                    failure: BaseException | None = None
                    began = monotonic()
                    transaction.is_running = True
                    try:
                        with connection:
                            is_begun = True
                            if turn is not None:
                                turn.leave()
                            try:
                                result = step(transaction)
                            except BaseException as error:
                                failure = error
                                transaction.reset()
                                raise
                    except SqliteError as error:
                        busy = self.cause(error, failure)
                        if is_begun or not isinstance(busy, BusyError):
                            try:
                                raise busy from busy.__cause__
                            finally:
                                busy = None  # it refers to this frame, and to all that called it
                    finally:
                        failure = None  # it refers to this frame
                        transaction.is_running = False
                        self.was_long = monotonic() - began > LONG_S
                        if self.is_closed:
                            super().close()
                    if busy is None:
                        if actions and self.block is not None:
                            self.block.actions += actions
                            return result
                        break
            if busy is not None:
                try:
                    turn = self.wait_for_turn(turn, busy)
                finally:
                    busy = None
                self.verify()
            elif other is not None:
                if turn is not None:
                    turn.leave()
                with self.turn:
                    self.wait_for_others()
                    return self.write(step)
        if actions:
            run_actions(actions)
        if self.deferred:
            self.run_deferred()
        return result

    def after_commit(
        self,
        action: Callable[[Iterable[str]], _T],
        addresses: Iterable[str] = (),
        undo: Callable[[], None] | None = None,
    ) -> _T | None:
        """Run an action after the commit of the open atomic block: at once, unless the caller is in one.

        Returns the action's result, or None if the action runs later. If the block is rolled back, `undo` runs instead.
        """
        if self.block is not None and self.in_block():
            self.block.actions.append(AfterCommit(action, addresses, undo))
            return None
        return action(addresses)

    def this_thread(self) -> ThreadToken:
        """Return the object that stands for this thread; it lives as long as the thread."""
        try:
            token: ThreadToken = self._local.token
        except AttributeError:
            token = self._local.token = ThreadToken()
        return token

    def open_block(self) -> Block | None:
        """Return the innermost open atomic block of any thread."""
        block = self.block
        while block is not None and not block.is_open:
            block = block.outer
        return block

    def in_block(self) -> bool:
        """Whether this thread and asyncio task are in an atomic block."""
        block = self.block and self.open_block()
        return block is not None and block.is_of_task(self.this_thread())

    def refuse_in_transaction(self, what: str, *, of_other_tasks: bool = False) -> None:
        """Raise InputError in a transaction, for a call that waits for something only its commit can cause.

        `of_other_tasks`: also while another task of this thread has one open.
        """
        if self.block is None:
            return
        block = self.open_block()
        if block is not None and block.is_around(self.this_thread()):
            raise InputError(
                f"cannot {what} inside a transaction: its messages are sent at the commit, so wait after it"
            )
        if of_other_tasks:
            with self.lock:
                self.other_block()

    def begin_block(self, block: Block) -> apsw.Connection:
        """Make `block` the innermost one and return the connection, on which the caller begins a transaction.

        While it is open, no other thread and task uses that connection.
        """
        with self.lock:
            connection = self.usable or self.make_usable()
            self._join_block(connection, implicit=False)
            if self.block is not None and self.block.is_of_task(self.this_thread()):
                block.outer, self.block = self.block, block
                return connection
        if self.busy_handler.is_limited and not next(hold(self.turn, 0)):
            raise self._busy()
        with self.turn:
            self.wait_for_others()
            with self.lock:
                self.make_usable()
                self._verify()
                self.block = block
                return self.make_usable()

    def wait_for_others(self) -> None:
        """Wait for the end of other threads' atomic blocks; while the caller holds `turn`, no other one begins."""
        while self.is_used_by_others():
            block = self.open_block()
            if block is not None:
                block.end_if_abandoned()
                next(hold(block.gate, _CHECK_S))

    def end_block(self, block: Block) -> None:
        """Make the block around `block` the innermost one, and close if `close` was called meanwhile."""
        self.block = block.outer
        if block.outer is None:
            self.was_long = monotonic() - block.began > LONG_S
            if self.is_closed:
                super().close()

    def check_block(self) -> None:
        """Raise DatabaseError if SQLite has rolled back the atomic block already, or if its file is gone."""
        if self.connection is None or not self.connection.in_transaction:
            raise DatabaseError(
                f"the transaction on {self.path} was rolled back by an earlier error in it: begin it again"
            )
        if not file.is_same(self.path, self.inode):
            raise DatabaseError(f"the bus {self.path} was replaced during a transaction: begin it again")

    def other_block(self) -> Block | None:
        """Return the open atomic block of another thread, for whose end the caller must wait; needs the lock.

        Raises InputError for one of another task of this thread, and BusyError inside `no_wait`.
        """
        block = self.block = self.open_block()
        if block is None or block.is_of_task(self.this_thread()):
            return None
        block.end_if_abandoned()
        if not block.is_open:
            return self.other_block()
        if block.is_of_thread(self.this_thread()):
            raise InputError(
                f"another task of this thread has a transaction open on {self.path}: do not await inside a transaction"
            )
        if self.busy_handler.is_limited:
            raise self._busy()
        return block

    def is_used_by_others(self) -> bool:
        """Whether another thread is in an atomic block."""
        block = self.open_block()
        return block is not None and not block.is_of_thread(self.this_thread())

    def _busy(self) -> BusyError:
        return BusyError(f"the bus {self.path} is locked by a transaction of another thread")

    def is_block_of_others(self) -> bool:
        """Whether another thread or asyncio task is in an atomic block; a read need not wait for its end."""
        block = self.open_block()
        return block is not None and not block.is_of_task(self.this_thread())

    def _join_block(self, connection: apsw.Connection, *, implicit: bool) -> Block | None:
        """Check that a write may begin, inside the open atomic block if it is this task's; needs the lock.

        Returns the open block of another thread, for whose end the caller must wait.
        """
        other = self.other_block()
        if self.block is None and connection.in_transaction:
            self._refuse_inside_write()
            connection.execute("ROLLBACK")  # the rollback of the last write has failed
        elif self.block is None:
            self._transaction.reset()
        elif other is None:
            if self._transaction.is_running:
                self._refuse_inside_write()
            self.check_block()
            warn = self.block.on_implicit_join if implicit and not self.block.is_joined else None
            if warn is not None:
                warn()
        return other

    def _is_writing(self) -> bool:
        return super()._is_writing() or self.open_block() is not None

    def _refuse_inside_write(self) -> None:
        """Raise DatabaseError in a finalizer or signal handler that runs inside a write of this thread."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is Writer.write.__code__:
                inside = frame.f_locals
                if inside["self"] is self and "transaction" in inside:
                    raise DatabaseError(f"this thread is already in a transaction on {self.path}: wait for its end")
            frame = frame.f_back

    def cause(self, error: SqliteError, failure: BaseException | None) -> BaseException:
        """Return the exception to raise for one that a transaction ended with; `failure` is its step's."""
        if failure is None:
            hidden: BaseException | None = error
            while isinstance(hidden, SqliteError):
                # With an authorizer set, the driver refuses the ROLLBACK that it compiles after a failed COMMIT.
                if isinstance(error, REFUSED):
                    error = hidden
                hidden = hidden.__context__
            # The driver shows an exception of a callback, as of a signal handler in it, only as the context of its own.
            trace = None if hidden is None else hidden.__traceback__
            while hidden is not None and trace is not None:
                if trace.tb_frame.f_code in CALLBACKS:
                    return hidden
                trace = trace.tb_next
        elif not isinstance(failure, SqliteError):
            return failure
        else:
            # If SQLite has rolled back already, the driver's own rollback fails, too.
            error = failure
        cause = self.error_from(error)
        cause.__cause__ = error
        return cause


BEGINS.add(Writer.write.__code__)
