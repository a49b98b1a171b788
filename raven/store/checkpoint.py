"""Checkpoints, which keep the WAL short by copying committed pages into the file; and the busy handler.

SQLite's own checkpoint runs beside the other writers. With several active writers it never reaches the end of the WAL:
the WAL then grows without bound, and each further commit waits for the disk in vain. Raven's checkpoint therefore runs
a second step that blocks the writers while it copies the few pages they added in the meantime. See
https://sqlite.org/wal.html#avoiding_excessively_large_wal_files.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import apsw

_T = TypeVar("_T")

# A checkpoint waits for the disk twice, whatever its size: SQLite's own 1,000 pages would wait four times as often.
PAGES = 4000
# A WAL up to this size in bytes is reused from its start; SQLite truncates a longer one to it.
WAL_SIZE_LIMIT = 16 * 1024 * 1024
_RESTART_TIMEOUT_S = 0.05
# Blocks all other writers: much less than their busy timeout, or their sends would fail.
_MAX_RESTART_TIMEOUT_S = 1.0
# After a long wait without success, no long wait for this many times its length.
_REST_FACTOR = 10
# A lock is mostly held for well under a millisecond: retry soon, then less often.
_FIRST_SLEEP_S = 0.0003
_MAX_SLEEP_S = 0.01


# The code that begins a write transaction; the modules with that code add it.
BEGINS: set[CodeType] = set()


class BusyHandler:
    """SQLite's busy handler: SQLite calls `wait` again and again while a lock is held, until it returns False."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._limits = threading.local()
        self._deadline = 0.0

    @property
    def timeout_s(self) -> float:
        """The seconds for which this thread waits for a lock."""
        limit_s: float | None = getattr(self._limits, "timeout_s", None)
        return self._timeout_s if limit_s is None else limit_s

    @property
    def is_limited(self) -> bool:
        """Whether this thread is inside `limit`."""
        return getattr(self._limits, "timeout_s", None) is not None

    def limit(self, timeout_s: float, step: Callable[[], _T]) -> _T:
        """Call `step` and return its result; in it, this thread waits for a lock at most this long."""
        limits = self._limits
        before: float | None = getattr(limits, "timeout_s", None)
        limits.timeout_s = min(timeout_s, self._timeout_s if before is None else before)
        try:
            return step()
        finally:
            limits.timeout_s = before

    def wait(self, attempts: int) -> bool:
        """Sleep once, longer after more `attempts` for this lock; return False when the timeout is over.

        Also returns False at the begin of a write: the writer then waits for its turn, without the client's lock.
        """
        if sys._getframe(1).f_code in BEGINS:
            return False
        now = time.monotonic()
        if attempts == 0:
            self._deadline = now + self.timeout_s
        if now >= self._deadline:
            return False
        # Jitter from the clock keeps waiting processes out of step.
        pause = min(_FIRST_SLEEP_S * 2 ** min(attempts, 6), _MAX_SLEEP_S) * (0.5 + time.perf_counter_ns() % 1024 / 1024)
        time.sleep(min(pause, self._deadline - now))
        return True


class Checkpointer:
    """Decides after each commit of one connection whether to checkpoint, and how long to block other writers for it.

    See https://sqlite.org/c3ref/wal_hook.html.
    """

    def __init__(self, busy_handler: BusyHandler) -> None:
        self._busy_handler = busy_handler
        self._next_pages = PAGES
        self._checkpointed = 0  # pages checkpointed at the last attempt
        self._no_long_wait_before = 0.0
        self.is_short = True  # no checkpoint was attempted since the WAL was restarted

    def checkpoint_if_long(self, connection: apsw.Connection, pages: int) -> None:
        """Run a checkpoint if the WAL is long. A failure does not undo the commit."""
        self.is_short = pages < PAGES
        if self.is_short:
            self._next_pages, self._checkpointed = PAGES, 0
        elif pages >= self._next_pages:
            # If a reader blocks the checkpoint, another attempt at each commit would be useless.
            self._next_pages = pages + PAGES
            try:
                self._checkpoint(connection, pages)
            except Exception as error:
                # A failed checkpoint (a full disk, for example) must not fail the commit before it. The exception of a
                # signal handler passes.
                if type(error).__module__ != "apsw":
                    raise

    def _checkpoint(self, connection: apsw.Connection, pages: int) -> None:
        row: Any = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
        is_busy, _, checkpointed = row
        if is_busy:  # another connection runs a checkpoint
            return
        # Short readers, at least one at any moment, get a longer timeout the longer the WAL is. If one reader blocks
        # everything (no page checkpointed since the last attempt), a long wait is useless.
        begin, timeout_s = time.monotonic(), _RESTART_TIMEOUT_S
        if checkpointed > self._checkpointed and begin > self._no_long_wait_before:
            timeout_s = min(_RESTART_TIMEOUT_S * (pages / PAGES) ** 2, _MAX_RESTART_TIMEOUT_S)
        self._checkpointed = checkpointed
        restart = "PRAGMA wal_checkpoint(RESTART)"
        is_blocked = self._busy_handler.limit(timeout_s, lambda: connection.execute(restart).get[0])
        if is_blocked and timeout_s > _RESTART_TIMEOUT_S:
            end = time.monotonic()
            self._no_long_wait_before = end + _REST_FACTOR * (end - begin)


class WalHook:
    """SQLite's WAL hook: SQLite calls it after each commit of a connection."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer

    def __call__(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Checkpoint if the WAL is long; always returns SQLITE_OK."""
        if pages >= PAGES or not self._checkpointer.is_short:
            self._checkpointer.checkpoint_if_long(connection, pages)
        return 0


# The code that SQLite calls back, where a signal handler can raise.
CALLBACKS = frozenset((BusyHandler.wait.__code__, WalHook.__call__.__code__))
