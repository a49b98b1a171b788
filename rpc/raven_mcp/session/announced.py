"""Announced: the messages that a session was told of, in a small file that its server and its hooks share.

The server and each hook of a command are processes of their own, and each message is announced once in a session. The
file has an id in each line; a lock on it makes two of them agree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from raven.errors import InputError, abbreviate
from raven.files.ownership import lock_within, open_lock
from raven.wake.fifo import SESSIONS
from raven_mcp.session import own_files

_SUFFIX = ".announced"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_MAX_NATIVE_ID = 128
# A longer file keeps the ids of the newest messages only; older mail that still waits is announced again.
_MAX_BYTES = 1 << 16
_KEPT = 1000
# A stopped process that holds the lock delays no session for longer.
_LOCK_TIMEOUT_S = 0.1


def is_native_id(value: object) -> bool:
    """Whether a host's name for a session can be the name of a file: 1 to 128 letters, digits, `_` and `-`."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NATIVE_ID and _ID_CHARACTERS.issuperset(value)


def flags_folder(db_path: str) -> str:
    """Return the folder of the sessions' files beside a bus."""
    return f"{db_path}-bells/{SESSIONS}"


class Announced:
    """The ids of the messages that one session was told of.

    If the file cannot be written, this object still remembers its own.
    """

    def __init__(self, db_path: str, native_id: str) -> None:
        if not is_native_id(native_id):
            raise InputError(f"the session {abbreviate(native_id)} must be 1 to 128 letters, digits, '_' and '-'")
        self._folder = flags_folder(db_path)
        self._path = f"{self._folder}/{native_id}{_SUFFIX}"
        self._own: set[int] = set()

    def ids(self) -> set[int]:
        """Return the ids so far, of all processes of the session."""
        with suppress(OSError), open(self._path, "rb", opener=_open_regular) as file:
            return self._own | _parse(file.read(2 * _MAX_BYTES))
        return set(self._own)

    def claim(self, ids: Iterable[int], *, lasting: bool = False) -> list[int]:
        """Record messages as announced, and return the new ones among them, which no process has announced before.

        With `lasting`, it returns none if the file cannot be written: the next process would tell of them again.
        """
        wanted = list(ids)
        if not wanted:
            return []
        try:
            before = self._append(wanted)
        except OSError:
            if lasting:
                return []
            before = set()
        new = [one for one in wanted if one not in before and one not in self._own]
        self._own.update(new)
        return new

    def forget(self) -> None:
        """Let all messages be announced again: the agent's memory of them may be gone."""
        self._own.clear()
        with suppress(OSError):
            own_files.remove(self._path)

    def _append(self, ids: list[int]) -> set[int]:
        """Add ids to the file, and return its ids before; raises OSError if it cannot be written."""
        own_files.make_folder(self._folder)
        descriptor = open_lock(self._path)
        try:
            lock_within(descriptor, _LOCK_TIMEOUT_S)
            before = _parse(os.pread(descriptor, 2 * _MAX_BYTES, 0))
            new = [one for one in ids if one not in before]
            if os.fstat(descriptor).st_size > _MAX_BYTES:
                new = sorted(before.union(new))[-_KEPT:]
                os.ftruncate(descriptor, 0)
            if new:
                os.lseek(descriptor, 0, os.SEEK_END)
                os.write(descriptor, "".join(f"{one}\n" for one in new).encode("ascii"))
            return before
        finally:
            os.close(descriptor)


def _open_regular(path: str, flags: int) -> int:
    """Open a file for reading, without following a symlink and without waiting for the writer of a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _parse(content: bytes) -> set[int]:
    """Return the ids of the file's lines; a line that is no id is skipped."""
    return {int(line) for line in content.split(b"\n") if len(line) < 20 and line.isdigit()}
