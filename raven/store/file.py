"""The bus file: its allowed locations, its creation, and the check that it is still the same file."""

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
from raven.files import ownership
from raven.store import filesystem

# Causes for which a file cannot be created, other than permissions.
_REMEDIES: dict[int, tuple[type[DatabaseError], str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (DiskFullError, "free some space, or remove some files")),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), (DatabaseError, "close some files, or raise the limit (`ulimit -n`)")
    ),
}

# SQLite reads and writes the first three; with a journal it would write pages into the bus.
_COMPANIONS = ("-wal", "-shm", "-journal")
_LOCK_SUFFIX = "-lock"
_LOCK_TIMEOUT_S = 1.0
_LOCK_RETRY_S = 0.001


def prepare(path: str, *, create: bool) -> None:
    """Raise an error if `path` cannot hold a bus; create an empty file of mode 0600 if it is missing.

    With `create=False`, raise FileMissingError if it is missing.
    """
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


def check_ownership(path: str) -> None:
    """Raise DatabaseError if another user could have made or can change the file or one that is used beside it."""
    distrust = find_distrust(path)
    if distrust is not None:
        raise DatabaseError(str(distrust))


def find_distrust(path: str) -> ownership.Distrust | None:
    """Return why the file, or one that is used beside it, does not count; it opens none of them."""
    for companion in (path, *(path + suffix for suffix in _COMPANIONS)):
        try:
            status = os.lstat(companion)
        except OSError:
            continue
        if not ownership.counts(status, stat.S_IFREG):
            return ownership.distrust(companion, status)
        # SQLite would write into the file that has the other name, too.
        if status.st_nlink > 1 and companion != path:
            return ownership.Distrust(f"{companion} has {status.st_nlink} names (hard links)", "remove this one")
    return ownership.distrust_at(path + _LOCK_SUFFIX, private=True)


def inode(path: str) -> tuple[int, int]:
    """Return the inode and device of the file at `path`; raises FileMissingError if there is no file.

    A symlink is refused even if it points to the same file, because SQLite would look for the WAL next to the link's
    target.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise FileMissingError(
            f"the bus {path} was deleted or moved while in use: restore it, or restart to create a new one"
        ) from None
    except OSError as error:
        raise FileMissingError(f"the bus {path} cannot be reached: {error.strerror}") from None
    if stat.S_ISLNK(status.st_mode):
        raise FileMissingError(
            f"the bus {path} was replaced by a symlink while in use: put the file back, or restart all its users"
        )
    return status.st_ino, status.st_dev


def is_same(path: str, known: tuple[int, int]) -> bool:
    """Whether `path` still has the inode and device `known`; raises FileMissingError if there is no file."""
    try:
        # Runs before every write, so without detours: st_ino and st_dev by index.
        if os.lstat(path)[1:3] == known:
            return True
    except OSError:
        pass
    return inode(path) == known


def wal_inode(path: str) -> tuple[int, int] | None:
    """Return the inode and device of this file's WAL, or None if it has no WAL."""
    try:
        return inode(f"{path}-wal")
    except FileMissingError:
        return None


def remove_stale_wal(path: str, known: tuple[int, int] | None) -> None:
    """Remove the WAL of the old file after another file was moved over it; its pages must not get into the new file.

    Several clients may call this at once. The lock keeps others from opening the new file meanwhile: this call would
    remove their index.
    """
    with lock(path, fcntl.LOCK_EX):
        if known is not None and wal_inode(path) == known:
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(path + suffix)


@contextmanager
def lock(path: str, kind: int = fcntl.LOCK_SH) -> Iterator[None]:
    """Hold a lock on a file beside the bus: shared to open the bus, exclusive to remove a stale WAL.

    No other user can open that file, unless it can open the bus. After one second without the lock (its holder may be a
    stopped process) the block runs all the same. If the block refuses the file, no new lock file stays beside it.
    """
    opened: list[int] = []
    is_new = not os.path.lexists(path + _LOCK_SUFFIX)
    try:
        with suppress(OSError):
            ownership.open_lock(path + _LOCK_SUFFIX, ownership.lock_mode(path), opened)
        descriptor = opened[0] if opened else -1
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while descriptor >= 0 and not _try_lock(descriptor, kind) and time.monotonic() < deadline:
            time.sleep(_LOCK_RETRY_S)
        yield
    except Exception:
        if is_new and opened:
            with suppress(OSError):
                os.unlink(path + _LOCK_SUFFIX)
        raise
    finally:
        if opened:
            os.close(opened[0])


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system does not support flock
        return True
    return True


def _create_private(path: str) -> None:
    """Create the empty file before SQLite opens it; SQLite gives `-wal` and `-shm` the same mode.

    It is created and closed under a temporary name: closing a descriptor of the bus file itself could drop the POSIX
    locks that another thread of this process has just taken on it.
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
        raise error_class(f"the bus {path} cannot be created: {error.strerror or error}; {remedy}") from None


def _exists(path: str) -> bool:
    """Whether the path exists; raises ReadOnlyError if this user's permissions do not allow the check."""
    try:
        os.stat(path)
    except PermissionError:
        raise ReadOnlyError(f"the bus {path} cannot be reached: check the permissions of its folder") from None
    except OSError:
        return False
    return True
