"""Processes that have the bus's files open: stopped ones, stale files, and full descriptor tables."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from raven.doctor.linux import locks, proc
from raven.doctor.report import Check, Finding, summarize
from raven.wake.watcher import LOCK_NAME

_DELETED = " (deleted)"
_RECHECK_S = 0.2
# A limit is nearly reached if a tenth of it is left, or fewer descriptors than opening the bus takes.
_LEFT = 10
_TO_OPEN = 4
_FEWEST = 64


class OpenFile(NamedTuple):
    """A file of the bus that a process has open; `suffix` follows the bus's own name (`-wal`, `-bells/...`, '')."""

    descriptor: int
    suffix: str
    is_deleted: bool


class BusProcess(NamedTuple):
    """A process that has files of the bus open."""

    pid: int
    files: tuple[OpenFile, ...]

    @property
    def label(self) -> str:
        """The pid and program of the process."""
        return proc.describe(self.pid)

    def has(self, suffix: str) -> bool:
        """Whether the process has the file with this suffix open, deleted or not."""
        return any(file.suffix == suffix for file in self.files)

    def doorbells(self) -> list[OpenFile]:
        """Return the process's own doorbells; it opens others only to ring them."""
        lock = f"-bells/{LOCK_NAME}"
        return [file for file in self.files if file.suffix.startswith("-bells/") and file.suffix != lock]


def list_processes(path: str) -> list[BusProcess]:
    """Return the other processes that have files of the bus at `path` open."""
    candidates = [BusProcess(pid, _files(pid, path)) for pid in proc.pids() if pid != os.getpid()]
    return [process for process in candidates if process.files]


def reload(process: BusProcess, path: str) -> BusProcess:
    """Read the open files of a process again."""
    return BusProcess(process.pid, _files(process.pid, path))


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


def check_processes(path: str, processes: Sequence[BusProcess]) -> Check | None:
    """Check the processes that have the bus open; returns None if no process has it open and this one is fine."""
    findings = [*_stopped_processes(path, processes), *_stale_files(path, processes), *_low_descriptors(processes)]
    if not processes and not findings:
        return None
    count = len(processes)
    return summarize("processes", findings, f"{count} use{'s' if count == 1 else ''} the bus")


def _stopped_processes(path: str, processes: Sequence[BusProcess]) -> Iterator[Finding]:
    writers = locks.writers(path)
    for process in processes:
        if not proc.is_stopped(process.pid):
            continue
        waits = sorted({unquote(doorbell.suffix.split("/")[1]) for doorbell in process.doorbells()})
        parts = [f"waits at {', '.join(waits)}"] if waits else []
        if process.pid in writers:
            parts.append("holds the writer's lock")
        does = f"; it {' and '.join(parts)}" if parts else ""
        yield Finding(
            "warn",
            f"{process.label} is stopped{does}",
            f"`kill -CONT {process.pid}` continues it; `kill -KILL {process.pid}` ends it, and its leases expire",
        )


def _stale_files(path: str, processes: Sequence[BusProcess]) -> Iterator[Finding]:
    """Find processes with an open file that was deleted, replaced or moved, unless they are just closing it."""
    suspects = [process for process in processes if _has_stale_file(process)]
    if suspects:
        time.sleep(_RECHECK_S)
    for process in suspects:
        if _has_stale_file(reload(process, path)):
            yield Finding(
                "warn",
                f"{process.label} has a file of the bus open that was deleted, moved or replaced: "
                "no other process sees its writes",
                f"restart pid {process.pid}; raven's clients notice this at their next call or tick, others never do",
            )


def _has_stale_file(process: BusProcess) -> bool:
    files = [file for file in process.files if not file.suffix.startswith("-bells/")]
    return any(file.is_deleted for file in files) or bool(files and not process.has(""))


def _low_descriptors(processes: Sequence[BusProcess]) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEWEST:
        problem = f"this shell's programs may have {soft} files open"
        yield Finding("warn", problem, "raise the limit with `ulimit -n 1024`")
    for process in processes:
        limit, count = proc.limit(process.pid, "Max open files"), proc.count_descriptors(process.pid)
        if limit is not None and limit - count <= max(limit // _LEFT, _TO_OPEN):
            yield Finding(
                "warn",
                f"{process.label} has {count} of {limit} files open",
                f"raise its limit (`prlimit --pid {process.pid} --nofile={4 * limit}:`), or close unneeded files",
            )
