"""Translation: what SQLite's errors mean to a user of raven, in raven's own errors and words."""

from __future__ import annotations

from raven.errors import (
    BusyError,
    CorruptError,
    DatabaseError,
    DiskFullError,
    FileMissingError,
    NotABusError,
    ReadOnlyError,
)

_LOCKED = "is locked by another writer: try again, or find the program that holds it"
_FULL = "cannot grow: the disk, the quota or the file size limit is used up; free some room"
_READ_ONLY = "cannot be written: check the permissions of the file and of its folder"

# By the names of the driver's exceptions, which are those of SQLite's result codes (https://sqlite.org/rescode.html).
_MEANINGS: dict[str, tuple[type[DatabaseError], str]] = {
    "BusyError": (BusyError, _LOCKED),
    "LockedError": (BusyError, _LOCKED),
    "FullError": (DiskFullError, _FULL),
    "ReadOnlyError": (ReadOnlyError, _READ_ONLY),
    "PermissionsError": (ReadOnlyError, _READ_ONLY),
    "CantOpenError": (FileMissingError, "cannot be opened: check that its folder exists and may be written"),
    "NotADBError": (NotABusError, "is not an SQLite database: choose another path"),
    "CorruptError": (CorruptError, "is damaged: run `raven doctor`, and restore a backup"),
}
# SQLITE_IOERR_WRITE: what a file size limit or a quota comes as.
_WRITE_FAILED = 778


def translate(error: Exception, path: str, waited_s: float) -> DatabaseError:
    """Return raven's error for one of the driver's; `waited_s` is how long a lock was waited for."""
    kind = "FullError" if getattr(error, "extendedresult", 0) == _WRITE_FAILED else type(error).__name__
    if kind not in _MEANINGS:
        return DatabaseError(f"the bus {path} could not be used: {error}; run `raven doctor`")
    ours, text = _MEANINGS[kind]
    waited = f" (waited {waited_s:g} s)" if ours is BusyError and waited_s else ""
    return ours(f"the bus {path} {text}{waited}")
