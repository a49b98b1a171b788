"""Mailbox: the deliveries of one address, from ready to finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import starmap
from typing import Any, NamedTuple

from raven.delivery import expiry
from raven.delivery.identity import Identity
from raven.errors import BusyError, DeliveryError, LeaseLostError, MessageNotFoundError
from raven.model import clock
from raven.model.leases import Holdings
from raven.model.limits import check_id, check_token
from raven.model.message import ACKED, DEAD, DELIVERED, STATES, Message, MessageRow, State, message_of
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import receipt_bell

# What every language can hold as a number.
_TOKEN_BYTES = 6


class Prospect(NamedTuple):
    """What there is to do for an address: something is ready, a delay or lease ends at `due_at`, something expired."""

    ready: int
    due_at: int | None
    expired: int

    def is_due(self, now: int) -> bool:
        """Whether a delay or a lease has ended by `now` (microseconds)."""
        return self.due_at is not None and self.due_at <= now

    def is_promising(self) -> bool:
        """Whether a claim has anything to do now; what expired at other addresses is reason enough for nobody."""
        return bool(self.ready) or self.is_due(clock.now())

    def due_s(self) -> float | None:
        """Return in how many seconds the next delay or lease ends, or None."""
        return None if self.due_at is None else max(0.0, (self.due_at - clock.now()) / 1e6)


# What a ring promises before anyone has looked.
RUNG = Prospect(ready=1, due_at=None, expired=0)


class Claim(NamedTuple):
    """Deliveries under one lease that were not handed out yet; `token` tells whose it is."""

    token: int
    rows: list[MessageRow]


class Lease(NamedTuple):
    """Whose a leased delivery is, and for how many seconds at a time."""

    token: int
    span_s: float


class Mailbox:
    """What waits for one address, and what became of it; every method is one transaction.

    `ring` wakes whoever waits at some addresses, or for receipts. `holdings` has the leases of those who claim here.
    """

    def __init__(self, store: Store, identity: Identity, ring: Callable[[Iterable[str]], object]) -> None:
        self.holdings = Holdings()
        self._store = store
        self._identity = identity
        self._ring = ring
        self._recipient = identity.address
        self._was_filled = False

    def inbox(self, max: int, peek: bool, max_bytes: int | None = None) -> list[Message]:
        """Show what is not acked, by urgency, then id; unless peeking, mark what is seen for the first time."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        self._store.verify()
        rows = [MessageRow(*row) for row in self._store.rows("list_unacked", query, max_bytes)]
        if not peek and (self._identity.is_due() or any(row.state == 0 for row in rows)):
            with self._store.write() as tx:
                self._identity.touch(tx)
                rows = [MessageRow(*row) for row in tx.rows("list_unacked", query, max_bytes)]
                new = [row for row in rows if row.state == 0]
                for row in new:
                    tx.change("mark_delivered", {**self._delivery(row.id), "now": now})
            rows = [row._replace(state=DELIVERED, delivered_at=now) if row.state == 0 else row for row in rows]
            self._tell(new)
        return [message_of(row, now) for row in rows]

    def ack(self, message_id: int, lease: int | None = None) -> None:
        """Finish a delivery; more than once is the same as once. MessageNotFoundError where there is none.

        Under the lease that is given, or else remembered from its claim: LeaseLostError if that has passed to another.
        """
        token = self._token(message_id, lease)
        delivery = {"message_id": message_id, "recipient": self._recipient, "lease": token, "now": clock.now()}
        try:
            with self._store.write() as tx:
                if not tx.change("ack", delivery):
                    state, holder = self._require(tx, message_id)
                    if token is not None and (state != ACKED or holder != token):
                        raise _lost(message_id, state, holder)
        except LeaseLostError:
            self._lose(message_id, token)
            raise
        self._tell_of(message_id)
        self._end_lease(message_id, token)

    def nack(self, message_id: int, lease: int | None, delay_us: int, reason: str | None) -> State:
        """Give a delivery back, ready at once or after a delay; returns its state, `dead` if that was its last attempt.

        Raises LeaseLostError as `ack` does, and DeliveryError where it is finished.
        """
        token = self._token(message_id, lease)
        now = clock.now()
        given = {**self._delivery(message_id), "lease": token, "now": now, "reason": reason}
        try:
            with self._store.write() as tx:
                rows = tx.rows("nack", {**given, "ready_at": now + delay_us if delay_us else 0})
                if not rows:
                    state, holder = self._require(tx, message_id)
                    if token is not None:
                        raise _lost(message_id, state, holder)
                    raise DeliveryError(f"message #{message_id} is {STATES[state]}: it cannot be given back any more")
                bells = expiry.report_undelivered(tx, [row[0] for row in rows if row[1] == DEAD])
        except LeaseLostError:
            self._lose(message_id, token)
            raise
        # With a delay, too: those who wait must learn when it ends.
        self._store.after_commit(self._ring, [self._recipient, *bells])
        self._end_lease(message_id, token)
        return STATES[int(rows[0][1])]

    def extend(self, message_id: int, lease: int | None, lease_s: float) -> None:
        """Let the lease of a delivery end `lease_s` seconds from now; raises LeaseLostError where there is none."""
        token = self._token(message_id, lease)
        until = clock.now() + clock.to_micros(lease_s)
        try:
            with self._store.write() as tx:
                if not tx.change("extend", {**self._delivery(message_id), "lease": token, "until": until}):
                    raise _lost(message_id, *self._require(tx, message_id))
        except LeaseLostError:
            self._lose(message_id, token)
            raise

    def verify(self) -> None:
        """Notice that the file was replaced or is gone."""
        self._store.verify()

    def look(self) -> Prospect:
        """Say what a claim would find; reads only, so that a needless wake costs nobody the write lock."""
        if self._identity.is_unknown():
            with self._store.write_on() as tx:
                self._identity.touch(tx)
        return Prospect(*self._store.rows("peek_ready", {"recipient": self._recipient, "now": clock.now()})[0])

    def claim(self, max: int, lease_s: float, max_bytes: int | None = None) -> list[Message]:
        """Hand out up to `max` ready messages under a lease of their own; fewer where they come to `max_bytes`."""
        lease = Lease(new_token(), lease_s)
        messages: list[Message] = []
        # After a claim that got all it asked for there is mostly more: no look first, unless a writer is in the way.
        if self._was_filled:
            with suppress(BusyError):
                messages, _ = self._hand_out(None, max, max_bytes, lease, is_patient=False)
        if not messages:
            self._store.verify()
            prospect = self.look()
            if prospect.is_promising():
                messages, _ = self._hand_out(prospect, max, max_bytes, lease)
        self._was_filled = len(messages) == max
        return messages

    def remember(self, messages: Sequence[Message]) -> None:
        """Note what was claimed here, so that a late ack is refused; undone with the transaction it is part of."""
        if self._store.groups and self._store.group_depth():
            before = {message.id: self.holdings.lease_of(message.id) for message in messages}
            self._store.after_commit(_nothing, undo=lambda: self.holdings.restore(before))
        self.holdings.remember(messages)

    def claim_and_take(self, prospect: Prospect, max: int, lease_s: float) -> tuple[Message | None, Claim | None]:
        """Take the first ready message for good and lease up to `max` - 1 more, in one transaction."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write_on() as tx:
            rows = self._ready(tx, prospect, query)
            if not rows:
                return None, None
            tx.change("consume", {**query, "message_id": rows[0].id, "lease": None})
            rest = None
            if len(rows) > 1:
                rest = Claim(new_token(), rows[1:])
                until = now + clock.to_micros(lease_s)
                tx.change("prefetch", {**query, "until": until, "lease": rest.token, "max": len(rest.rows)})
        self._tell_of(rows[0].id)
        return _taken(rows[0], now), rest

    def take(self, claim: Claim, row: MessageRow) -> Message | None:
        """Take one leased message for good; None where its lease or its time has ended meanwhile."""
        now = clock.now()
        with self._store.write_on() as tx:
            taken = self._take(tx, {**self._delivery(row.id), "lease": claim.token, "now": now})
        if not taken:
            return None
        self._tell_of(row.id)
        return _taken(row, now)

    def fetch_for_good(self, prospect: Prospect, max: int, max_bytes: int | None) -> tuple[list[Message], Prospect]:
        """Hand out up to `max` ready messages, acked, in one transaction; fewer where they come to `max_bytes`.

        Also says what is left to do.
        """
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write() as tx:
            rows = self._ready(tx, prospect, query, max_bytes)
            for row in rows:
                tx.change("consume", {**query, "message_id": row.id, "lease": None})
            left = Prospect(*tx.rows("peek_ready", query)[0]) if len(rows) < max else RUNG
        self._tell(rows)
        return [_taken(row, now) for row in rows], left

    def fetch_leased(
        self, prospect: Prospect, max: int, max_bytes: int | None, lease: Lease, *, counts: bool
    ) -> tuple[list[Message], Prospect]:
        """Hand out up to `max` ready messages under a lease, in one transaction; without `counts`, only set them apart.

        What is only set apart counts no attempt and keeps its state until it is taken. Also says what is left to do.
        """
        if counts:
            return self._hand_out(prospect, max, max_bytes, lease, looks=True)
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        with self._store.write() as tx:
            rows = self._ready(tx, prospect, query, max_bytes)
            if rows:
                until = now + clock.to_micros(lease.span_s)
                tx.change("prefetch", {**query, "until": until, "lease": lease.token, "max": len(rows)})
            left = Prospect(*tx.rows("peek_ready", query)[0]) if len(rows) < max else RUNG
        return [message_of(row, now) for row in rows], left

    def _hand_out(
        self,
        prospect: Prospect | None,
        max: int,
        max_bytes: int | None,
        lease: Lease,
        *,
        is_patient: bool = True,
        looks: bool = False,
    ) -> tuple[list[Message], Prospect]:
        """Hand out what is ready under a lease, and count the attempt. With no prospect it looks first.

        Also says what is left to do, if it `looks`.
        """
        now = clock.now()
        until = now + clock.to_micros(lease.span_s)
        query = {"recipient": self._recipient, "now": now, "max": max, "until": until, "lease": lease.token}
        with self._store.write() if is_patient else self._store.write_no_wait() as tx:
            rows = self._ready(tx, prospect, query, max_bytes)
            if rows:
                query["max"] = len(rows)
                tx.change("claim", query)
            left = Prospect(*tx.rows("peek_ready", query)[0]) if looks and len(rows) < max else RUNG
        bells, messages = [], []
        for row in rows:
            if row.state != DELIVERED:
                bells.append(receipt_bell(row.id))
            messages.append(message_of(row.handed_out(DELIVERED, now, None), now, lease.token))
        if bells:
            self._store.after_commit(self._ring, bells)
        return messages, left

    def take_leased(self, message_id: int, token: int) -> None:
        """Ack a message that is leased under `token`, and count the attempt; LeaseLostError where it is not."""
        check_id(message_id)
        leased = {**self._delivery(message_id), "lease": token, "now": clock.now()}
        with self._store.write() as tx:
            taken = self._take(tx, leased)
        if not taken:
            raise LeaseLostError(
                f"message #{message_id} is not leased here any more: its time has ended, or another has it"
            )
        self._tell_of(message_id)

    def renew(self, lease: Lease) -> set[int]:
        """Prolong what is held under a lease, from now; returns the ids of the messages."""
        query = {"recipient": self._recipient, "lease": lease.token}
        with self._store.write() as tx:
            return {row[0] for row in tx.rows("renew", {**query, "until": clock.now() + clock.to_micros(lease.span_s)})}

    def held(self, lease: Lease) -> set[int]:
        """Return the ids of the messages that are still held under a lease."""
        return {row[0] for row in self._store.rows("list_leased", {"recipient": self._recipient, "lease": lease.token})}

    def give_back(self, token: int) -> None:
        """Make ready again what was leased under `token` and is not finished, and wake those who wait for it."""
        with self._store.write_on() as tx:
            given = tx.rows("release", {"recipient": self._recipient, "lease": token, "now": clock.now()})
            bells = expiry.report_undelivered(tx, [delivery_id for delivery_id, state in given if state == DEAD])
        if given:
            self._store.after_commit(self._ring, [self._recipient, *bells])

    def _ready(
        self, tx: Transaction, prospect: Prospect | None, query: dict[str, Any], max_bytes: int | None = None
    ) -> list[MessageRow]:
        """Put into effect what has expired or come due, and return what is ready."""
        self._identity.touch(tx)
        if prospect is None:
            prospect = Prospect(*tx.rows("peek_ready", query)[0])
        bells: list[str] = []
        is_due = prospect.due_at is not None and prospect.due_at <= query["now"]
        if is_due:
            bells += expiry.release_due(tx, self._recipient, query["now"])
        if is_due or prospect.expired:
            bells += expiry.expire(tx, query["now"])
        if bells:
            self._store.after_commit(self._ring, bells)
        return list(starmap(MessageRow, tx.rows("next_ready", query, max_bytes)))

    def _take(self, tx: Transaction, leased: dict[str, Any]) -> bool:
        """Take what is still leased; what has expired under its lease is let go, so that it can be seen to have."""
        taken = bool(tx.change("consume", leased))
        if not taken:
            tx.change("release_one", leased)
        return taken

    def _delivery(self, message_id: int) -> dict[str, Any]:
        return {"message_id": message_id, "recipient": self._recipient}

    def _tell_of(self, message_id: int) -> None:
        """Wake those who wait for the receipts of a message."""
        self._store.after_commit(self._ring, (receipt_bell(message_id),))

    def _tell(self, rows: list[MessageRow]) -> None:
        if rows:
            self._store.after_commit(self._ring, [receipt_bell(row.id) for row in rows])

    def _token(self, message_id: int, lease: int | None) -> int | None:
        """Return the lease to go by: the one that is given, or the one remembered. Raises InputError."""
        check_id(message_id)
        if lease is None:
            return self.holdings.lease_of(message_id)
        check_token(lease)
        return lease

    def _end_lease(self, message_id: int, token: int | None) -> None:
        """Forget a lease once its end is committed, and wake the loop that waits for room."""
        if token is None:
            return
        if self._store.groups:
            self._store.after_commit(lambda _: self._forget(message_id, token))
        elif self.holdings.forget(message_id, token):
            self._ring([self._recipient])

    def _forget(self, message_id: int, token: int) -> None:
        if self.holdings.forget(message_id, token):
            self._ring([self._recipient])

    def _lose(self, message_id: int, token: int | None) -> None:
        """Make room for another message in the loop that has lost this one; an ack of it stays refused."""
        if token is not None and self.holdings.lose(message_id, token):
            self._ring([self._recipient])

    def _require(self, tx: Transaction, message_id: int) -> tuple[int, int | None]:
        """Return the state and the lease of this address's delivery; raises MessageNotFoundError."""
        found = tx.rows("receipts_of", self._delivery(message_id))
        if found:
            return found[0][1], found[0][5]
        if tx.rows("get_message", {"message_id": message_id}):
            raise MessageNotFoundError(
                f"message #{message_id} was not sent to {self._recipient}: only its recipients can ack it"
            )
        raise MessageNotFoundError(f"there is no message #{message_id}: it never was, or it was pruned")


def new_token() -> int:
    """Return the token of a new lease."""
    return int.from_bytes(os.urandom(_TOKEN_BYTES)) or 1


def _lost(message_id: int, state: int, holder: int | None) -> LeaseLostError:
    """Return the error for a lease that is not that of a delivery any more."""
    if state <= DELIVERED:
        why = "another has it now" if holder is not None else "it is not leased now"
    else:
        why = f"it is {STATES[state]}" + (" by another" if state == ACKED else "")
    return LeaseLostError(f"the lease on message #{message_id} is lost: {why}; leave it, or claim again")


def _taken(row: MessageRow, now: int) -> Message:
    return message_of(row.handed_out(ACKED, now, now), now)


def _nothing(addresses: Iterable[str]) -> None:
    """Do nothing after the commit: only where that does not come is there something to undo."""
