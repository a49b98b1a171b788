"""Subscribers: whether they answer their doorbells, and whether one of them is the WAL watcher."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from raven.doctor.doorbells import DoorbellInfo, list_doorbells
from raven.doctor.linux import locks, proc
from raven.doctor.linux.processes import BusProcess, reload
from raven.doctor.readonly_store import ReadOnlyStore
from raven.doctor.report import Check, Finding, listed, summarize
from raven.model import clock
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.watcher import LOCK_NAME

# A subscriber that works on a message does not drain its doorbell: only an older ring is a problem.
_ANSWER_TIMEOUT_S = 60.0
_RECHECK_S = 0.3
# Another process takes over the WAL watch within a tick of 1 s.
_ELECTION_TIMEOUT_S = 1.5
_POLL_S = 0.05
_SAMPLE_SIZE = 2000
_AFTER_ALL = (1 << 63) - 1


def check_subscribers(
    store: ReadOnlyStore, doorbells: Doorbells, infos: Sequence[DoorbellInfo], processes: Sequence[BusProcess]
) -> Check | None:
    """Look for subscribers that wait and do not answer; returns None if there is no subscriber."""
    waiters = [info for info in infos if info.has_subscriber]
    lost = [process for process in processes if any(file.is_deleted for file in process.doorbells())]
    if not waiters and not lost:
        return None
    findings = [*_deleted_doorbells(lost, store.path), *_unanswered_rings(store, doorbells, waiters)]
    count = len(waiters)
    return summarize(
        "subscribers", findings, f"{count} wait{'s' if count == 1 else ''} and answer{'s' if count == 1 else ''}"
    )


def check_watch(path: str, infos: Sequence[DoorbellInfo], processes: Sequence[BusProcess]) -> Check | None:
    """Look for the WAL watcher; returns None without a subscriber or without /proc."""
    if not proc.is_available() or not any(info.has_subscriber for info in infos):
        return None
    pids = _elected(path, processes)
    if not pids and all(_is_session(info.pid) for info in infos if info.has_subscriber):
        return Check("watch", "ok", "the sessions of agents look for external writes every second")
    deadline = time.monotonic() + _ELECTION_TIMEOUT_S
    while not pids and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        pids = _elected(path, processes)
        if not pids and not any(info.has_subscriber for info in list_doorbells(f"{path}-bells")):
            return None
    if not pids:
        return _unwatched(path)
    stopped = [pid for pid in sorted(pids) if proc.is_stopped(pid)]
    if stopped:
        problem = f"{proc.describe(stopped[0])} watches the WAL for external writers, and is stopped"
        return Check("watch", "warn", problem, f"`kill -CONT {stopped[0]}`, or end it with `kill -KILL {stopped[0]}`")
    words = listed([proc.describe(pid) for pid in sorted(pids)])
    return Check("watch", "ok", f"{words} watches the WAL for external writers")


def _unwatched(path: str) -> Check:
    if locks.is_held(path):
        return Check("watch", "ok", "a process that is not visible from here watches the WAL for external writers")
    return Check(
        "watch",
        "warn",
        "no process watches the WAL: external writes are noticed only every poll_interval_s",
        "continue or restart a subscriber: one that is not stopped takes over within a second",
    )


def _is_session(pid: int) -> bool:
    """Whether a process is the server of an agent's session, or a hook of it: neither watches the WAL."""
    return proc.describe(pid).endswith(("raven mcp)", "raven hook)"))


def _deleted_doorbells(lost: Sequence[BusProcess], path: str) -> Iterator[Finding]:
    if lost:
        # A doorbell that is just being removed is gone at the second check.
        time.sleep(_RECHECK_S)
    for process in lost:
        if any(file.is_deleted for file in reload(process, path).doorbells()):
            yield Finding(
                "warn",
                f"{process.label} waits at a doorbell that was deleted",
                f"it creates another within a second; else restart pid {process.pid}",
            )


def _unanswered_rings(store: ReadOnlyStore, doorbells: Doorbells, waiters: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    """Find doorbells with unread rings and old mail, at addresses that have consumed no message for long.

    A busy consumer does not drain its doorbell. Its recent work shows as a lease, or in a sample of deliveries: the
    newest ones, and the ones before the oldest ready delivery.
    """
    notified = {info.path: info for info in waiters if info.unread_rings and not info.address.startswith(ALL_TRAFFIC)}
    if not notified:
        return
    now = clock.now()
    threshold = now - clock.to_micros(_ANSWER_TIMEOUT_S)
    neglected = {}
    folders = {info.folder for info in notified.values()}
    for recipient, ready, _, leased, _, oldest, sent_at, _ in store.rows("unacked_by_recipient", {"now": now}):
        folder = doorbells.folder_for(recipient)
        is_old = folder in folders and ready and not leased and sent_at < threshold
        if is_old and not _consumed_since(store, recipient, threshold, oldest):
            neglected[folder] = (recipient, ready, (now - sent_at) / 1e6)
    if not neglected:
        return
    time.sleep(_RECHECK_S)
    for info in list_doorbells(doorbells.folder):
        before = notified.get(info.path)
        if before is None or info.unread_rings < before.unread_rings or info.folder not in neglected:
            continue
        recipient, ready, age_s = neglected[info.folder]
        how = "is full" if info.is_full else f"rang {info.unread_rings} times"
        yield Finding(
            "warn",
            f"{proc.describe(info.pid)} waits at {recipient} and does not answer: its doorbell {how}, "
            f"{ready} ready, oldest {age_s:.0f} s",
            f"it is busy with a message, or stuck: examine it, or end it with `kill {info.pid}`",
        )


def _consumed_since(store: ReadOnlyStore, recipient: str, moment: int, oldest: int) -> bool:
    """Whether a consumer has taken mail of a recipient since then, as far as a few samples show."""
    return any(
        whose == recipient and max(delivered_at or 0, acked_at or 0) > moment
        for before in (_AFTER_ALL, oldest)
        for _, whose, _, delivered_at, acked_at in store.rows("sample_before", {"before": before, "max": _SAMPLE_SIZE})
    )


def _elected(path: str, processes: Sequence[BusProcess]) -> set[int]:
    """Return the processes that hold the WAL watcher's lock, also on a deleted lock file."""
    suffix = f"-bells/{LOCK_NAME}"
    held = {process.pid for process in processes for file in process.files if file.suffix == suffix and file.is_deleted}
    return locks.holders(path) | {pid for pid in held if os.path.exists(f"/proc/{pid}")}
