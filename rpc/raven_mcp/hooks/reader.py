"""Reader: a session's address and the mail that waits for it, by one read of the bus."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from raven.agents.glance import Glance, Sight
from raven_mcp.session.notice import Waiting

# A look that finds the file locked waits so long: a hook ends within two seconds whatever happens.
BUSY_TIMEOUT_S = 0.5
# Hosts whose servers are not told the session: a session is found by the process that server and hook are children of.
_FOUND_BY_PROCESS = ("gemini", "cursor", "opencode")
# The fields of /proc/<pid>/stat after the program's name; see proc_pid_stat(5).
_PARENT = 1
# Between a host and its hook can be a shell, or between it and its server a wrapper. With both, the process in common
# could be the terminal's shell, from which other hosts come as well.
_TOO_FAR = 2


class SessionMail(NamedTuple):
    """A session as the bus has it, and the mail to announce to it; `pid` is None after the session's end."""

    native_id: str
    address: str
    pid: int | None
    started: int | None
    mail: list[Waiting]


class Reader:
    """Looks for the mail of one session; each look opens the bus anew."""

    def __init__(self, db: str, host: str, session: str | None) -> None:
        self._glance = Glance(db, BUSY_TIMEOUT_S)
        self._host = host
        self._session = session

    def look(self) -> SessionMail | None:
        """Return the session with its mail; None if the bus does not know the session. Raises a DatabaseError."""
        rows = self._glance.look(self._host, self._session) if self._session else []
        if not rows and self._host in _FOUND_BY_PROCESS:
            rows = _of_same_process(self._glance.look(self._host, None))
        if not rows:
            return None
        first = rows[0]
        return SessionMail(first.native_id, first.address, first.pid, first.started, list(_mail(rows)))


def _mail(rows: Iterable[Sight]) -> Iterable[Waiting]:
    for row in rows:
        if row.message_id is not None:
            yield Waiting(row.message_id, row.sender or "", row.type or "", row.urgency or 0, 0)


def _of_same_process(rows: list[Sight]) -> list[Sight]:
    """Return the rows of the session whose server comes from the same host process as this hook; none of two alike."""
    own = _ancestors(os.getpid())
    distances = {pid: _distance(own, _ancestors(pid)) for pid in {row.pid for row in rows} if pid is not None}
    nearest = min(distances.values(), default=_TOO_FAR)
    pids = [pid for pid, distance in distances.items() if distance == nearest < _TOO_FAR]
    return [row for row in rows if row.pid in pids] if len(pids) == 1 else []


def _distance(own: list[int], other: list[int]) -> int:
    """Return over how many processes two are related."""
    return min((own.index(pid) + other.index(pid) for pid in own if pid in other), default=_TOO_FAR)


def _ancestors(pid: int) -> list[int]:
    """Return the parent and the grandparent of a process; none of them is the system's first process."""
    ancestors: list[int] = []
    while len(ancestors) < 2 and (pid := _parent_of(pid)) > 1:
        ancestors.append(pid)
    return ancestors


def _parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if that cannot be known."""
    if pid == os.getpid():
        return os.getppid()
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[_PARENT])
    except (OSError, ValueError, IndexError):
        return 0
