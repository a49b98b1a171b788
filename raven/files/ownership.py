"""Ownership: whether another user of the host could have made, could change or could lock a file.

A file beside the bus counts only if it has the right type, belongs to this user, to root or to a user that
RAVEN_TRUSTED_UIDS names, and is closed to all other users. Every companion of a bus is judged by `distrust`: the
settings file, the bus file, its `-wal`, `-shm` and `-journal`, the doorbells with their folders, locks and sockets.

Judge the status of an open descriptor where there is one: another file can be at the path a moment later.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from raven.errors import ConfigError

TRUSTED_UIDS = "RAVEN_TRUSTED_UIDS"
_ROOT = 0
_MAX_LINKS = 40
_LOCK_RETRY_S = 0.002
_MAX_UID = (1 << 32) - 2  # the system calls take -1 for "no user"
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class Distrust(NamedTuple):
    """Why a file does not count, with its path, and what to do about it."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.problem}: {self.remedy}"


def is_trusted(uid: int) -> bool:
    """Whether files and processes of a user count: this process's own user, root, or one in RAVEN_TRUSTED_UIDS."""
    return uid == os.geteuid() or uid == _ROOT or uid in _read_setting()[0]


def counts(status: os.stat_result, kind: int, *, private: bool = False) -> bool:
    """Whether `distrust` finds nothing; for frequent checks."""
    mode = status.st_mode
    if not mode & 0o077 and status.st_uid == os.geteuid() and stat.S_IFMT(mode) == kind:  # nearly always
        return True
    return distrust("", status, kind, private=private) is None


def check_setting() -> None:
    """Raise ConfigError if RAVEN_TRUSTED_UIDS names a user that this system does not know."""
    for word in _read_setting()[1]:
        raise ConfigError(f"{TRUSTED_UIDS} names the unknown user '{word[:40]}': write uids or user names, with commas")


def distrust(path: str, status: os.stat_result, kind: int = stat.S_IFREG, *, private: bool = False) -> Distrust | None:
    """Return why the file at `path` does not count, by its status; None if it counts.

    It counts if it has the type `kind`, belongs to a trusted user, and other users cannot write it. With `private` they
    must have no access at all. The group may have access if RAVEN_TRUSTED_UIDS is set, or write if this user alone is
    in it. A symlink has no permissions of its own.
    """
    if stat.S_IFMT(status.st_mode) != kind:
        return Distrust(f"{path} is {describe_kind(status)}, not {_KINDS[kind]}", "remove it")
    if not is_trusted(status.st_uid):
        return Distrust(
            f"{path} belongs to {user_name(status.st_uid)}",
            f"remove it, or set {TRUSTED_UIDS}={status.st_uid} if you trust that user",
        )
    mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
    if mode & closed_bits(private=private) and not _is_own_group(status, mode, private=private):
        import shlex

        problem = "is open to other users" if private else "can be written by other users"
        remedy = f"run `chmod {'go=' if private else 'go-w'} {shlex.quote(path)}`"
        if not mode & 0o007:
            remedy += f", or set {TRUSTED_UIDS} to the users of its group"
        return Distrust(f"{path} {problem} (mode {mode:04o})", remedy)
    return None


def distrust_at(path: str, kind: int = stat.S_IFREG, *, private: bool = False) -> Distrust | None:
    """Return why the file at `path` does not count; None if it counts, or if there is none. It opens no file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return distrust(path, status, kind, private=private)


def distrust_links(path: str) -> Distrust | None:
    """Return why a symlink on the way to `path` does not count: its owner chooses where the path leads."""
    path = os.path.abspath(path)
    for _ in range(_MAX_LINKS):
        link = next((one for one in _prefixes(path) if os.path.islink(one)), None)
        if link is None:
            return None
        status = os.lstat(link)
        if not is_trusted(status.st_uid):
            return distrust(link, status, stat.S_IFLNK)
        path = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)) + path[len(link) :])
    return None


def _prefixes(path: str) -> Iterator[str]:
    """Yield each folder on the way to a path, from the root, and the path itself."""
    end = path.find("/", 1)
    while end > 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path


def open_lock(path: str, mode: int = 0o600, opened: list[int] | None = None) -> int:
    """Open a lock file, made with `mode` if it is missing, and return its descriptor, which no child inherits.

    C code adds the descriptor to `opened`, so that the caller can close it after an exception of a signal handler.
    Raises PermissionError if other users could have locked it, and OSError if it cannot be opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = [] if opened is None else opened
    try:
        opened.extend(map(os.open, (path,), (flags,)))
    except FileNotFoundError:
        opened.append(_create_lock(path, flags, mode))
    descriptor = opened[-1]
    reason = distrust(path, os.fstat(descriptor), private=True)
    if reason is not None:
        opened.clear()
        os.close(descriptor)
        raise PermissionError(errno.EPERM, str(reason), path)
    return descriptor


def lock_within(descriptor: int, timeout_s: float) -> bool:
    """Lock a file that `open_lock` has opened, for this process alone; returns whether that was possible in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_RETRY_S)


def lock_mode(path: str) -> int:
    """Return the mode of a lock for the users of the file at `path`: its group is one if other users are trusted."""
    is_shared = bool(os.environ.get(TRUSTED_UIDS)) and os.lstat(path).st_mode & 0o020
    return 0o660 if is_shared else 0o600


def user_name(uid: int) -> str:
    """Return a user by name and number, or by the number alone if it has no name here."""
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except (KeyError, OverflowError):
        return f"user {uid}"


def describe_kind(status: os.stat_result) -> str:
    """Return the type of a file in words."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "a device")


def _create_lock(path: str, flags: int, mode: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:  # another process was first
        return os.open(path, flags)
    os.fchmod(descriptor, mode)  # whatever the umask is
    return descriptor


def closed_bits(*, private: bool) -> int:
    """Return the permission bits that a file may not have."""
    if os.environ.get(TRUSTED_UIDS):
        return 0o007 if private else 0o002
    return 0o077 if private else 0o022


def _is_own_group(status: os.stat_result, mode: int, *, private: bool) -> bool:
    """Whether a file is writable only by its owner's own group, in which no other user is.

    Many systems give each user such a group and the umask 002. Root has none there.
    """
    if private or mode & 0o002 or status.st_uid == _ROOT:
        return False
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except (KeyError, OverflowError):
        return False
    return user.pw_gid == group.gr_gid and user.pw_name == group.gr_name and {user.pw_name}.issuperset(group.gr_mem)


def _read_setting() -> tuple[frozenset[int], tuple[str, ...]]:
    return _parse(os.environ.get(TRUSTED_UIDS, ""))


@lru_cache(maxsize=4)
def _parse(text: str) -> tuple[frozenset[int], tuple[str, ...]]:
    """Return the uids that the words of the setting name, and the words that name no user."""
    import pwd

    uids, unknown = set(), []
    for word in filter(None, map(str.strip, text.split(","))):
        if word.isascii() and word.isdigit():
            uid = int(word) if len(word) <= 10 else _MAX_UID + 1
            if uid <= _MAX_UID:
                uids.add(uid)
            else:
                unknown.append(word)
            continue
        try:
            uids.add(pwd.getpwnam(word).pw_uid)
        except (KeyError, ValueError):
            unknown.append(word)
    return frozenset(uids), tuple(unknown)
