"""Processes: one that runs, told apart from a later one that has the same number."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

_HAS_PROC = os.path.exists("/proc/self/stat")
# Fields of /proc/<pid>/stat after the name of the program, which ends with a parenthesis; see proc_pid_stat(5).
_STATE, _STARTED = 0, 19
_ENDED = ("Z", "X")
_PS_TIMEOUT_S = 2.0


class ProcessId(NamedTuple):
    """A process: its number, and its start in the unit of the system. On Linux these are ticks since the boot."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether this very process runs. One that has ended counts as gone, even if its parent has not noticed."""
        return of(self.pid) == self


def of(pid: int) -> ProcessId | None:
    """Return the process that has a number now; None if there is none, or if it has ended."""
    started = _start_in_proc(pid) if _HAS_PROC else _start_by_ps(pid)
    return None if started is None else ProcessId(pid, started)


def own() -> ProcessId:
    """Return this process."""
    return of(os.getpid()) or ProcessId(os.getpid(), 0)


def parent() -> ProcessId | None:
    """Return the parent of this process; None if it has ended."""
    return of(os.getppid())


@cache
def space() -> str:
    """Return the name of the space in which a number means one process: `<boot> <PID namespace>`.

    Empty on systems other than Linux, where the start of a process is a time of day.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_in_proc(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if len(fields) <= _STARTED or fields[_STATE].decode() in _ENDED else int(fields[_STARTED])


def _start_by_ps(pid: int) -> int | None:
    """Return the start of a process in seconds since 1970, as ps(1) shows it."""
    import calendar
    import subprocess
    import time

    command = ("ps", "-o", "state=", "-o", "lstart=", "-p", str(pid))
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    try:
        shown = subprocess.run(  # noqa: S603 no text of a user is in it
            command, capture_output=True, text=True, env=environment, timeout=_PS_TIMEOUT_S, check=False
        ).stdout
        state, *started = shown.split()
        return None if state[0] in _ENDED else calendar.timegm(time.strptime(" ".join(started), "%a %b %d %H:%M:%S %Y"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
