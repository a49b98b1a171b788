"""Subscribers: do those who wait hear what comes for them, and does one of them watch for writers that do not ring."""

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

# Whoever works on a message does not listen meanwhile: only then is a ring unanswered for too long.
_ANSWER_TIMEOUT_S = 60.0
_RECHECK_S = 0.3
# Within a tick of 1 s another takes over the watch.
_ELECTION_TIMEOUT_S = 1.5
_POLL_S = 0.05
_SAMPLE_SIZE = 2000
_AFTER_ALL = (1 << 63) - 1


def check_subscribers(
    store: ReadOnlyStore, doorbells: Doorbells, infos: Sequence[DoorbellInfo], processes: Sequence[BusProcess]
) -> Check | None:
    """Look for those who wait and do not hear; None where nobody waits."""
    waiters = [bell for bell in infos if bell.has_reader]
    lost = [process for process in processes if any(file.is_deleted for file in process.doorbells())]
    if not waiters and not lost:
        return None
    findings = [*_deleted_doorbells(lost, store.path), *_unanswered_rings(store, doorbells, waiters)]
    count = len(waiters)
    return summarize("subscribers", findings, f"{count} wait{'s' if count == 1 else ''}, and answer")


def check_watch(path: str, infos: Sequence[DoorbellInfo], processes: Sequence[BusProcess]) -> Check | None:
    """Look for the process that watches for writers that do not ring; None where nobody waits, or it cannot be told."""
    if not proc.is_available() or not any(bell.has_reader for bell in infos):
        return None
    pids = _elected(path, processes)
    deadline = time.monotonic() + _ELECTION_TIMEOUT_S
    while not pids and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        pids = _elected(path, processes)
        if not pids and not any(bell.has_reader for bell in list_doorbells(f"{path}-bells")):
            return None
    if not pids and locks.is_elected(path):
        return Check("watch", "ok", "a process that cannot be seen from here watches for writers that do not ring")
    if not pids:
        return Check(
            "watch",
            "warn",
            "nobody watches for writers that do not ring: those are heard only at the next poll_interval_s",
            "restart a subscriber, or give one a shorter poll_interval_s: at its next look it takes over",
        )
    stopped = [pid for pid in sorted(pids) if proc.is_stopped(pid)]
    if stopped:
        problem = f"{proc.describe(stopped[0])} watches for writers that do not ring, and is stopped"
        return Check("watch", "warn", problem, f"`kill -CONT {stopped[0]}`, or end it with `kill -KILL {stopped[0]}`")
    words = listed([proc.describe(pid) for pid in sorted(pids)])
    return Check("watch", "ok", f"{words} watches for writers that do not ring")


def _deleted_doorbells(lost: Sequence[BusProcess], path: str) -> Iterator[Finding]:
    if lost:
        # One that is just being taken down is gone with the next look.
        time.sleep(_RECHECK_S)
    for process in lost:
        if any(file.is_deleted for file in reload(process, path).doorbells()):
            yield Finding(
                "warn",
                f"{process.label} waits at a doorbell that was deleted",
                f"it hangs another within its poll_interval_s; else restart pid {process.pid}",
            )


def _unanswered_rings(store: ReadOnlyStore, doorbells: Doorbells, waiters: Sequence[DoorbellInfo]) -> Iterator[Finding]:
    """Find bells that ring while mail of theirs is old, and nobody at that address has taken any for long.

    Who is busy does not listen: what was taken lately shows among the newest deliveries, before the oldest that is
    ready, or is still under its lease.
    """
    notified = {bell.path: bell for bell in waiters if bell.unread_rings and not bell.address.startswith(ALL_TRAFFIC)}
    if not notified:
        return
    now = clock.now()
    threshold = now - clock.to_micros(_ANSWER_TIMEOUT_S)
    neglected = {}
    folders = {bell.folder for bell in notified.values()}
    for recipient, ready, _, leased, _, oldest, sent_at in store.rows("unacked_by_recipient", {"now": now}):
        folder = doorbells.folder_for(recipient)
        is_old = folder in folders and ready and not leased and sent_at < threshold
        if is_old and not _consumed_since(store, recipient, threshold, oldest):
            neglected[folder] = (recipient, ready, (now - sent_at) / 1e6)
    if not neglected:
        return
    time.sleep(_RECHECK_S)
    for bell in list_doorbells(doorbells.folder):
        before = notified.get(bell.path)
        if before is None or bell.unread_rings < before.unread_rings or bell.folder not in neglected:
            continue
        recipient, ready, age_s = neglected[bell.folder]
        how = "is full" if bell.is_full else f"rang {bell.unread_rings} times"
        yield Finding(
            "warn",
            f"{proc.describe(bell.pid)} waits at {recipient} and does not answer: its doorbell {how}, "
            f"{ready} ready, oldest {age_s:.0f} s",
            f"it is busy with a message, or stuck: look what it does, or end it with `kill {bell.pid}`",
        )


def _consumed_since(store: ReadOnlyStore, recipient: str, moment: int, oldest: int) -> bool:
    """Whether somebody has taken mail of a recipient since, as far as a few samples tell."""
    return any(
        whose == recipient and max(delivered_at or 0, acked_at or 0) > moment
        for before in (_AFTER_ALL, oldest)
        for _, whose, _, delivered_at, acked_at in store.rows("sample_before", {"before": before, "max": _SAMPLE_SIZE})
    )


def _elected(path: str, processes: Sequence[BusProcess]) -> set[int]:
    """Return who has the lock of the watch, be it on a lock file that was deleted since."""
    suffix = f"-bells/{LOCK_NAME}"
    held = {process.pid for process in processes for file in process.files if file.suffix == suffix and file.is_deleted}
    return locks.elected(path) | {pid for pid in held if os.path.exists(f"/proc/{pid}")}
