"""Retention: deletes old finished messages in batches so small that no other writer waits long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from raven.config import Retention
from raven.delivery import expiry, forgetting
from raven.errors import InputError, RavenError, abbreviate
from raven.model import clock
from raven.model.limits import GRACE_S, MAX_SPAN_S, is_number
from raven.model.status import Pruned
from raven.store.database import Store
from raven.store.transaction import Transaction

_BATCH = 500
# A client deletes up to _SMALL_BATCH messages after every _EVERY of its own sends: twice as fast as it fills the bus.
# After a full batch, as when other clients send too, it deletes again after _SOON sends.
_SMALL_BATCH = 200
_EVERY = 100
_SOON = 10
# One small batch examines at most this many messages; the next batch continues there.
_WINDOW = 2000
# SQLite reuses free pages. The file shrinks only if it has more than this many, and more than a quarter of its pages.
_SPARE_PAGES = 512
_SPARE_SHARE = 4
_CURSOR_KEY = "retention_place"

Ring = Callable[[Iterable[str]], object]


def prune(
    store: Store,
    ring: Ring,
    older_than_s: float,
    *,
    dry_run: bool = False,
    progress: Callable[[Pruned], None] | None = None,
    grace_s: float = GRACE_S,
    unfinished: bool = False,
    is_awaited: Callable[[int], bool] = lambda message_id: False,
) -> Pruned:
    """Delete finished messages sent more than `older_than_s` ago; dead deliveries keep their messages.

    Keeps and counts the messages for which a program may still wait: open requests, those finished less than `grace_s`
    ago, and those for whose receipts a program waits now, as `is_awaited` says by their id. With `unfinished`,
    deliveries of that age expire first, and their messages have no grace.

    Each batch is one transaction, so a crash keeps the deleted batches. The newest message always stays, so that SQLite
    does not reuse its id. At the end the file shrinks. `dry_run` deletes nothing.
    """
    if not is_number(older_than_s, 0, MAX_SPAN_S):
        raise InputError(f"older_than_s {abbreviate(older_than_s)} is not a number of seconds, 0 to 100 years")
    # Expired deliveries are finished, but the file may not say so yet.
    expiry.apply_due(store, ring)
    now = clock.now()
    before = now - clock.to_micros(older_than_s)
    expired = 0
    if unfinished:
        expired = (
            int(store.value("count_older", {"now": now, "before": before}))
            if dry_run
            else forgetting.expire_older(store, ring, before)
        )
    candidates, upto = store.rows("prunable_span", {"before": before})[0]
    done = Pruned(0, 0, candidates, expired=expired)
    query = {"after": 0, "upto": upto, "before": before, "max": _BATCH, **_waiting(now, grace_s)}
    while upto is not None:
        file, batch = store.replaced, store.rows("prunable_batch", query)
        lengths = {id: length for id, length, may_be_awaited in batch if not may_be_awaited and not is_awaited(id)}
        if not dry_run:
            _delete(store, file, list(lengths))
        kept = done.kept + len(batch) - len(lengths)
        done = Pruned(done.messages + len(lengths), done.bytes + sum(lengths.values()), candidates, kept, expired)
        if progress is not None:
            progress(done)
        if len(batch) < _BATCH:
            break
        query["after"] = batch[-1][0]
    if done.messages and not dry_run:
        store.vacuum()
    return done


class RetentionWorker:
    """Keeps a bus within its limits while clients send: after every 100 sends it deletes up to 200 messages.

    After a full batch, it deletes again after 10 sends. Messages with unfinished or dead deliveries always stay, and so
    do those that `prune` keeps for waiting programs. It never raises and never waits for another writer: a
    failed batch is retried later.
    """

    def __init__(
        self, store: Store, limits: Retention, is_awaited: Callable[[int], bool] = lambda message_id: False
    ) -> None:
        self._store = store
        self._limits = limits
        self._is_awaited = is_awaited
        self._sent = _EVERY  # the first send deletes a batch, for processes that send just once
        self._was_full = False

    def record_sends(self, sent: int) -> None:
        """Count sent messages; every hundred of them, delete a batch after the commit."""
        self._sent += sent
        if self._sent >= _EVERY:
            self._store.after_commit(self._delete_after_commit)

    def _delete_after_commit(self, _: Iterable[str]) -> None:
        self._sent = _EVERY - _SOON if self.delete_batch() and self._was_full else 0

    def run(self, at_most_s: float) -> None:
        """Delete batches until the bus is within its limits, for at most so many seconds."""
        deadline = time.monotonic() + at_most_s
        while self.delete_batch() and time.monotonic() < deadline:
            pass

    def delete_batch(self) -> bool:
        """Delete one batch of messages beyond the limits; returns whether there may be more."""
        with suppress(RavenError):
            return self._store.no_wait(self._delete_excess)
        return False

    def _delete_excess(self) -> bool:
        limits = self._excess()
        return limits is not None and self._delete_small_batch(limits)

    def _excess(self) -> dict[str, int] | None:
        """Return the newest id and the send time up to which messages may go; None if the bus is within its limits."""
        oldest, created_at, newest = self._store.rows("retention_span")[0]
        if oldest is None or oldest == newest:
            return None
        upto = 0 if self._limits.max_messages is None else newest - self._limits.max_messages
        if self._limits.max_bytes is not None and self._used_bytes() > self._limits.max_bytes:
            upto = newest - 1
        age_us = None if self._limits.max_age_s is None else clock.to_micros(self._limits.max_age_s)
        now = clock.now()
        before = 0 if age_us is None else now - age_us
        # A time in the future, from a wrong clock, hides the age of the messages behind it.
        is_old = created_at < before or (age_us is not None and created_at > now)
        limits = {"upto": upto, "before": before, **_waiting(now, self._limits.grace_s)}
        return limits if (oldest <= upto or is_old) and not limits["grace"] < created_at <= now else None

    def _delete_small_batch(self, limits: dict[str, int]) -> bool:
        file = self._store.replaced
        after = int(self._store.value("meta_value", {"key": _CURSOR_KEY}) or 0)
        window, created_at = self._store.rows("retention_window", {"after": after, "rows": _WINDOW})[0]
        if window is not None and limits["grace"] < created_at <= limits["now"]:
            window = None  # this message and all later ones are too young: start over
        query = {**limits, "after": after, "window": window or after, "max": _SMALL_BATCH}
        message_ids = [row[0] for row in self._store.rows("retention_batch", query)]
        self._was_full = len(message_ids) == _SMALL_BATCH
        if self._was_full:
            cursor = message_ids[-1]
        else:
            # At the end of the excess, start over: messages that were unfinished may be finished by now.
            cursor = window if window is not None and self._store.value("retention_has_more", query) else 0
        message_ids = [id for id in message_ids if not self._is_awaited(id)]
        if message_ids or cursor != after:
            _delete(self._store, file, message_ids, cursor)
        self._shrink()
        return bool(cursor)

    def _used_bytes(self) -> int:
        pages, free = int(self._store.pragma("page_count")), int(self._store.pragma("freelist_count"))
        return (pages - free) * int(self._store.pragma("page_size"))

    def _shrink(self) -> None:
        free = int(self._store.pragma("freelist_count"))
        if free > _SPARE_PAGES and free * _SPARE_SHARE > int(self._store.pragma("page_count")):
            self._store.incremental_vacuum(_SPARE_PAGES)


def _waiting(now: int, grace_s: float) -> dict[str, int]:
    """Return the parameters by which a statement spares the messages for which a sender may still wait."""
    return {"now": now, "grace": now - clock.to_micros(grace_s)}


def _delete(store: Store, file: int, message_ids: Sequence[int], cursor: int | None = None) -> None:
    """Delete messages and their deliveries in one transaction, and save the cursor at which the next batch starts.

    Deletes nothing if another file has replaced the one in which the messages were selected.
    """
    if not message_ids and cursor is None:
        return

    def step(tx: Transaction) -> None:
        if store.replaced != file:
            return
        for message_id in message_ids:
            params: dict[str, Any] = {"message_id": message_id}
            tx.change("delete_deliveries", params)
            tx.change("delete_message", params)
        if cursor is not None:
            tx.change("set_meta", {"key": _CURSOR_KEY, "value": str(cursor)})

    store.write(step)
