"""Translation: what SQLite's errors mean to a user of raven, in raven's own errors and words."""

from __future__ import annotations

import errno
import os

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
_FULL: _Mapping = (DiskFullError, "cannot grow: the disk, the quota or the file size limit is used up; free some room")
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
    "could not be used: its disk failed; look into the system's log, run `raven doctor`",
)

# By the names of the driver's exceptions, which are those of SQLite's result codes (https://sqlite.org/rescode.html).
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
# What SQLITE_IOERR and SQLITE_CANTOPEN come from, as far as the system has said.
_BY_ERRNO: dict[int, _Mapping] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _READ_ONLY),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _TOO_MANY),
    errno.EIO: _BROKEN,
}
# SQLITE_IOERR_WRITE: where the system has said nothing, a file size limit or a quota.
_WRITE_FAILED = 778


def from_sqlite(error: Exception, path: str, waited_s: float, os_errno: int = 0) -> DatabaseError:
    """Return raven's error for one of the driver's.

    `waited_s` is how long a lock was waited for, `os_errno` the errno that SQLite has kept of its last failure.
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
    """Return what keeps a file, its WAL or its index from being opened, as an errno, or 0 where that cannot be seen.

    SQLite itself cannot tell: what it may not make or write it tries to read, and what it remembers is that none is
    there.
    """
    folder = os.path.dirname(path)
    try:
        # The folder, since to close a descriptor of the file would drop the locks that this process has on it.
        os.close(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
        space = os.statvfs(folder)
    except OSError as error:
        return error.errno or 0
    if not os.access(folder, os.W_OK) or any(
        os.path.exists(path + end) and not os.access(path + end, os.R_OK | os.W_OK) for end in ("", "-wal", "-shm")
    ):
        return errno.EACCES
    # A file system that does not count its files says that it has none.
    return errno.ENOSPC if not space.f_bavail or (space.f_files and not space.f_favail) else 0
