"""Retention: drop what is finished and old, in bites small enough that nobody waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from raven.config import Retention
from raven.delivery import expiry
from raven.errors import InputError, RavenError
from raven.model import clock
from raven.model.limits import MAX_SPAN_S, is_number
from raven.model.status import Pruned
from raven.store.database import Store

_BITE = 500
# What ordinary use drops at once, and after how many messages of its own a client does so: twice as fast as it fills.
# Where others send, too, and there was more than that, it comes again after so few.
_SMALL_BITE = 200
_EVERY = 100
_SOON = 10
# So many messages are looked at for one small bite: where much is unfinished, the next goes on from there.
_WINDOW = 2000
# Free pages are reused; only where they are so many, and so large a part of the file, it is shortened.
_SPARE_PAGES = 512
_SPARE_SHARE = 4
_PLACE = "retention_place"

Ring = Callable[[Iterable[str]], object]


def prune(
    store: Store,
    ring: Ring,
    older_than_s: float,
    *,
    dry_run: bool = False,
    progress: Callable[[Pruned], None] | None = None,
) -> Pruned:
    """Drop messages sent more than `older_than_s` ago that every recipient has finished; the dead stay.

    Each bite is one transaction, so a crash loses none of the work done. The newest message always stays: it keeps the
    ids from being used again. At the end the file gives its free space back. With `dry_run` nothing is dropped.
    """
    if not is_number(older_than_s, 0, MAX_SPAN_S):
        raise InputError(f"older_than_s {older_than_s!r} is not a number of seconds, 0 to 100 years")
    # What nobody took in time is finished, even where nobody has noticed yet.
    expiry.apply_due(store, ring)
    before = clock.now() - clock.to_micros(older_than_s)
    candidates, upto = store.rows("prunable_span", {"before": before})[0]
    done = Pruned(0, 0, candidates)
    query = {"after": 0, "upto": upto, "before": before, "max": _BITE}
    while upto is not None:
        file, bite = store.replaced, store.rows("prunable_batch", query)
        if not dry_run:
            _drop(store, file, [message_id for message_id, _ in bite])
        done = Pruned(done.messages + len(bite), done.bytes + sum(length for _, length in bite), candidates)
        if progress is not None:
            progress(done)
        if len(bite) < _BITE:
            break
        query["after"] = bite[-1][0]
    if done.messages and not dry_run:
        store.vacuum()
    return done


class Keeper:
    """Keeps a bus within its limits while it is used: after every hundred messages sent it drops up to two hundred.

    Where that is not enough, since others send as well, it does so after every ten. What is not finished, or dead, is
    never dropped. Nothing here fails or waits: what cannot be done now is done later.
    """

    def __init__(self, store: Store, limits: Retention) -> None:
        self._store = store
        self._limits = limits
        self._sent = _EVERY  # the first bite comes with the first message, for processes that send just one
        self._was_full = False

    def note(self, sent: int) -> None:
        """Count messages that were sent, and drop some old ones if it is time, once no transaction is open."""
        self._sent += sent
        if self._sent >= _EVERY:
            self._store.after_commit(self._keep_up)

    def _keep_up(self, _: Iterable[str]) -> None:
        self._sent = _EVERY - _SOON if self.bite() and self._was_full else 0

    def run(self, at_most_s: float) -> None:
        """Drop what is beyond the limits, for at most so many seconds."""
        deadline = time.monotonic() + at_most_s
        while self.bite() and time.monotonic() < deadline:
            pass

    def bite(self) -> bool:
        """Drop one bite of what is beyond the limits; returns whether there may be more."""
        with suppress(RavenError), self._store.no_wait():
            limits = self._beyond()
            return limits is not None and self._bite(limits)
        return False

    def _beyond(self) -> dict[str, int] | None:
        """Return up to which id, and sent before when, messages may go; None where all is within the limits."""
        oldest, created_at, newest = self._store.rows("retention_span")[0]
        if oldest is None or oldest == newest:
            return None
        upto = 0 if self._limits.max_messages is None else newest - self._limits.max_messages
        if self._limits.max_bytes is not None and self._used_bytes() > self._limits.max_bytes:
            upto = newest - 1
        age_us = None if self._limits.max_age_s is None else clock.to_micros(self._limits.max_age_s)
        now = clock.now()
        before = 0 if age_us is None else now - age_us
        # One that a clock ahead of time has dated hides how old those behind it are.
        is_old = created_at < before or (age_us is not None and created_at > now)
        return {"upto": upto, "before": before} if oldest <= upto or is_old else None

    def _bite(self, limits: dict[str, int]) -> bool:
        file = self._store.replaced
        after = int(self._store.value("meta_value", {"key": _PLACE}) or 0)
        window = self._store.value("retention_window", {"after": after, "rows": _WINDOW})
        query = {**limits, "after": after, "window": window or after, "max": _SMALL_BITE}
        found = [row[0] for row in self._store.rows("retention_batch", query)]
        self._was_full = len(found) == _SMALL_BITE
        if self._was_full:
            place = found[-1]
        else:
            # From the start again where the limits end: what was in use there may be finished by now.
            place = window if window is not None and self._store.value("retention_has_more", query) else 0
        _drop(self._store, file, found, place)
        self._shorten()
        return bool(place)

    def _used_bytes(self) -> int:
        pages, free = int(self._store.pragma("page_count")), int(self._store.pragma("freelist_count"))
        return (pages - free) * int(self._store.pragma("page_size"))

    def _shorten(self) -> None:
        free = int(self._store.pragma("freelist_count"))
        if free > _SPARE_PAGES and free * _SPARE_SHARE > int(self._store.pragma("page_count")):
            self._store.incremental_vacuum(_SPARE_PAGES)


def _drop(store: Store, file: int, message_ids: Sequence[int], place: int | None = None) -> None:
    """Drop messages and their deliveries in one transaction, and note where the next bite begins.

    Where another file has taken the place of the one that they were found in, nothing is dropped.
    """
    if not message_ids and place is None:
        return
    with store.write() as tx:
        if store.replaced != file:
            return
        for message_id in message_ids:
            params: dict[str, Any] = {"message_id": message_id}
            tx.change("delete_deliveries", params)
            tx.change("delete_message", params)
        if place is not None:
            tx.change("set_meta", {"key": _PLACE, "value": str(place)})
