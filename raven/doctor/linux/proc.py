"""Proc: what the system tells of processes and of their locks, see proc(5); elsewhere than on Linux it tells nothing.

All of it may be gone in the next moment, and much belongs to others: what cannot be read is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_MAX_PROGRAM = 60


class Lock(NamedTuple):
    """One lock that a process holds, from byte to byte of a file; the kind is POSIX or FLOCK."""

    kind: str
    is_write: bool
    pid: int
    device: str
    inode: int
    first: int
    last: float


def is_available() -> bool:
    """Whether there is anything to be told here."""
    return os.path.isdir("/proc/self/fd")


def pids() -> list[int]:
    """Return the processes that can be seen."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def links(pid: int) -> dict[int, str]:
    """Return what the descriptors of a process lead to; of a process of another user nothing."""
    targets = {}
    for number in _descriptors(pid):
        with suppress(OSError):
            targets[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
    return targets


def count_descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(_descriptors(pid))


def count_watches(pid: int, descriptor: int) -> int:
    """Return how many watches an inotify instance of a process has."""
    return _read(f"/proc/{pid}/fdinfo/{descriptor}").count("inotify wd:")


def limit(pid: int, name: str) -> int | None:
    """Return a soft limit of a process by its name there (`Max open files`); None where none is told."""
    for line in _read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return int(soft) if soft.isdigit() else None
    return None


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by a signal or by a debugger."""
    return _status(pid)[:1] in (["T"], ["t"])


def cpu_ticks(pid: int) -> int:
    """Return how much a process has computed, in ticks of which there are mostly 100 a second."""
    fields = _status(pid)
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def describe(pid: int) -> str:
    """Name a process by its number and its program; of what that was told no more than which command it is."""
    program = _program(arguments(pid)) or _read(f"/proc/{pid}/comm").strip()
    return f"pid {pid} ({program[:_MAX_PROGRAM]})" if program else f"pid {pid}"


def arguments(pid: int) -> list[str]:
    """Return the command line of a process."""
    return [word for word in _read(f"/proc/{pid}/cmdline").split("\0") if word]


def locks() -> list[Lock]:
    """Return the locks on files that processes hold; who waits for one is left out."""
    return list(_parse_locks(_read("/proc/locks")))


def setting(name: str) -> int | None:
    """Return a setting of the kernel by its name in sysctl(8)."""
    text = _read(f"/proc/sys/{name.replace('.', '/')}").strip()
    return int(text) if text.isdigit() else None


def _parse_locks(text: str) -> Iterator[Lock]:
    for line in text.splitlines():
        with suppress(ValueError):
            # `1: POSIX ADVISORY WRITE 708 08:01:2753 128 128`, with `->` behind the number for one that waits.
            _, kind, _, mode, pid, file, first, last = line.split()
            major, minor, inode = file.split(":")
            device = f"{int(major, 16)}:{int(minor, 16)}"
            end = float("inf") if last == "EOF" else int(last)
            yield Lock(kind, mode == "WRITE", int(pid), device, int(inode), int(first), end)


def _program(words: list[str]) -> str:
    """Return the part of a command line that says which program it is."""
    shown = [os.path.basename(words[0])] if words else []
    rest = iter(words[1:])
    for word in rest:
        if word == "-c":
            break
        if word == "-m":
            shown += [word, next(rest, "")]
        elif word.startswith("-"):
            continue
        else:
            shown.append(os.path.basename(word))
        if shown[-1] == "raven":
            shown.append(next(rest, ""))
        break
    return " ".join(shown).strip()


def _descriptors(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


def _status(pid: int) -> list[str]:
    """Return the fields of a process from its state on: before it stands a name that may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
