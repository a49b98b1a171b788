"""Locks: the processes that hold SQLite's locks on a bus, and the locks of the WAL watcher and the relay.

In WAL mode SQLite uses POSIX locks on single bytes of the `-shm` file: 120 for the writer, 123 to 127 for readers
(https://sqlite.org/walformat.html#locks, and UNIX_SHM_BASE in os_unix.c). In other modes, and in exclusive locking
mode, the locks are on the database.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

from raven.doctor.linux import proc
from raven.wake.watcher import LOCK_NAME

_WRITE = range(120, 121)
_READ = range(123, 128)


def writers(path: str) -> set[int]:
    """Return the processes that hold the writer's lock of the bus at `path`."""
    shm_locks = {lock.pid for lock in _locks_on(f"{path}-shm", "POSIX") if lock.is_write and _overlaps(lock, _WRITE)}
    return shm_locks | {lock.pid for lock in _locks_on(path, "POSIX") if lock.is_write}


def readers(path: str) -> set[int]:
    """Return the processes that are in a read or write transaction of the bus at `path`."""
    return {lock.pid for lock in _locks_on(f"{path}-shm", "POSIX") if not lock.is_write and _overlaps(lock, _READ)}


def holders(path: str, name: str = LOCK_NAME) -> set[int]:
    """Return the process that holds a lock beside the doorbells; by default it is the WAL watcher."""
    return {lock.pid for lock in _locks_on(f"{path}-bells/{name}", "FLOCK")}


def is_held(path: str, name: str = LOCK_NAME) -> bool:
    """Whether a process holds such a lock, even one not visible from here: in another container, for instance."""
    try:
        descriptor = os.open(f"{path}-bells/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _locks_on(path: str, kind: str) -> Iterator[proc.Lock]:
    # Only stat: opening and closing the file would drop this process's own locks.
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for lock in proc.locks():
        if lock.kind != kind or lock.inode != status.st_ino or lock.pid <= 0:
            continue
        # Some file systems (overlayfs, btrfs) report another device in /proc/locks than in stat.
        if lock.device == device or path in proc.links(lock.pid).values():
            yield lock


def _overlaps(lock: proc.Lock, locked: range) -> bool:
    return lock.first < locked.stop and lock.last >= locked.start
