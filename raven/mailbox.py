"""Mailbox: the deliveries of one address, from ready to finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from raven import clock
from raven.errors import InputError, MessageNotFoundError
from raven.identity import Identity
from raven.message import MAX_ID, Message, MessageRow
from raven.store import Store
from raven.transaction import Transaction


class Claim(NamedTuple):
    """Deliveries under one lease that were not handed out yet; `token` tells whose it is."""

    token: int
    rows: list[MessageRow]


class Lease(NamedTuple):
    """Whose a leased delivery is, and for how many seconds at a time."""

    token: int
    span_s: float


class Prospect(NamedTuple):
    """What there is to do for an address: something is ready, a delay or lease ends at `due_at`, something expired."""

    ready: int
    due_at: int | None
    expired: int

    def is_due(self, now: int) -> bool:
        """Whether a delay or a lease has ended by `now` (microseconds)."""
        return self.due_at is not None and self.due_at <= now

    def is_promising(self) -> bool:
        """Whether a claim has anything to do now."""
        return bool(self.ready or self.expired) or self.is_due(clock.now())

    def due_s(self) -> float | None:
        """Return in how many seconds the next delay or lease ends, or None."""
        return None if self.due_at is None else max(0.0, (self.due_at - clock.now()) / 1e6)


# What a ring promises before anyone has looked.
RUNG = Prospect(ready=1, due_at=None, expired=0)


class Mailbox:
    """What waits for one address, and what became of it; every method is one transaction."""

    def __init__(self, store: Store, identity: Identity) -> None:
        self._store = store
        self._identity = identity
        self._recipient = identity.address

    def inbox(self, max: int, peek: bool, max_bytes: int | None) -> list[Message]:
        """Show what is not acked, by urgency, then id; unless peeking, mark what is seen for the first time."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        self._store.verify()
        rows = [MessageRow(*row) for row in self._store.rows("unfinished_of", query, max_bytes)]
        if not peek and (self._identity.is_due() or any(row.state == 0 for row in rows)):
            with self._store.write() as tx:
                self._identity.touch(tx)
                rows = [self._seen(tx, MessageRow(*row), now) for row in tx.rows("unfinished_of", query, max_bytes)]
        return [row.to_message(now) for row in rows]

    def ack(self, message_id: int) -> None:
        """Finish a delivery; more than once is the same as once. MessageNotFoundError where there is none."""
        check_id(message_id)
        delivery = self._delivery(message_id)
        with self._store.write() as tx:
            if not tx.change("ack", {**delivery, "now": clock.now()}):
                self._require(tx, message_id)

    def verify(self) -> None:
        """Notice that the file was replaced or is gone."""
        self._store.verify()

    def look(self) -> Prospect:
        """Say what a claim would find; reads only, so that a needless wake costs nobody the write lock."""
        if self._identity.is_unknown():
            with self._store.write_on() as tx:
                self._identity.touch(tx)
        return Prospect(*self._store.rows("look", {"recipient": self._recipient, "now": clock.now()})[0])

    def claim_and_take(self, prospect: Prospect, max: int, lease_s: float) -> tuple[Message | None, Claim | None]:
        """Take the first ready message for good and lease up to `max` - 1 more, in one transaction."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write_on() as tx:
            rows = self._ready(tx, prospect, query)
            if not rows:
                return None, None
            tx.change("take", {**query, "message_id": rows[0].id, "lease": None})
            rest = self._lease(tx, rows[1:], now, lease_s) if len(rows) > 1 else None
        return _taken(rows[0], now), rest

    def take(self, claim: Claim, row: MessageRow) -> Message | None:
        """Take one leased message for good; None where its lease or its time has ended meanwhile."""
        now = clock.now()
        with self._store.write_on() as tx:
            taken = tx.change("take", {**self._delivery(row.id), "lease": claim.token, "now": now})
        return _taken(row, now) if taken else None

    def fetch_for_good(self, prospect: Prospect, max: int, max_bytes: int | None) -> list[Message]:
        """Hand out up to `max` ready messages, acked, in one transaction; fewer where they come to `max_bytes`."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write() as tx:
            rows = self._ready(tx, prospect, query, max_bytes)
            for row in rows:
                tx.change("take", {**query, "message_id": row.id, "lease": None})
        return [_taken(row, now) for row in rows]

    def fetch_leased(
        self, prospect: Prospect, max: int, max_bytes: int | None, lease: Lease, *, counts: bool
    ) -> list[Message]:
        """Hand out up to `max` ready messages under a lease, in one transaction; without `counts`, only set them apart.

        What is only set apart counts no attempt and keeps its state until it is taken.
        """
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write() as tx:
            rows = self._ready(tx, prospect, query, max_bytes)
            if rows:
                query.update(until=now + clock.to_micros(lease.span_s), lease=lease.token, max=len(rows))
                if counts:
                    tx.change("hand_out", query)
                else:
                    tx.change("claim", query)
        if counts:
            rows = [MessageRow(*row[:-4], 1, row.attempts + 1, row.delivered_at or now, None) for row in rows]
        return [row.to_message(now) for row in rows]

    def take_leased(self, message_id: int, token: int) -> None:
        """Ack a message that is leased under `token`, and count the attempt; MessageNotFoundError where it is not."""
        check_id(message_id)
        leased = {**self._delivery(message_id), "lease": token, "now": clock.now()}
        with self._store.write() as tx:
            taken = tx.change("take", leased)
            if not taken:  # what has expired under its lease can then be seen to have
                tx.change("let_go", leased)
        if not taken:
            raise MessageNotFoundError(
                f"message #{message_id} is not leased here any more: its time has ended, or another has it"
            )

    def renew(self, lease: Lease) -> set[int]:
        """Prolong what is held under a lease, from now; returns the ids of the messages."""
        query = {"recipient": self._recipient, "lease": lease.token}
        with self._store.write() as tx:
            return {row[0] for row in tx.rows("renew", {**query, "until": clock.now() + clock.to_micros(lease.span_s)})}

    def give_back(self, token: int, wake: Callable[[Iterable[str]], None]) -> None:
        """Make ready again what was leased under `token` and is not finished; `wake` those who wait for it."""
        with self._store.write_on() as tx:
            given = tx.change("give_back", {"recipient": self._recipient, "lease": token})
        if given:
            self._store.after_commit(wake, [self._recipient])

    def _ready(
        self, tx: Transaction, prospect: Prospect, query: dict[str, Any], max_bytes: int | None = None
    ) -> list[MessageRow]:
        """Put into effect what has expired or come due, and return what is ready."""
        self._identity.touch(tx)
        if prospect.expired:
            tx.change("expire", query)
        if prospect.is_due(query["now"]):
            tx.change("end_waits", query)
        return [MessageRow(*row) for row in tx.rows("next_ready", query, max_bytes)]

    def _delivery(self, message_id: int) -> dict[str, Any]:
        return {"message_id": message_id, "recipient": self._recipient}

    def _lease(self, tx: Transaction, rows: list[MessageRow], now: int, lease_s: float) -> Claim:
        """Lease the ready messages that come first now: `rows`, read in this transaction."""
        token, until = int.from_bytes(os.urandom(7)), now + clock.to_micros(lease_s)
        lease = {"recipient": self._recipient, "now": now, "until": until, "lease": token, "max": len(rows)}
        tx.change("claim", lease)
        return Claim(token, rows)

    def _seen(self, tx: Transaction, row: MessageRow, now: int) -> MessageRow:
        if row.state == 0:
            tx.change("mark_delivered", {**self._delivery(row.id), "now": now})
            return row._replace(state=1, delivered_at=now)
        return row

    def _require(self, tx: Transaction, message_id: int) -> None:
        recipients = [row[0] for row in tx.rows("recipients_of", {"message_id": message_id})]
        if self._recipient in recipients:
            return
        if recipients or tx.rows("message_whole", {"message_id": message_id}):
            raise MessageNotFoundError(
                f"message #{message_id} was not sent to {self._recipient}: only its recipients can ack it"
            )
        raise MessageNotFoundError(f"there is no message #{message_id}: it never was, or it was pruned")


def check_id(message_id: object) -> None:
    """Refuse what cannot be the id of a message: InputError, or MessageNotFoundError for a number out of range."""
    if not isinstance(message_id, int) or isinstance(message_id, bool):
        raise InputError(f"id {message_id!r} is not a number: give the one that send or inbox showed")
    if not 0 < message_id <= MAX_ID:
        raise MessageNotFoundError(f"there is no message #{message_id}: ids run from 1 to {MAX_ID}")


def _taken(row: MessageRow, now: int) -> Message:
    """Return the message as `take` has left it: the four columns of the delivery's progress are the row's last."""
    return MessageRow(*row[:-4], 2, row.attempts + 1, row.delivered_at or now, now).to_message(now)
