"""Mailbox: the deliveries of one address, from ready to finished."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import Any

from raven.delivery import expiry
from raven.delivery.ended_leases import EndedLeases
from raven.delivery.identity import Identity
from raven.delivery.queue_state import ASSUME_READY, Claim, Lease, QueueState
from raven.errors import BusyError, DeliveryError, LeaseLostError, MessageNotFoundError
from raven.model import clock
from raven.model.leases import LeaseTracker
from raven.model.limits import check_id, check_token
from raven.model.message import ACKED, DEAD, DELIVERED, STATES, Message, MessageRow, State
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import Doorbells, receipt_address

# Every JSON reader holds 48 bits exactly, also one with only IEEE doubles.
_TOKEN_BYTES = 6


class Mailbox:
    """The deliveries of one address; every method is one transaction.

    `doorbells` wake the waiters of addresses and receipts. `leases` tracks the leases of this client.
    """

    def __init__(self, store: Store, identity: Identity, doorbells: Doorbells) -> None:
        self.leases = LeaseTracker()
        self.ended_leases = EndedLeases(store, identity.address, doorbells.ring)
        self._store = store
        self._identity = identity
        self._ring = doorbells.ring
        self._ring_receipts_here = partial(doorbells.ring_receipts, identity.address)
        self._recipient = identity.address
        self._was_full = False

    def inbox(self, max: int, peek: bool, max_bytes: int | None = None) -> list[Message]:
        """Return the unacked messages by urgency, then id; unless `peek`, mark new ones as delivered."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}
        self._store.verify()
        rows = [MessageRow(*row) for row in self._store.rows("list_unacked", query, max_bytes)]
        if not peek and (self._identity.heartbeat_due() or any(row.state == 0 for row in rows)):
            rows = self._store.write(partial(self._mark_delivered, query=query, max_bytes=max_bytes))
            new = [row.id for row in rows if row.state == 0]
            rows = [row._replace(state=DELIVERED, delivered_at=now) if row.state == 0 else row for row in rows]
            self._ring_receipts(*new)
        return [Message.from_row(row, now) for row in rows]

    def _mark_delivered(self, tx: Transaction, query: dict[str, Any], max_bytes: int | None) -> list[MessageRow]:
        """Mark the unacked messages as delivered, and return them as they were before."""
        self._identity.heartbeat(tx)
        rows = [MessageRow(*row) for row in tx.rows("list_unacked", query, max_bytes)]
        for row in rows:
            if row.state == 0:
                tx.change("mark_delivered", {**self._delivery(row.id), "now": query["now"]})
        return rows

    def ack(self, message_id: int, lease: int | None = None) -> None:
        """Finish a delivery; idempotent. Raises MessageNotFoundError.

        `lease` defaults to the lease remembered from the claim; LeaseLostError if another consumer holds the delivery.
        """
        token = self._token(message_id, lease)
        delivery = {"message_id": message_id, "recipient": self._recipient, "lease": token, "now": clock.now()}

        def step(tx: Transaction) -> None:
            if not tx.change("ack", delivery):
                state, holder = self._require(tx, message_id)
                if token is not None and (state != ACKED or holder != token):
                    raise _lost(message_id, state, holder)

        try:
            self._store.write(step)
        except LeaseLostError:
            self._mark_lost(message_id, token)
            raise
        self._ring_receipts(message_id)
        self._end_lease(message_id, token)

    def nack(self, message_id: int, lease: int | None, delay_us: int, reason: str | None) -> State:
        """Release a delivery at once or after a delay; returns its state, `dead` after the last attempt.

        Raises LeaseLostError as `ack` does, and DeliveryError if the delivery is finished.
        """
        token = self._token(message_id, lease)
        now = clock.now()
        params = {**self._delivery(message_id), "lease": token, "now": now, "reason": reason}
        params["ready_at"] = now + delay_us if delay_us else 0

        def step(tx: Transaction) -> tuple[State, list[str]]:
            rows = tx.rows("nack", params)
            if not rows:
                state, holder = self._require(tx, message_id)
                if token is not None:
                    raise _lost(message_id, state, holder)
                raise DeliveryError(
                    f"message #{message_id} is {STATES[state]}: only an unfinished message can be nacked"
                )
            addresses = expiry.report_undelivered(tx, [row[0] for row in rows if row[1] == DEAD])
            return STATES[int(rows[0][1])], addresses

        try:
            state, addresses = self._store.write(step)
        except LeaseLostError:
            self._mark_lost(message_id, token)
            raise
        # Also after a delayed nack: the waiters must learn when the delay ends.
        self._store.after_commit(self._ring, [self._recipient, *addresses])
        self._end_lease(message_id, token)
        return state

    def extend(self, message_id: int, lease: int | None, lease_s: float) -> None:
        """Let the lease of a delivery end `lease_s` seconds from now; raises LeaseLostError if it is not leased."""
        token = self._token(message_id, lease)
        until = clock.now() + clock.to_micros(lease_s)

        def step(tx: Transaction) -> None:
            if not tx.change("extend", {**self._delivery(message_id), "lease": token, "until": until}):
                raise _lost(message_id, *self._require(tx, message_id))

        try:
            self._store.write(step)
        except LeaseLostError:
            self._mark_lost(message_id, token)
            raise

    def verify(self) -> None:
        """Check that the path still leads to the open file; reopen a replaced file, raise if it is gone."""
        self._store.verify()

    def peek(self) -> QueueState:
        """Return the queue's state; takes no write lock, except for ended leases and to register in a new file."""
        if self._identity.unregistered():
            self._store.write(self._identity.heartbeat, is_verified=True)
        self.ended_leases.release_rest()
        return QueueState(*self._store.rows("peek_ready", {"recipient": self._recipient, "now": clock.now()})[0])

    def claim(self, max: int, lease_s: float, max_bytes: int | None = None) -> list[Message]:
        """Lease up to `max` ready messages under a new lease, and stop before `max_bytes` are exceeded."""
        lease = Lease(new_token(), lease_s)
        messages: list[Message] = []
        # After a full batch more mail is likely: skip the peek, but never wait for another writer.
        if self._was_full:
            with suppress(BusyError):
                messages, _ = self._store.no_wait(partial(self._deliver, None, max, max_bytes, lease))
        if not messages:
            self._store.verify()
            queue = self.peek()
            if queue.has_work():
                messages, _ = self._deliver(queue, max, max_bytes, lease)
        self._was_full = len(messages) == max
        return messages

    def remember(self, messages: Sequence[Message]) -> None:
        """Remember the leases of claimed messages so that a late ack is refused; a rollback undoes this."""
        if self._store.block is not None:
            before = {message.id: self.leases.lease_of(message.id) for message in messages}
            self._store.after_commit(tuple, undo=lambda: self.leases.restore(before))
        self.leases.remember(messages)

    def consume_and_prefetch(self, queue: QueueState, max: int, lease_s: float) -> tuple[Message | None, Claim | None]:
        """Consume the first ready message and prefetch up to `max` - 1 more, in one transaction."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}

        def step(tx: Transaction) -> tuple[list[MessageRow], Claim | None]:
            rows = self._ready(tx, queue, query)
            if not rows:
                return rows, None
            tx.change("consume", {**query, "message_id": rows[0].id, "lease": None})
            if len(rows) == 1:
                return rows, None
            rest = Claim(new_token(), rows[1:])
            until = now + clock.to_micros(lease_s)
            tx.change("prefetch", {**query, "until": until, "lease": rest.token, "max": len(rest.rows)})
            return rows, rest

        rows, rest = self._store.write(step, is_verified=True)
        if not rows:
            return None, None
        self._ring_receipts(rows[0].id)
        return _consumed_message(rows[0], now), rest

    def consume(self, claim: Claim, row: MessageRow) -> Message | None:
        """Consume one prefetched message; returns None if its lease or its expiry has passed."""
        now = clock.now()
        leased = {**self._delivery(row.id), "lease": claim.token, "now": now}
        if not self._store.write(partial(_consume, leased=leased), is_verified=True):
            return None
        self._ring_receipts(row.id)
        return _consumed_message(row, now)

    def consume_batch(self, queue: QueueState, max: int, max_bytes: int | None) -> tuple[list[Message], QueueState]:
        """Consume up to `max` messages, or `max_bytes`, in one transaction; also returns the queue's new state."""
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}

        def step(tx: Transaction) -> tuple[list[MessageRow], QueueState]:
            rows = self._ready(tx, queue, query, max_bytes)
            for row in rows:
                tx.change("consume", {**query, "message_id": row.id, "lease": None})
            return rows, QueueState(*tx.rows("peek_ready", query)[0]) if len(rows) < max else ASSUME_READY

        rows, left = self._store.write(step)
        self._ring_receipts(*[row.id for row in rows])
        return [_consumed_message(row, now) for row in rows], left

    def lease_batch(
        self, queue: QueueState, max: int, max_bytes: int | None, lease: Lease, *, counts_attempt: bool
    ) -> tuple[list[Message], QueueState]:
        """Lease up to `max` ready messages in one transaction; also returns the queue's new state.

        Without `counts_attempt` it prefetches: no attempt counts, and the state stays, until `consume_leased`.
        """
        if counts_attempt:
            return self._deliver(queue, max, max_bytes, lease, peeks_after=True)
        now = clock.now()
        query = {"recipient": self._recipient, "now": now, "max": max}

        def step(tx: Transaction) -> tuple[list[MessageRow], QueueState]:
            rows = self._ready(tx, queue, query, max_bytes)
            if rows:
                until = now + clock.to_micros(lease.span_s)
                tx.change("prefetch", {**query, "until": until, "lease": lease.token, "max": len(rows)})
            return rows, QueueState(*tx.rows("peek_ready", query)[0]) if len(rows) < max else ASSUME_READY

        rows, left = self._store.write(step)
        return [Message.from_row(row, now) for row in rows], left

    def _deliver(
        self,
        queue: QueueState | None,
        max: int,
        max_bytes: int | None,
        lease: Lease,
        *,
        peeks_after: bool = False,
    ) -> tuple[list[Message], QueueState]:
        """Lease the ready messages and count the attempts; with `queue` None, peek inside the transaction.

        Also returns the queue's new state, or ASSUME_READY unless `peeks_after`.
        """
        now = clock.now()
        until = now + clock.to_micros(lease.span_s)
        query = {"recipient": self._recipient, "now": now, "max": max, "until": until, "lease": lease.token}

        def step(tx: Transaction) -> tuple[list[MessageRow], QueueState]:
            rows = self._ready(tx, queue, query, max_bytes)
            if rows:
                query["max"], query["message_id"] = len(rows), rows[0].id
                if len(rows) == 1:  # saves the search of `claim`, a twentieth of a round trip
                    tx.change("claim_one", query)
                else:
                    tx.change("claim", query)
            if peeks_after and len(rows) < max:
                return rows, QueueState(*tx.rows("peek_ready", query)[0])
            return rows, ASSUME_READY

        rows, left = self._store.write(step)
        new, messages = [], []
        for row in rows:
            if row.state != DELIVERED:
                new.append(row.id)
            messages.append(Message.from_row(row.delivered_row(DELIVERED, now, None), now, lease.token))
        if new:
            self._ring_receipts(*new)
        return messages, left

    def consume_leased(self, message_id: int, token: int) -> None:
        """Consume a message that is leased under `token`; raises LeaseLostError if it is not."""
        check_id(message_id)
        leased = {**self._delivery(message_id), "lease": token, "now": clock.now()}
        if not self._store.write(partial(_consume, leased=leased)):
            raise LeaseLostError(
                f"the lease on message #{message_id} is lost: it has ended, the message has expired, or another "
                "consumer holds it"
            )
        self._ring_receipts(message_id)

    def renew(self, lease: Lease) -> dict[int, int]:
        """Let a lease end its full span from now; returns the messages that it still holds, as `leased` does."""
        query = {"recipient": self._recipient, "lease": lease.token}
        query["until"] = clock.now() + clock.to_micros(lease.span_s)
        return dict(self._store.write(lambda tx: tx.rows("renew", query)))

    def leased(self, lease: Lease) -> dict[int, int]:
        """Return the ids of the messages that a lease still holds, each with the end of its lease in microseconds."""
        return dict(self._store.rows("list_leased", {"recipient": self._recipient, "lease": lease.token}))

    def _ready(
        self, tx: Transaction, queue: QueueState | None, query: dict[str, Any], max_bytes: int | None = None
    ) -> list[MessageRow]:
        """Apply due timers and expiry, then return the ready deliveries."""
        self._identity.heartbeat(tx)
        self.ended_leases.release_in(tx)
        if queue is None:
            queue = QueueState(*tx.rows("peek_ready", query)[0])
        addresses: list[str] = []
        is_due = queue.due_at is not None and queue.due_at <= query["now"]
        if is_due:
            addresses += expiry.release_due(tx, self._recipient, query["now"])
        if is_due or queue.expired:
            addresses += expiry.expire(tx, query["now"])
        if addresses:
            tx.after_commit(self._ring, addresses)
        return list(starmap(MessageRow, tx.rows("next_ready", query, max_bytes)))

    def _delivery(self, message_id: int) -> dict[str, Any]:
        return {"message_id": message_id, "recipient": self._recipient}

    def _ring_receipts(self, *message_ids: int) -> None:
        """Wake the waiters for the receipts of messages after the commit."""
        if message_ids:
            self._store.after_commit(self._ring_receipts_here, list(map(receipt_address, message_ids)))

    def _token(self, message_id: int, lease: int | None) -> int | None:
        """Return the given lease, or else the remembered one; raises InputError."""
        check_id(message_id)
        if lease is None:
            return self.leases.lease_of(message_id)
        check_token(lease)
        return lease

    def _end_lease(self, message_id: int, token: int | None) -> None:
        """Forget a lease after the commit, and wake the loop that waits for its window."""
        if token is None:
            return
        if self._store.block is not None:
            self._store.after_commit(lambda _: self.leases.forget(message_id, token))
        else:
            self.leases.forget(message_id, token)

    def _mark_lost(self, message_id: int, token: int | None) -> None:
        """Free the message's slot in its loop's window; a later ack stays refused."""
        if token is not None:
            lost = self.leases.mark_lost
            self._store.after_commit(lambda _: lost(message_id, token))

    def _require(self, tx: Transaction, message_id: int) -> tuple[int, int | None]:
        """Return the state and the lease of this address's delivery; raises MessageNotFoundError."""
        receipts = tx.rows("receipts_of", self._delivery(message_id))
        if receipts:
            return receipts[0][1], receipts[0][5]
        if tx.rows("get_request", self._delivery(message_id)):
            raise MessageNotFoundError(
                f"message #{message_id} was not sent to {self._recipient}: only its recipients can ack it"
            )
        raise MessageNotFoundError(f"there is no message #{message_id}: it was never sent, or it was pruned")


def new_token() -> int:
    """Return the token of a new lease."""
    return int.from_bytes(os.urandom(_TOKEN_BYTES)) or 1


def _lost(message_id: int, state: int, holder: int | None) -> LeaseLostError:
    """Return the error for a lease that no longer holds its delivery."""
    if state <= DELIVERED:
        why = "another consumer holds it" if holder is not None else "it is not leased now"
    else:
        why = f"it is {STATES[state]}" + (" by another consumer" if state == ACKED else "")
    return LeaseLostError(f"the lease on message #{message_id} is lost: {why}; undo its work, or claim again")


def _consume(tx: Transaction, leased: dict[str, Any]) -> bool:
    """Consume a leased delivery; if it has expired under its lease, release it so that `expire` can mark it."""
    consumed = bool(tx.change("consume", leased))
    if not consumed:
        tx.change("release_one", leased)
    return consumed


def _consumed_message(row: MessageRow, now: int) -> Message:
    return Message.from_row(row.delivered_row(ACKED, now, now), now)
