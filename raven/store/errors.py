"""SQLite's errors, mapped to raven's own errors and messages."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from raven.errors import (
    BusyError,
    CorruptError,
    DatabaseError,
    DiskFullError,
    FileMissingError,
    NotABusError,
    ReadOnlyError,
)

_Mapping = tuple[type[DatabaseError], str]

_LOCKED: _Mapping = (BusyError, "is locked by another writer: try again, or find the program that holds it")
_FULL: _Mapping = (DiskFullError, "cannot grow: the disk, the quota or the file size limit is used up; free some space")
_READ_ONLY: _Mapping = (
    ReadOnlyError,
    "cannot be written: check the permissions of the file, of its -wal and -shm, and of its folder",
)
_TOO_MANY: _Mapping = (
    DatabaseError,
    "cannot be opened: too many files are open; close some, or raise the limit (`ulimit -n`)",
)
_BROKEN: _Mapping = (
    DatabaseError,
    "could not be used: its disk failed; see the system's log and run `raven doctor`",
)

# By the driver's exception names, which are SQLite's result codes (https://sqlite.org/rescode.html).
_BY_EXCEPTION: dict[str, _Mapping] = {
    "BusyError": _LOCKED,
    "LockedError": _LOCKED,
    "FullError": _FULL,
    "ReadOnlyError": _READ_ONLY,
    "PermissionsError": _READ_ONLY,
    "CantOpenError": (FileMissingError, "cannot be opened: check that its folder exists and may be written"),
    "NotADBError": (NotABusError, "is not an SQLite database: choose another path"),
    "CorruptError": (CorruptError, "is damaged: run `raven doctor`, and restore a backup"),
}
# The causes of SQLITE_IOERR and SQLITE_CANTOPEN, by the errno of the system call.
_BY_ERRNO: dict[int, _Mapping] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _READ_ONLY),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _TOO_MANY),
    errno.EIO: _BROKEN,
}
# SQLITE_IOERR_WRITE: without an errno, the cause is a file size limit or a quota.
_WRITE_FAILED = 778


class _Loading:
    """`with LOADING:` around the import of a module that a method needs; raises DatabaseError if no file can be opened.

    The error is the same as the one of a client that cannot open the bus for this reason.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and _BY_ERRNO.get(error.errno or 0) is _TOO_MANY:
            raise DatabaseError(f"raven's module {error.filename} {_TOO_MANY[1]}") from error


LOADING = _Loading()


def from_sqlite(error: Exception, path: str, waited_s: float, os_errno: int = 0) -> DatabaseError:
    """Return raven's error for one of the driver's.

    `waited_s` is the time spent waiting for the lock, `os_errno` the errno that SQLite kept of its last failure.
    """
    kind = type(error).__name__
    mapping = _BY_EXCEPTION.get(kind)
    if kind in ("IOError", "CantOpenError"):
        if kind == "CantOpenError" and os_errno not in _BY_ERRNO:
            os_errno = _open_errno(path)
        mapping = _BY_ERRNO.get(os_errno, mapping)
        if mapping is None and getattr(error, "extendedresult", 0) == _WRITE_FAILED:
            mapping = _FULL
    if mapping is None:
        return DatabaseError(f"the bus {path} could not be used: {error}; run `raven doctor`")
    error_class, text = mapping
    waited = f" (waited {waited_s:g} s)" if error_class is BusyError and waited_s else ""
    return error_class(f"the bus {path} {text}{waited}")


def _open_errno(path: str) -> int:
    """Return the errno of the reason why the file, its WAL or its index cannot be opened, or 0 if no reason is visible.

    SQLite does not know it: if it may not create or write a file, it tries to open it for reading only. It then keeps
    the errno of that attempt (no such file).
    """
    folder = os.path.dirname(path)
    try:
        # The folder, not the file: closing a descriptor of the file would drop this process's locks on it.
        os.close(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
        space = os.statvfs(folder)
    except OSError as error:
        return error.errno or 0
    if not os.access(folder, os.W_OK) or any(
        os.path.exists(path + end) and not os.access(path + end, os.R_OK | os.W_OK) for end in ("", "-wal", "-shm")
    ):
        return errno.EACCES
    # A file system that does not count its files reports 0 for both.
    return errno.ENOSPC if not space.f_bavail or (space.f_files and not space.f_favail) else 0
