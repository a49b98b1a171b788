"""Checkpoints: what was committed goes from the WAL into the file before the WAL grows long; and waiting for locks.

SQLite by itself does it beside the other writers. While several of them are at work that never comes to the end of the
WAL, which then grows without bound, and each further commit waits for the disk in vain. So what they have added in the
meantime, which is little, is written back while they wait.
See https://sqlite.org/wal.html#avoiding_excessively_large_wal_files.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

# To write back waits for the disk twice, however much it is: with SQLite's own 1,000 pages, four times as often.
PAGES = 4000
# A WAL with so many pages is kept, to be written anew from its start: a longer one is cut.
WAL_SIZE_LIMIT = 16 * 1024 * 1024
_RESTART_TIMEOUT_S = 0.05
# Nobody else can write meanwhile: much less than the others' busy timeout, or their sends would fail by it.
_MAX_RESTART_TIMEOUT_S = 1.0
# After a long wait that was in vain comes a rest of so many times its length.
_REST_FACTOR = 10
# A lock is mostly held for well under a millisecond: look again soon, then less often.
_FIRST_SLEEP_S = 0.0003
_MAX_SLEEP_S = 0.01


class BusyHandler:
    """A busy handler for SQLite: called again and again while a lock is held, until it says no."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._deadline = 0.0

    def wait(self, attempts: int) -> bool:
        """Sleep once, longer after more `attempts` for this lock; return False when the limit is reached."""
        now = time.monotonic()
        if attempts == 0:
            self._deadline = now + self.timeout_s
        if now >= self._deadline:
            return False
        # Jitter from the clock's own noise keeps waiting processes out of step.
        pause = min(_FIRST_SLEEP_S * 2 ** min(attempts, 6), _MAX_SLEEP_S) * (0.5 + time.perf_counter_ns() % 1024 / 1024)
        time.sleep(min(pause, self._deadline - now))
        return True


class Checkpointer:
    """When and how far one connection writes the WAL back, as it is told of after each commit of its own.

    See https://sqlite.org/c3ref/wal_hook.html.
    """

    def __init__(self, busy_handler: BusyHandler) -> None:
        self._busy_handler = busy_handler
        self._next_pages = PAGES
        self._checkpointed = 0  # pages that had been written back at the last try
        self._no_long_wait_before = 0.0
        self.is_short = True  # nothing was tried since the WAL was begun anew

    def checkpoint_if_long(self, connection: apsw.Connection, pages: int) -> None:
        """Write back if the WAL has become long; the commit stands, whatever comes of it."""
        self.is_short = pages < PAGES
        if self.is_short:
            self._next_pages, self._checkpointed = PAGES, 0
        elif pages >= self._next_pages:
            # Where a reader holds the rest back there is no sense in trying at each commit.
            self._next_pages = pages + PAGES
            # Whatever is in the way of this, a full disk for instance: it does not undo the commit.
            with suppress(Exception):
                self._checkpoint(connection, pages)

    def _checkpoint(self, connection: apsw.Connection, pages: int) -> None:
        row: Any = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
        is_busy, _, checkpointed = row
        if is_busy:  # by another that writes back
            return
        # Readers that come and go, one at least at any moment, are waited for much longer the more there is; for one
        # that holds all back, where nothing was written back since the last time, there is no sense in it.
        begin, timeout_s = time.monotonic(), _RESTART_TIMEOUT_S
        if checkpointed > self._checkpointed and begin > self._no_long_wait_before:
            timeout_s = min(_RESTART_TIMEOUT_S * (pages / PAGES) ** 2, _MAX_RESTART_TIMEOUT_S)
        self._checkpointed = checkpointed
        with self._busy_timeout(timeout_s):
            is_blocked = connection.execute("PRAGMA wal_checkpoint(RESTART)").get[0]
        if is_blocked and timeout_s > _RESTART_TIMEOUT_S:
            end = time.monotonic()
            self._no_long_wait_before = end + _REST_FACTOR * (end - begin)

    @contextmanager
    def _busy_timeout(self, timeout_s: float) -> Iterator[None]:
        before, self._busy_handler.timeout_s = (
            self._busy_handler.timeout_s,
            min(self._busy_handler.timeout_s, timeout_s),
        )
        try:
            yield
        finally:
            self._busy_handler.timeout_s = before
