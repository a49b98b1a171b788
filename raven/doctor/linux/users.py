"""Users: the processes that have the files of a bus open, as far as this user may see them."""

from __future__ import annotations

import os
from typing import NamedTuple

from raven.doctor.linux import proc
from raven.wake.watcher import LOCK_NAME

_DELETED = " (deleted)"


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
