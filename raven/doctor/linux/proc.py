"""Proc: processes and their locks, from proc(5); empty on other systems than Linux.

A process may end at any moment, and many belong to other users: unreadable entries are left out.
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
    """Whether the system has /proc."""
    return os.path.isdir("/proc/self/fd")


def pids() -> list[int]:
    """Return the visible processes."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def links(pid: int) -> dict[int, str]:
    """Return the targets of a process's descriptors; empty for a process of another user."""
    targets = {}
    for number in _descriptors(pid):
        with suppress(OSError):
            targets[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
    return targets


def count_descriptors(pid: int) -> int:
    """Return the number of open descriptors of a process."""
    return len(_descriptors(pid))


def count_watches(pid: int, descriptor: int) -> int:
    """Return the number of watches of a process's inotify instance."""
    return _read(f"/proc/{pid}/fdinfo/{descriptor}").count("inotify wd:")


def limit(pid: int, name: str) -> int | None:
    """Return a process's soft limit by its name in /proc (`Max open files`), or None if it is unknown."""
    for line in _read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(name):
            soft = line[len(name) :].split()[0]
            return int(soft) if soft.isdigit() else None
    return None


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process."""
    return _status(pid)[:1] in (["T"], ["t"])


def cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process in ticks, usually 100 per second."""
    fields = _status(pid)
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def describe(pid: int) -> str:
    """Return `pid N (program)`; arguments are hidden except the raven subcommand."""
    program = _program(arguments(pid)) or _read(f"/proc/{pid}/comm").strip()
    return f"pid {pid} ({program[:_MAX_PROGRAM]})" if program else f"pid {pid}"


def arguments(pid: int) -> list[str]:
    """Return the command line of a process."""
    return [word for word in _read(f"/proc/{pid}/cmdline").split("\0") if word]


def locks() -> list[Lock]:
    """Return the file locks that processes hold; waiting processes are left out."""
    return list(_parse_locks(_read("/proc/locks")))


def setting(name: str) -> int | None:
    """Return a kernel setting by its sysctl(8) name."""
    text = _read(f"/proc/sys/{name.replace('.', '/')}").strip()
    return int(text) if text.isdigit() else None


def _parse_locks(text: str) -> Iterator[Lock]:
    for line in text.splitlines():
        with suppress(ValueError):
            # `1: POSIX ADVISORY WRITE 708 08:01:2753 128 128`, with `->` after the number for a waiting process.
            _, kind, _, mode, pid, file, first, last = line.split()
            major, minor, inode = file.split(":")
            device = f"{int(major, 16)}:{int(minor, 16)}"
            end = float("inf") if last == "EOF" else int(last)
            yield Lock(kind, mode == "WRITE", int(pid), device, int(inode), int(first), end)


def _program(words: list[str]) -> str:
    """Return the part of a command line that names the program."""
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
    """Return a process's fields from its state on: the name before them may contain any character."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
