"""Inotify: is a write in the folder of the bus noticed, and if not, what has used up what that takes."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress

from raven.doctor.linux import proc
from raven.doctor.report import Check, listed
from raven.wake import watcher as walwatch

_EVENT_DEADLINE_S = 2.0
_INSTANCE = "anon_inode:inotify"
_MANY = 3


def check_inotify(folder: str) -> Check:
    """See whether a write in a new folder beside the bus is noticed, as foreign writes to the bus must be."""
    try:
        place = tempfile.TemporaryDirectory(prefix=".raven-doctor-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        return Check(
            "inotify",
            "warn",
            f"cannot be tried: no folder can be made in {folder} ({error.strerror})",
            "mend what `disk` and `file` say first",
        )
    started = time.monotonic()
    try:
        with place:
            heard = walwatch.probe(place.name, _EVENT_DEADLINE_S)
    except OSError as error:
        return _check_exhausted(error)
    if not heard:
        return Check(
            "inotify", "warn", "a write was not noticed: it may take 1 s until one is heard", "use a local disk"
        )
    return Check("inotify", "ok", f"a write was noticed after {(time.monotonic() - started) * 1000:.0f} ms")


def _check_exhausted(error: OSError) -> Check:
    """Say what has run out, how much of it there is, and who holds most of it."""
    instances, watches = _holdings()
    what, held = ("watches", watches) if "watch limit" in str(error).lower() else ("instances", instances)
    limits = {name: proc.setting(name) for name in (f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}")}
    known = {name: limit for name, limit in limits.items() if limit is not None}
    found = f"no watch can be set ({error}): writers without raven are heard within 100 ms instead"
    remedy = "end programs that watch many files"
    if known:
        # The second binds in a user namespace besides the first, see namespaces(7).
        tightest = min(known, key=lambda name: known[name])
        found += f"; {tightest} is {known[tightest]}, and this user's programs hold {sum(held.values())} {what}"
        remedy = f"raise it (as root, `sysctl -w {tightest}={max(1024, 2 * known[tightest])}`), or {remedy}"
    most = sorted(held, key=lambda pid: -held[pid])[:_MANY]
    if most:
        found += f", most of them {listed([f'{proc.describe(pid)}: {held[pid]}' for pid in most])}"
    return Check("inotify", "warn", found, remedy)


def _holdings() -> tuple[dict[int, int], dict[int, int]]:
    """Return how many instances and how many watches each process of this user holds."""
    instances: dict[int, int] = {}
    watches: dict[int, int] = {}
    for pid in proc.pids():
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            own = [number for number, link in proc.links(pid).items() if link == _INSTANCE]
            if own:
                instances[pid] = len(own)
                watches[pid] = sum(proc.count_watches(pid, number) for number in own)
    return instances, watches
