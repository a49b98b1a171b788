"""Failing VFS: SQLite's calls to the disk in this process, each of which can be made to fail.

Below SQLite's VFS most system calls can be replaced (`xSetSystemCall` of https://sqlite.org/c3ref/vfs.html). A replaced
call fails with an errno, in the database, its WAL and its shared memory alike, and the VFS handles it as any failure.
Only the flush to disk cannot be replaced there: a VFS above SQLite's fails it. Unlike SQLite's own, each error of that
VFS also leaves the driver's `close`.

Use either in a separate process: all connections of the process go through them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections import Counter
from typing import Any, NamedTuple

import apsw

_IOERR_FSYNC = 1034
_DESCRIPTOR, _BUFFER, _SIZE, _OFFSET = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64


class _Call(NamedTuple):
    """A system call by SQLite's name: its kind in a plan, and its C types."""

    kind: str
    returns: Any
    takes: tuple[Any, ...]


_CALLS = {
    "open": _Call("open", ctypes.c_int, (ctypes.c_char_p, ctypes.c_int, ctypes.c_int)),
    "read": _Call("read", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE)),
    "pread": _Call("read", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE, _OFFSET)),
    "pread64": _Call("read", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE, _OFFSET)),
    "write": _Call("write", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE)),
    "pwrite": _Call("write", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE, _OFFSET)),
    "pwrite64": _Call("write", ctypes.c_ssize_t, (_DESCRIPTOR, _BUFFER, _SIZE, _OFFSET)),
    "ftruncate": _Call("truncate", ctypes.c_int, (_DESCRIPTOR, _OFFSET)),
    "fstat": _Call("stat", ctypes.c_int, (_DESCRIPTOR, ctypes.c_void_p)),
    "unlink": _Call("unlink", ctypes.c_int, (ctypes.c_char_p,)),
    "mmap": _Call("map", ctypes.c_void_p, (ctypes.c_void_p, _SIZE, ctypes.c_int, ctypes.c_int, _DESCRIPTOR, _OFFSET)),
}
# The plausible errors of each kind of call.
ERRNOS = {
    "open": (errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EIO),
    "read": (errno.EIO,),
    "write": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    "truncate": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    "stat": (errno.EIO,),
    "unlink": (errno.EACCES, errno.EIO),
    "map": (errno.ENOMEM,),
    "sync": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
}


class FailingVFS:
    """Counts the calls of the thread that arms it, by kind, and fails the planned ones.

    With `flushes` it counts the flushes to disk, else the system calls.
    """

    def __init__(self, *, flushes: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.failed = self.last = 0
        self._thread = 0
        self._kind = ""
        self._errno = self._at = 0
        self._is_lasting = False
        # References to the C callbacks, which must not be garbage-collected.
        self._references: list[Any] = [_Flushing(self)] if flushes else []
        self._real: dict[str, int] = {}
        self._unix = apsw.VFS("raven-underlying", "unix")
        if not flushes:
            for name, call in _CALLS.items():
                self._replace(name, call)

    def _replace(self, name: str, call: _Call) -> None:
        address = self._unix.xGetSystemCall(name)
        if address is None:  # this SQLite does not use the call
            return
        prototype = ctypes.CFUNCTYPE(call.returns, *call.takes, use_errno=True)
        real = prototype(address)

        def replacement(*arguments: Any) -> Any:
            number = self.failure(call.kind)
            if number:
                ctypes.set_errno(number)
                return -1
            result = real(*arguments)
            return 0 if result is None else result  # a null pointer

        pointer = prototype(replacement)
        self._references.append(pointer)
        self._real[name] = address
        self._unix.xSetSystemCall(name, ctypes.cast(pointer, ctypes.c_void_p).value)

    def remove(self) -> None:
        """Restore the real calls: SQLite must not call Python functions while Python exits."""
        for name, address in self._real.items():
            self._unix.xSetSystemCall(name, address)

    def arm(self, kind: str = "", number: int = 0, *, at: int = 1, lasting: bool = False) -> None:
        """Reset the counts, and fail the `at`th call of a kind with an errno; with `lasting` fail all later ones, too.

        Only calls of this thread count and fail. Without a kind they are counted, and none fails.
        """
        self.calls.clear()
        self.failed = 0
        self._kind, self._errno, self._at, self._is_lasting = kind, number, at, lasting
        self._thread = threading.get_ident()

    def mend(self) -> None:
        """Stop failing calls."""
        self._thread = 0

    def failure(self, kind: str) -> int:
        """Return the errno with which this call must fail, or 0."""
        if self._thread != threading.get_ident():
            return 0
        self.calls[kind] += 1
        if kind != self._kind:
            return 0
        count = self.calls[kind]
        if count == self._at or (self._is_lasting and count > self._at):
            self.failed += 1
            self.last = self._errno
            return self._errno
        return 0


class _Flushing(apsw.VFS):
    """The default VFS of new connections: it can fail the flush to disk, and passes all else on."""

    def __init__(self, faults: FailingVFS) -> None:
        self._faults = faults
        super().__init__("raven-failing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _FlushedFile:  # noqa: N802 as it is called
        return _FlushedFile(self._faults, name, flags)

    def xGetLastError(self) -> tuple[int, str]:  # noqa: N802 as it is called
        return self._faults.last, ""


class _FlushedFile(apsw.VFSFile):
    def __init__(self, faults: FailingVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._faults = faults
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 as it is called
        number = self._faults.failure("sync")
        if number:
            failure = apsw.IOError(os.strerror(number))
            failure.extendedresult = _IOERR_FSYNC
            raise failure
        super().xSync(flags)
