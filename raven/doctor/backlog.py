"""Backlog: mail without a subscriber, dead letters, and a file that grows without limit."""

from __future__ import annotations

import os

from raven.config import Retention
from raven.doctor.doorbells import list_doorbells
from raven.doctor.readonly_store import ReadOnlyStore
from raven.doctor.report import Check, listed
from raven.model import clock
from raven.wake.doorbell import Doorbells

_MIB = 1024 * 1024
_LARGE_FILE = 1024 * _MIB


def check_backlog(store: ReadOnlyStore, doorbells: Doorbells) -> Check:
    """Look for addresses that have ready mail and no subscriber."""
    now = clock.now()
    attended = {info.folder for info in list_doorbells(doorbells.folder) if info.leads_to_a_subscriber}
    unattended = [
        f"{recipient} ({ready}, oldest {max(0, now - sent_at) / 1e6:.0f} s)"
        for recipient, ready, _, _, _, _, sent_at, _ in store.rows("unacked_by_recipient", {"now": now})
        if ready and doorbells.folder_for(recipient) not in attended
    ]
    if not unattended:
        return Check("backlog", "ok", "every address with ready mail has a subscriber")
    return Check(
        "backlog",
        "warn",
        f"ready mail without a subscriber: {listed(unattended)}",
        "start those agents, or see `raven inbox -a`",
    )


def check_dead_letters(store: ReadOnlyStore) -> Check:
    """Count the dead letters."""
    count = store.value("count_dead")
    if not count:
        return Check("dead letters", "ok", "none")
    return Check(
        "dead letters",
        "warn",
        f"{count} deliveries died after their last attempt",
        "see `raven dead-letters`, then `raven requeue` or `raven dead-letters --purge`",
    )


def check_size(store: ReadOnlyStore, retention: Retention | None) -> Check | None:
    """Warn about a large file without retention; returns None if the file is small or has retention."""
    return size_check(os.stat(store.path).st_size, retention)


def size_check(size: int, retention: Retention | None) -> Check | None:
    """Return the warning for a file of this many bytes, or None."""
    if size < _LARGE_FILE or retention is not None:
        return None
    problem = f"the file has {size / _MIB:,.0f} MiB, and no retention deletes finished messages"
    return Check("retention", "warn", problem, "`raven prune --older-than 7d`, or `retention:` in raven.yaml")
