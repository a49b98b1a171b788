"""Disk: is there room for what is sent, by the disk, by a quota, and by the limits of the processes."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterator, Sequence

from raven.doctor import permissions as place
from raven.doctor.linux import proc
from raven.doctor.linux.users import User
from raven.doctor.report import Check, Finding, conclude

_MIB = 1024 * 1024
_LOW_DISK = 200 * _MIB
_NO_DISK = 10 * _MIB
_FEW_FILES = 100
_TRIED = 100 * 1024
# A file size limit that is nearer than this to the size of a file of the bus will soon be met.
_SOON = 32 * _MIB
_ROOM = "free some room; sends fail without it"
_RAISE_FILE_SIZE = "raise the limit on file sizes (`ulimit -f unlimited`) where that program is started"

_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: "this user's quota is used up: free some room, or have it raised; sends fail without it",
    errno.EFBIG: _RAISE_FILE_SIZE,
    errno.EMFILE: "close some files, or raise the limit (`ulimit -n`)",
}


def check_disk(path: str, users: Sequence[User] = ()) -> Check:
    """Look at what is free where the bus at `path` lies, and try to write some of it."""
    folder = os.path.dirname(path)
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    findings = []
    if free < _LOW_DISK:
        found = f"{free / _MIB:,.0f} MiB free"
        is_none = free < _NO_DISK
        findings.append(Finding("fail", found, _ROOM) if is_none else Finding("warn", found, "free some room"))
    # Where files are not counted both numbers are 0.
    if space.f_files and space.f_favail < _FEW_FILES:
        found = f"{space.f_favail} of {space.f_files:,} inodes are free on the file system of {folder}"
        findings.append(Finding("fail" if not space.f_favail else "warn", found, "remove some files, however small"))
    failure = _try_to_write(folder)
    if failure is not None:
        remedy = _REMEDIES.get(failure.errno or 0, "") or place.remedy_of_refusal(path)
        found = f"{_TRIED // 1024} KiB cannot be written in {folder}: {failure.strerror}"
        findings.append(Finding("fail", found, remedy))
    findings.extend(_near_size_limits(path, users))
    return conclude("disk", findings, f"{free / _MIB:,.0f} MiB free")


def _try_to_write(folder: str) -> OSError | None:
    """Write a little into a file of its own, which is gone afterwards; returns what the system says against it."""
    try:
        with tempfile.TemporaryFile(prefix=".raven-doctor-", dir=folder, buffering=0) as file:
            left = _TRIED
            while left > 0:
                left -= file.write(b"\0" * left)
            # Some file systems find out only now.
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _near_size_limits(path: str, users: Sequence[User]) -> Iterator[Finding]:
    """Find the limits on file sizes that a file of the bus has nearly reached: this process's, and the others'."""
    size = max((_size(path + suffix) for suffix in ("", "-wal")), default=0)
    own, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = {"this shell": None if own == resource.RLIM_INFINITY else own}
    limits |= {user.words: proc.limit(user.pid, "Max file size") for user in users}
    for whose, limit in limits.items():
        if limit is not None and limit < size + _SOON:
            yield Finding(
                "warn",
                f"files of {whose} may have {limit / _MIB:.1f} MiB, and the largest of the bus has {size / _MIB:.1f}",
                _RAISE_FILE_SIZE,
            )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
