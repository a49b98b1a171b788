"""Host: free disk space, inotify, and a clock that agrees with the times in the bus."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from raven.doctor import permissions
from raven.doctor.linux import proc
from raven.doctor.linux.processes import BusProcess
from raven.doctor.readonly_store import ReadOnlyStore
from raven.doctor.report import Check, Finding, listed, summarize
from raven.model import clock
from raven.wake import watcher

_MIB = 1024 * 1024
_LOW_DISK = 200 * _MIB
_DISK_FULL = 10 * _MIB
_LOW_INODES = 100
_TEST_SIZE = 100 * 1024
# A file size limit closer than this to the size of a file of the bus will soon be reached.
_NEAR_LIMIT = 32 * _MIB
_FREE_SPACE = "free some space; sends fail without it"
_RAISE_LIMIT = "raise the limit on file sizes (`ulimit -f unlimited`) where that program is started"

_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: "this user's quota is used up: free some space, or have it raised; sends fail without it",
    errno.EFBIG: _RAISE_LIMIT,
    errno.EMFILE: "close some files, or raise the limit (`ulimit -n`)",
}
_EVENT_TIMEOUT_S = 2.0
_INOTIFY_LINK = "anon_inode:inotify"
_MAX_SHOWN = 3
# Allows for writes during the check, and for a time server's stepwise corrections.
_TOLERANCE_S = 3.0
# The longest lease that a claim can request.
_MAX_LEASE_S = 86400
_START_OF_2020 = 1_577_836_800_000_000
_SET_CLOCK = "set the clock (`timedatectl`); leases, delays and expiry follow it, and nothing is lost by it"


def check_disk(path: str, processes: Sequence[BusProcess] = ()) -> Check:
    """Check the free space beside the bus at `path`, and try to write there."""
    folder = os.path.dirname(path)
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    findings = []
    if free < _LOW_DISK:
        problem = f"{free / _MIB:,.0f} MiB free"
        is_full = free < _DISK_FULL
        findings.append(
            Finding("fail", problem, _FREE_SPACE) if is_full else Finding("warn", problem, "free some space")
        )
    # A file system that does not count files reports 0 for both.
    if space.f_files and space.f_favail < _LOW_INODES:
        problem = f"{space.f_favail} of {space.f_files:,} inodes are free on the file system of {folder}"
        findings.append(Finding("fail" if not space.f_favail else "warn", problem, "remove some files, however small"))
    failure = _try_to_write(folder)
    if failure is not None:
        remedy = _REMEDIES.get(failure.errno or 0, "") or permissions.access_remedy(path)
        problem = f"{_TEST_SIZE // 1024} KiB cannot be written in {folder}: {failure.strerror}"
        findings.append(Finding("fail", problem, remedy))
    findings.extend(_near_size_limits(path, processes))
    return summarize("disk", findings, f"{free / _MIB:,.0f} MiB free")


def _try_to_write(folder: str) -> OSError | None:
    """Write a little into a temporary file; return the system's error, or None."""
    try:
        with tempfile.TemporaryFile(prefix=".raven-doctor-", dir=folder, buffering=0) as file:
            left = _TEST_SIZE
            while left > 0:
                left -= file.write(b"\0" * left)
            # Some file systems fail only at fsync.
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _near_size_limits(path: str, processes: Sequence[BusProcess]) -> Iterator[Finding]:
    """Find file size limits, of this process and the others, that a file of the bus has nearly reached."""
    size = max((_size(path + suffix) for suffix in ("", "-wal")), default=0)
    own, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = {"this shell": None if own == resource.RLIM_INFINITY else own}
    limits |= {process.label: proc.limit(process.pid, "Max file size") for process in processes}
    for whose, limit in limits.items():
        if limit is not None and limit < size + _NEAR_LIMIT:
            yield Finding(
                "warn",
                f"files of {whose} may have {limit / _MIB:.1f} MiB, and the largest of the bus has {size / _MIB:.1f}",
                _RAISE_LIMIT,
            )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def check_inotify(folder: str) -> Check:
    """Check whether a write in a new folder beside the bus is noticed, as external writes to the bus must be."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".raven-doctor-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        return Check(
            "inotify",
            "warn",
            f"not tried: no folder can be created in {folder} ({error.strerror})",
            "first solve the problems of `disk` and `file`",
        )
    started = time.monotonic()
    try:
        with temporary:
            noticed = watcher.probe(temporary.name, _EVENT_TIMEOUT_S)
    except OSError as error:
        return _check_exhausted(error)
    if not noticed:
        return Check(
            "inotify", "warn", "a write was not noticed: external writes may take 1 s to be noticed", "use a local disk"
        )
    return Check("inotify", "ok", f"a write was noticed after {(time.monotonic() - started) * 1000:.0f} ms")


def _check_exhausted(error: OSError) -> Check:
    """Name the exhausted limit, its value, and the processes that use most of it."""
    instances, watches = _inotify_usage()
    kind, held = ("watches", watches) if "watch limit" in str(error).lower() else ("instances", instances)
    limits = {name: proc.setting(name) for name in (f"fs.inotify.max_user_{kind}", f"user.max_inotify_{kind}")}
    known = {name: limit for name, limit in limits.items() if limit is not None}
    problem = f"no watch can be set ({error}): external writes are noticed within 100 ms instead"
    remedy = "end programs that watch many files"
    if known:
        # In a user namespace the second limit applies besides the first, see namespaces(7).
        tightest = min(known, key=lambda name: known[name])
        problem += f"; {tightest} is {known[tightest]}, and this user's programs use {sum(held.values())} {kind}"
        remedy = f"raise it (as root, `sysctl -w {tightest}={max(1024, 2 * known[tightest])}`), or {remedy}"
    largest = sorted(held, key=lambda pid: -held[pid])[:_MAX_SHOWN]
    if largest:
        problem += f", most of them {listed([f'{proc.describe(pid)}: {held[pid]}' for pid in largest])}"
    return Check("inotify", "warn", problem, remedy)


def _inotify_usage() -> tuple[dict[int, int], dict[int, int]]:
    """Return the number of inotify instances and of watches for each process of this user."""
    instances: dict[int, int] = {}
    watches: dict[int, int] = {}
    for pid in proc.pids():
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            own = [number for number, link in proc.links(pid).items() if link == _INOTIFY_LINK]
            if own:
                instances[pid] = len(own)
                watches[pid] = sum(proc.count_watches(pid, number) for number in own)
    return instances, watches


def check_clock(store: ReadOnlyStore) -> Check | None:
    """Compare the newest times in the bus with the clock; returns None if the bus has no times and the clock is set."""
    findings = []
    if clock.now() < _START_OF_2020:
        day = clock.isoformat(clock.from_micros(clock.now()))
        findings.append(Finding("warn", f"the clock says {day}: it was never set", _SET_CLOCK))
    *event_times, leased_until = store.rows("newest_timestamps")[0]
    now = clock.now()
    ahead_s = (max((moment or 0 for moment in event_times), default=0) - now) / 1e6
    if ahead_s > _TOLERANCE_S:
        problem = f"the newest entry is {ahead_s:,.0f} s in the future: the clock went back by that much"
        findings.append(Finding("warn", problem, _SET_CLOCK))
    lease_s = ((leased_until or 0) - now) / 1e6
    if lease_s > _MAX_LEASE_S + _TOLERANCE_S:
        problem = f"a lease ends in {lease_s:,.0f} s, and none is longer than {_MAX_LEASE_S:,}: the clock went back"
        findings.append(Finding("warn", problem, f"`raven nack` releases its delivery; {_SET_CLOCK}"))
    if not findings and not any(event_times):
        return None
    return summarize("clock", findings, "no entry of the bus is in the future")
