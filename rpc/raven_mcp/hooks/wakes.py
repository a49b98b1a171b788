"""Wakes: how often the hooks of a session made its agent go on, so that neither a flood nor a loop of agents does.

A server counts in its memory. Hooks of commands are processes of their own, so they count in a file beside the bus.
"""

from __future__ import annotations

import os
from contextlib import suppress

from raven.files.ownership import open_lock
from raven.model import clock
from raven_mcp.session import own_files
from raven_mcp.session.announced import flags_folder
from raven_mcp.session.brakes import MAX_CONTINUES, MAX_WAKES

_HOUR_US = clock.to_micros(3600)
_SUFFIX = ".wakes"
_MAX_BYTES = 1 << 16
_FIRST, _AGAIN = b"first", b"again"


class Wakes:
    """The wakes of one session within the last hour."""

    def __init__(self, db_path: str, native_id: str) -> None:
        self._folder = flags_folder(db_path)
        self._path = f"{self._folder}/{native_id}{_SUFFIX}"

    def may_wake(self, *, again: bool) -> bool:
        """Whether the agent may go on once more; `again` says that it does so already in this turn."""
        recent = self._recent()
        in_a_turn = 1
        for word, _ in reversed(recent):
            if word == _FIRST:
                break
            in_a_turn += 1
        return len(recent) < MAX_WAKES and (not again or in_a_turn < MAX_CONTINUES)

    def woke(self, *, again: bool) -> None:
        """Count a wake."""
        lines = [*self._recent(), (_AGAIN if again else _FIRST, clock.now())][-MAX_WAKES:]
        content = b"".join(b"%s %d\n" % line for line in lines)
        with suppress(OSError):
            own_files.make_folder(self._folder)
            descriptor = open_lock(self._path)
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, content, 0)
            finally:
                os.close(descriptor)

    def forget(self) -> None:
        """Remove the file: the session has ended."""
        with suppress(OSError):
            own_files.remove(self._path)

    def _recent(self) -> list[tuple[bytes, int]]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            words = [line.split() for line in os.read(descriptor, _MAX_BYTES).splitlines()]
        except OSError:
            return []
        finally:
            os.close(descriptor)
        since = clock.now() - _HOUR_US
        lines = [(word[0], int(word[1])) for word in words if len(word) == 2 and word[1].isdigit()]
        return [(word, at) for word, at in lines if at > since]
