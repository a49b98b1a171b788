"""Subscribers: do those who wait hear what comes for them, and does one of them watch for writers that do not ring."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from raven.doctor.doorbells import HungBell, bells_of
from raven.doctor.linux import locks, proc
from raven.doctor.linux.processes import User, again
from raven.doctor.readonly_store import Specimen
from raven.doctor.report import Check, Finding, conclude, listed
from raven.model import clock
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.watcher import LOCK_NAME

# Whoever works on a message does not listen meanwhile: only then is a ring unanswered for too long.
_ANSWER_TIMEOUT_S = 60.0
_SECOND_LOOK_S = 0.3
# Within a tick of 1 s another takes over the watch.
_ELECTED_WITHIN_S = 1.5
_POLL_S = 0.05
_SAMPLE = 2000
_BEFORE_ALL = (1 << 63) - 1


def check_subscribers(
    store: Specimen, doorbells: Doorbells, hung: Sequence[HungBell], users: Sequence[User]
) -> Check | None:
    """Look for those who wait and do not hear; None where nobody waits."""
    waiting = [bell for bell in hung if bell.is_heard]
    lost = [user for user in users if any(file.is_deleted for file in user.bells())]
    if not waiting and not lost:
        return None
    findings = [*_of_lost_bells(lost, store.path), *_of_unanswered(store, doorbells, waiting)]
    count = len(waiting)
    return conclude("subscribers", findings, f"{count} wait{'s' if count == 1 else ''}, and answer")


def check_watch(path: str, hung: Sequence[HungBell], users: Sequence[User]) -> Check | None:
    """Look for the process that watches for writers that do not ring; None where nobody waits, or it cannot be told."""
    if not proc.is_there() or not any(bell.is_heard for bell in hung):
        return None
    pids = _elected(path, users)
    give_up_at = time.monotonic() + _ELECTED_WITHIN_S
    while not pids and time.monotonic() < give_up_at:
        time.sleep(_POLL_S)
        pids = _elected(path, users)
        if not pids and not any(bell.is_heard for bell in bells_of(f"{path}-bells")):
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
        found = f"{proc.describe(stopped[0])} watches for writers that do not ring, and is stopped"
        return Check("watch", "warn", found, f"`kill -CONT {stopped[0]}`, or end it with `kill -KILL {stopped[0]}`")
    words = listed([proc.describe(pid) for pid in sorted(pids)])
    return Check("watch", "ok", f"{words} watches for writers that do not ring")


def _of_lost_bells(lost: Sequence[User], path: str) -> Iterator[Finding]:
    if lost:
        # One that is just being taken down is gone with the next look.
        time.sleep(_SECOND_LOOK_S)
    for user in lost:
        if any(file.is_deleted for file in again(user, path).bells()):
            yield Finding(
                "warn",
                f"{user.words} waits at a doorbell that was deleted",
                f"it hangs another within its poll_interval_s; else restart pid {user.pid}",
            )


def _of_unanswered(store: Specimen, doorbells: Doorbells, waiting: Sequence[HungBell]) -> Iterator[Finding]:
    """Find bells that ring while mail of theirs is old, and nobody at that address has taken any for long.

    Who is busy does not listen: what was taken lately shows among the newest deliveries, before the oldest that is
    ready, or is still under its lease.
    """
    rung = {bell.path: bell for bell in waiting if bell.rings and not bell.address.startswith(ALL_TRAFFIC)}
    if not rung:
        return
    now = clock.now()
    long_ago = now - clock.to_micros(_ANSWER_TIMEOUT_S)
    neglected = {}
    places = {bell.folder for bell in rung.values()}
    for recipient, ready, _, leased, _, oldest, sent_at in store.rows("unacked_by_recipient", {"now": now}):
        place = doorbells.folder_for(recipient)
        is_old = place in places and ready and not leased and sent_at < long_ago
        if is_old and not _has_taken_since(store, recipient, long_ago, oldest):
            neglected[place] = (recipient, ready, (now - sent_at) / 1e6)
    if not neglected:
        return
    time.sleep(_SECOND_LOOK_S)
    for bell in bells_of(doorbells.folder):
        before = rung.get(bell.path)
        if before is None or bell.rings < before.rings or bell.folder not in neglected:
            continue
        recipient, ready, age_s = neglected[bell.folder]
        how = "is full" if bell.is_full else f"rang {bell.rings} times"
        yield Finding(
            "warn",
            f"{proc.describe(bell.pid)} waits at {recipient} and does not answer: its doorbell {how}, "
            f"{ready} ready, oldest {age_s:.0f} s",
            f"it is busy with a message, or stuck: look what it does, or end it with `kill {bell.pid}`",
        )


def _has_taken_since(store: Specimen, recipient: str, moment: int, oldest: int) -> bool:
    """Whether somebody has taken mail of a recipient since, as far as a few samples tell."""
    return any(
        whose == recipient and max(delivered_at or 0, acked_at or 0) > moment
        for before in (_BEFORE_ALL, oldest)
        for _, whose, _, delivered_at, acked_at in store.rows("sample_before", {"before": before, "max": _SAMPLE})
    )


def _elected(path: str, users: Sequence[User]) -> set[int]:
    """Return who has the lock of the watch, be it on a lock file that was deleted since."""
    suffix = f"-bells/{LOCK_NAME}"
    held = {user.pid for user in users for file in user.files if file.suffix == suffix and file.is_deleted}
    return locks.elected(path) | {pid for pid in held if os.path.exists(f"/proc/{pid}")}
