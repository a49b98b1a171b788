"""Mail: what waits for nobody, what has died, and whether the file grows without end."""

from __future__ import annotations

import os

from raven.config import Retention
from raven.doctor.doorbells import bells_of
from raven.doctor.readonly_store import Specimen
from raven.doctor.report import Check, listed
from raven.model import clock
from raven.wake.doorbell import Doorbells

_MIB = 1024 * 1024
_BIG_FILE = 1024 * _MIB


def check_backlog(store: Specimen, doorbells: Doorbells) -> Check:
    """Look for mail that is ready where nobody waits."""
    now = clock.now()
    heard = {bell.folder for bell in bells_of(doorbells.folder) if bell.is_heard}
    stuck = [
        f"{recipient} ({ready}, oldest {max(0, now - sent_at) / 1e6:.0f} s)"
        for recipient, ready, _, _, _, _, sent_at in store.rows("unacked_by_recipient", {"now": now})
        if ready and doorbells.folder_for(recipient) not in heard
    ]
    if not stuck:
        return Check("backlog", "ok", "no mail waits where nobody does")
    return Check(
        "backlog",
        "warn",
        f"mail for nobody who waits now: {listed(stuck)}",
        "start those agents, or see `raven inbox -a`",
    )


def check_dead_letters(store: Specimen) -> Check:
    """Count what died after its last attempt."""
    count = store.value("count_dead")
    if not count:
        return Check("dead letters", "ok", "none")
    return Check(
        "dead letters",
        "warn",
        f"{count} deliveries died after their last attempt",
        "see `raven dead-letters`, then `raven requeue` or `raven dead-letters --purge`",
    )


def check_size(store: Specimen, retention: Retention | None) -> Check | None:
    """Look whether a large file is ever made smaller; None where it is, or is not large."""
    return judge_size(os.stat(store.path).st_size, retention)


def judge_size(size: int, retention: Retention | None) -> Check | None:
    """Say what there is to be said of a file of so many bytes."""
    if size < _BIG_FILE or retention is not None:
        return None
    found = f"the file has {size / _MIB:,.0f} MiB, and nothing of what is finished is ever dropped"
    return Check("retention", "warn", found, "`raven prune --older-than 7d`, or `retention:` in raven.yaml")
