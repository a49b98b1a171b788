"""The bus file on disk: where it may lie, how it is made, and whether it is still the same."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from raven.errors import (
    DatabaseError,
    DiskFullError,
    FileMissingError,
    NetworkFilesystemError,
    NotABusError,
    ReadOnlyError,
)
from raven.store import filesystem

# What keeps a file from being made, where it is not the permissions.
_REMEDIES: dict[int, tuple[type[DatabaseError], str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (DiskFullError, "free some room, or remove some files")),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), (DatabaseError, "close some files, or raise the limit (`ulimit -n`)")
    ),
}

_LOCK_TIMEOUT_S = 1.0
_LOCK_RETRY_S = 0.001


def prepare(path: str, *, create: bool) -> None:
    """Refuse a place where no bus can be, and make an empty file of mode 0600 where none is and `create` allows it."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileMissingError(f"the folder {folder} of the bus {path} does not exist: make it, or choose another")
    if os.path.isdir(path):
        raise NotABusError(f"{path} is a folder: name a file in it, such as {path}/bus.db")
    kind = filesystem.filesystem_type(folder)
    if filesystem.is_network(kind):
        raise NetworkFilesystemError(
            f"{path} lies on a network file system ({kind}), where SQLite's WAL does not work: use a local disk"
        )
    if not _exists(path):
        if not create:
            raise FileMissingError(f"there is no bus at {path}: run `raven init`, or name it with --db or RAVEN_DB")
        _create_private(path)


def inode(path: str) -> tuple[int, int]:
    """Return what tells this file from any other that ever stands at its path; FileMissingError where none does.

    A link is none, though it led to the same file: SQLite looks for the WAL beside the name that the link leads to.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise FileMissingError(
            f"the bus {path} was deleted or moved while in use: restore it, or restart to make a new one"
        ) from None
    except OSError as error:
        raise FileMissingError(f"the bus {path} cannot be reached: {error.strerror}") from None
    if stat.S_ISLNK(status.st_mode):
        raise FileMissingError(
            f"the bus {path} was moved while in use, and a link put there: put the file back, or restart all its users"
        )
    return status.st_ino, status.st_dev


def is_same(path: str, known: tuple[int, int]) -> bool:
    """Whether the same file stands at `path` as when `inode` said `known`; FileMissingError where none does."""
    try:
        # Asked before every write, so no detours: st_ino and st_dev by their places.
        if os.lstat(path)[1:3] == known:
            return True
    except OSError:
        pass
    return inode(path) == known


def wal_inode(path: str) -> tuple[int, int] | None:
    """Return what tells this file's present WAL from any other, or None where it has none."""
    try:
        return inode(f"{path}-wal")
    except FileMissingError:
        return None


def remove_stale_wal(path: str, known: tuple[int, int] | None) -> None:
    """Remove the WAL that a file left behind when another was moved over it, lest its pages get into the new one.

    Several clients come here at once. No other opens the new file meanwhile: it would lose its own index to this.
    """
    with lock_folder(path, fcntl.LOCK_EX):
        if known is not None and wal_inode(path) == known:
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(path + suffix)


@contextmanager
def lock_folder(path: str, kind: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Hold the folder of a bus: shared by those who open the file, alone by one who removes a stale WAL.

    A folder that cannot be had within a second, since a process was stopped in here, is used all the same.
    """
    descriptor = -1
    with suppress(OSError):
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while descriptor >= 0 and not _try_lock(descriptor, kind) and time.monotonic() < deadline:
            time.sleep(_LOCK_RETRY_S)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no such locks
        return True
    return True


def _create_private(path: str) -> None:
    """Make the empty file before SQLite sees it; SQLite gives `-wal` and `-shm` the same mode.

    It is made and closed under another name: closing a descriptor of the file itself could drop the POSIX locks that
    another thread of this process has just taken on it.
    """
    temporary = f"{path}.{os.urandom(8).hex()}"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.unlink(temporary)
    except OSError as error:
        error_class, remedy = _REMEDIES.get(error.errno or 0, (ReadOnlyError, "check its folder's permissions"))
        raise error_class(f"the bus {path} cannot be made: {error.strerror or error}; {remedy}") from None


def _exists(path: str) -> bool:
    """Whether something stands at the path; raises ReadOnlyError where this user may not even see that."""
    try:
        os.stat(path)
    except PermissionError:
        raise ReadOnlyError(f"the bus {path} cannot be reached: check the permissions of its folder") from None
    except OSError:
        return False
    return True
