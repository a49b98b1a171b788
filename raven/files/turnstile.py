"""Turnstile: writers take turns, so that long transactions back to back do not keep all others out.

SQLite has no queue: a writer that waits looks again and again whether the write lock is free, and between two
transactions of another process it is free for some microseconds only. So a writer that waits, or whose last transaction
was long, first locks the file `<db>-turn`, begins its transaction, and unlocks the file. Other writers pass by: a
turn costs more system calls than a short transaction.

Concurrent users: waiting writers, of which one holds the lock; a holder that is stopped, whose file the next one throws
away; a forked child, which closes its copy. Where the file cannot be used, writers wait without turns.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from io import FileIO
from weakref import WeakSet

from raven.files import ownership

SUFFIX = "-turn"
# A transaction that takes longer makes the next one of its connection wait at the turnstile.
LONG_S = 0.002
# The holder looks often: while it sleeps, the write lock may be free in vain.
_FIRST_SLEEP_S = 0.0003
_MAX_SLEEP_S = 0.002
# The others look the more often the longer they have waited, so that the oldest is mostly the next.
_NEW_SLEEP_S = 0.004
_OLD_SLEEP_S = 0.0005
_AGE_S = 0.05
# The holder changes the time of its file so often; after the longer time without a change it is taken for stopped.
_BEAT_S = 0.02
_STOPPED_S = 0.25
_MIN_LOOKS = 10
# A file object closes itself, also if a signal handler raises between its opening and its first use.
_files: WeakSet[FileIO] = WeakSet()


class Turn:
    """One writer's wait for the write lock, of at most `timeout_s` seconds.

    Sleep for `pause_s()` seconds while `may_try()` is False; then try to begin, and sleep again if the lock is taken.
    Call `leave` in the end.
    """

    def __init__(self, db_path: str, timeout_s: float) -> None:
        self._db_path = db_path
        self._path = f"{db_path}{SUFFIX}"
        self._file: FileIO | None = None
        self._inode = 0
        self._is_first = self._is_unusable = False
        self._tries = self._looks = 0
        self._began = self._seen_at = self._beat_at = time.monotonic()
        self._seen = 0
        self._deadline = self._began + timeout_s

    def wait(self) -> bool:
        """Block until the caller may try to begin; return False when the timeout is over."""
        while (pause_s := self.pause_s()) is not None:
            time.sleep(pause_s)
            if self.may_try():
                return True
        return False

    def pause_s(self) -> float | None:
        """Return how long to sleep before the next try or look; None when the timeout is over."""
        now = time.monotonic()
        if now >= self._deadline:
            return None
        if self._is_first or self._is_unusable:
            pause_s = min(_FIRST_SLEEP_S * (1 << min(self._tries, 6)), _MAX_SLEEP_S)
            self._tries += 1
        else:
            pause_s = max(_OLD_SLEEP_S, _NEW_SLEEP_S / (1 + (now - self._began) / _AGE_S))
        # Jitter from the clock keeps waiting processes out of step.
        return min(pause_s * (0.5 + time.perf_counter_ns() % 1024 / 1024), self._deadline - now)

    def may_try(self) -> bool:
        """Whether it is this writer's turn, or the file cannot be used."""
        try:
            if not self._is_first and not self._is_unusable:
                self._is_first = self._lock()
            elif self._is_first and time.monotonic() - self._beat_at > _BEAT_S:
                self._beat()
        except OSError:  # a read-only folder, a file of another user, no descriptors, no flock
            self.leave()
            self._is_unusable = True
        return self._is_first or self._is_unusable

    def leave(self) -> None:
        """Let the next writer take its turn."""
        self._is_first = False
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _lock(self) -> bool:
        """Try to lock the file; throw it away if its holder is stopped."""
        if self._file is None:
            self._file = self._open()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_locked = False
        else:
            is_locked = True
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            status = None
        if status is None or status.st_ino != self._inode:
            self.leave()  # it was thrown away, and is no longer the file of the others
            return False
        if is_locked:
            self._beat()
        elif self._is_stopped(status.st_mtime_ns):
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self.leave()
        return is_locked

    def _is_stopped(self, beat: int) -> bool:
        """Whether the holder has not changed the time of its file for long, at many looks of this process."""
        now = time.monotonic()
        if beat != self._seen:
            self._seen, self._seen_at, self._looks = beat, now, 0
        self._looks += 1
        return self._looks > _MIN_LOOKS and now - self._seen_at > _STOPPED_S

    def _beat(self) -> None:
        if self._file is not None:
            self._beat_at = time.monotonic()
            os.utime(self._file.fileno())

    def _open(self) -> FileIO:
        """Open the file, created if it is missing; raises OSError."""
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            os.close(ownership.open_lock(self._path, ownership.lock_mode(self._db_path)))
            status = os.lstat(self._path)
        # A file that others can lock would let them stop all writers. A link could lead to the bus file: opening and
        # closing that would drop this process's locks on it.
        if status.st_nlink > 1 or ownership.distrust(self._path, status, private=True) is not None:
            raise PermissionError(f"{self._path} does not count")
        file = FileIO(self._path, "r+")
        _files.add(file)
        self._inode, self._looks = os.fstat(file.fileno()).st_ino, 0
        return file


def _close_in_child() -> None:
    """Close the files in a forked child: a lock stays until the last copy of its descriptor is closed."""
    for file in list(_files):
        file.close()


os.register_at_fork(after_in_child=_close_in_child)
