"""Processes: those that use the bus: which are stopped, which hold a file that is no longer it, which run short."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from raven.doctor.linux import locks, proc
from raven.doctor.linux.users import User, again
from raven.doctor.report import Check, Finding, conclude

_SECOND_LOOK_S = 0.2
# Nearly reached: a tenth is left, or less than it takes to open the bus.
_LEFT = 10
_TO_OPEN = 4
_FEWEST = 64


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
