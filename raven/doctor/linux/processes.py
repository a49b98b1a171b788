"""Processes that have the files of a bus open: which are stopped, hold a file that is no longer it, run short."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from raven.doctor.linux import locks, proc
from raven.doctor.report import Check, Finding, conclude
from raven.wake.watcher import LOCK_NAME

_DELETED = " (deleted)"
_SECOND_LOOK_S = 0.2
# Nearly reached: a tenth is left, or less than it takes to open the bus.
_LEFT = 10
_TO_OPEN = 4
_FEWEST = 64


class OpenFile(NamedTuple):
    """A file of the bus that a process has open: its name behind the bus's own (`-wal`, `-bells/...`, none)."""

    descriptor: int
    suffix: str
    is_deleted: bool


class User(NamedTuple):
    """A process that has files of the bus open."""

    pid: int
    files: tuple[OpenFile, ...]

    @property
    def words(self) -> str:
        """The process by its number and its program."""
        return proc.describe(self.pid)

    def has(self, suffix: str) -> bool:
        """Whether it has the file of that name open, be it deleted or not."""
        return any(file.suffix == suffix for file in self.files)

    def bells(self) -> list[OpenFile]:
        """Return the doorbells that it has open: its own, since others are only opened to ring them."""
        lock = f"-bells/{LOCK_NAME}"
        return [file for file in self.files if file.suffix.startswith("-bells/") and file.suffix != lock]


def users_of(path: str) -> list[User]:
    """Return the processes that have files of the bus at `path` open, but for this one."""
    found = [User(pid, _files(pid, path)) for pid in proc.pids() if pid != os.getpid()]
    return [user for user in found if user.files]


def again(user: User, path: str) -> User:
    """Look at a process once more."""
    return User(user.pid, _files(user.pid, path))


def _files(pid: int, path: str) -> tuple[OpenFile, ...]:
    files = []
    for descriptor, link in proc.links(pid).items():
        if link.startswith(path):
            suffix = link[len(path) :]
            is_deleted = suffix.endswith(_DELETED)
            suffix = suffix.removesuffix(_DELETED)
            if suffix in ("", "-wal", "-shm") or suffix.startswith("-bells/"):
                files.append(OpenFile(descriptor, suffix, is_deleted))
    return tuple(files)


def check_processes(path: str, users: Sequence[User]) -> Check | None:
    """Look at the processes that have the bus open; None where there is none, and this one is well."""
    findings = [*_of_stopped(path, users), *_of_old_files(path, users), *_of_descriptors(users)]
    if not users and not findings:
        return None
    count = len(users)
    return conclude("processes", findings, f"{count} use{'s' if count == 1 else ''} the bus")


def _of_stopped(path: str, users: Sequence[User]) -> Iterator[Finding]:
    writers = locks.writers(path)
    for user in users:
        if not proc.is_stopped(user.pid):
            continue
        waits = sorted({unquote(bell.suffix.split("/")[1]) for bell in user.bells()})
        parts = [f"waits at {', '.join(waits)}"] if waits else []
        if user.pid in writers:
            parts.append("holds the lock of the writer")
        does = f"; it {' and '.join(parts)}" if parts else ""
        yield Finding(
            "warn",
            f"{user.words} is stopped{does}",
            f"`kill -CONT {user.pid}` lets it go on, `kill -KILL {user.pid}` ends it: what it had claimed comes back",
        )


def _of_old_files(path: str, users: Sequence[User]) -> Iterator[Finding]:
    """Find those who have a file open that was deleted, replaced or moved away, and are not just closing it."""
    suspects = [user for user in users if _is_apart(user)]
    if suspects:
        time.sleep(_SECOND_LOOK_S)
    for user in suspects:
        if _is_apart(again(user, path)):
            yield Finding(
                "warn",
                f"{user.words} has a file of the bus open that was deleted, moved or replaced: "
                "what it writes is in no other's sight",
                f"restart pid {user.pid}; raven's own clients notice at their next call or tick, others never do",
            )


def _is_apart(user: User) -> bool:
    files = [file for file in user.files if not file.suffix.startswith("-bells/")]
    return any(file.is_deleted for file in files) or bool(files and not user.has(""))


def _of_descriptors(users: Sequence[User]) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEWEST:
        found = f"this shell's programs may have {soft} files open"
        yield Finding("warn", found, "raise the limit with `ulimit -n 1024`")
    for user in users:
        limit, count = proc.limit(user.pid, "Max open files"), proc.count_descriptors(user.pid)
        if limit is not None and limit - count <= max(limit // _LEFT, _TO_OPEN):
            yield Finding(
                "warn",
                f"{user.words} has {count} of {limit} files open",
                f"raise its limit (`prlimit --pid {user.pid} --nofile={4 * limit}:`), or close what it does not need",
            )
