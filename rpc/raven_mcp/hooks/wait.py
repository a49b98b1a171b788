"""Wait: a hook that ends late, and so wakes an idle session whose host has no other way in.

Claude Code runs `raven hook wait` in the background after a turn (`asyncRewake`): exit code 2 wakes the session. Per
session one of them waits; a later one replaces it.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from raven.agents.process import ProcessId
from raven.errors import DatabaseError, InputError
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.fifo import Doorbell, identity_at
from raven_mcp.hooks.reader import Reader, SessionMail
from raven_mcp.hooks.wakes import Wakes
from raven_mcp.session import notice, own_files
from raven_mcp.session.announced import Announced, flags_folder

TICK_S = 1.0
# Mail can come without a ring: of a writer that rings no doorbell, or after a delay.
_POLL_S = 5.0
# The doorbell of all traffic rings for each message of the bus.
_MIN_PAUSE_S = 0.1
# The messages of one burst make one notice.
_BURST_S = 0.25


def wait_for_mail(db: str, host: str, session: str | None) -> str | None:
    """Return the notice of the next mail that may wake the session.

    Returns None if the session ends first, if it has another wait, or after a signal. Raises InputError if no server
    has bound the session.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        return _wait(db, host, session)
    return None


def _wait(db: str, host: str, session: str | None) -> str | None:
    parent = os.getppid()
    reader = Reader(db, host, session)
    found = reader.look()
    if found is None:
        raise InputError(
            f"session {session or 'without a name'} of {host} has no `raven mcp`: there is nothing to wait for"
        )
    with _Turn(db, found.native_id) as turn, _AllTraffic(db) as doorbell:
        while turn.is_own() and os.getppid() == parent:
            with suppress(DatabaseError):  # it is locked, or being replaced: look again
                found = reader.look()
                if found is None or not _is_alive(found):
                    return None
                text = _notice(db, found, reader)
                if text:
                    return text
            looked_at = time.monotonic()
            while not doorbell.wait(TICK_S) and time.monotonic() < looked_at + _POLL_S:
                if not turn.is_own() or os.getppid() != parent:
                    return None
            time.sleep(max(0.0, looked_at + _MIN_PAUSE_S - time.monotonic()))
    return None


def _is_alive(session: SessionMail) -> bool:
    return session.pid is not None and ProcessId(session.pid, session.started or 0).is_alive()


def _notice(db: str, session: SessionMail, reader: Reader) -> str | None:
    """Return the notice of the mail that may wake the agent and of which it has not heard; None if there is none."""
    announced, wakes = Announced(db, session.native_id), Wakes(db, session.native_id)
    if not _due(session, announced) or not wakes.may_wake(again=False):
        return None
    time.sleep(_BURST_S)
    due = _due(reader.look() or session, announced)
    new = set(announced.claim((mail.id for mail in due), lasting=True))
    if not new:
        return None
    wakes.woke(again=False)
    return notice.compose([mail for mail in due if mail.id in new])


def _due(session: SessionMail, announced: Announced) -> list[notice.Waiting]:
    heard = announced.ids()
    return [mail for mail in session.mail if mail.id not in heard and notice.is_due("idle", mail.urgency)]


class _AllTraffic:
    """The doorbell that every send rings, if one can be made here; it takes no ring from a subscriber."""

    def __init__(self, db: str) -> None:
        self._doorbells = Doorbells(db)
        self._doorbell: Doorbell | None = None

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._doorbell = self._doorbells.create(ALL_TRAFFIC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._doorbell is not None:
            self._doorbell.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, and return whether one came; a doorbell that was removed is made again."""
        if self._doorbell is None:
            time.sleep(timeout_s)
            return False
        with suppress(OSError):
            if self._doorbell.recreate():
                return True
        return self._doorbell.wait(timeout_s)


class _Turn:
    """The session's one wait: the file of the last one is at the path.

    Each keeps its file open: otherwise the file of a later one could get the same inode, and look like its own.
    """

    def __init__(self, db: str, native_id: str) -> None:
        self._folder = flags_folder(db)
        self._path = f"{self._folder}/{native_id}.waiting"
        self._identity = (-1, -1)
        self._descriptor = -1

    def __enter__(self) -> Self:
        temporary = f"{self._path}.{os.getpid()}"
        own_files.make_folder(self._folder)
        self._descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        self._identity = identity_at(temporary)
        os.rename(temporary, self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_own():
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self._descriptor)

    def is_own(self) -> bool:
        """Whether no later wait of the session has come."""
        try:
            return identity_at(self._path) == self._identity
        except OSError:
            return False
