"""Dead letters: lists, requeues and purges the deliveries that have used all their attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from raven.delivery import expiry
from raven.errors import DatabaseError, DeliveryError, ExpiredError, InputError, MessageNotFoundError
from raven.model import clock
from raven.model.address import parse_address
from raven.model.limits import GRACE_S, check_id, check_max
from raven.model.message import DEAD, Message
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells

_BATCH = 500


class DeadLetters:
    """The dead deliveries of one bus."""

    def __init__(self, store: Store, doorbells: Doorbells) -> None:
        self._store = store
        self._doorbells = doorbells

    def letters(self, role: str | None, max: int, max_bytes: int | None = None) -> list[Message]:
        """Return the dead deliveries, each as its recipient sees the message, in the order of their ids."""
        check_max(max)
        query = {"recipient": _recipient(role), "max": max}
        self._apply_due()
        now = clock.now()
        return [Message.from_row(row, now) for row in self._store.rows("dead_letters", query, max_bytes)]

    def requeue(self, ids: Sequence[int], role: str | None) -> int:
        """Requeue the dead deliveries of all given messages, or none, in one transaction; returns their number."""
        if not ids:
            raise InputError("requeue needs the id of a message, or all=True")
        for message_id in ids:
            check_id(message_id)
        recipient = _recipient(role)
        self._apply_due()

        def step(tx: Transaction) -> list[str]:
            return [address for message_id in dict.fromkeys(ids) for address in _requeue(tx, message_id, recipient)]

        requeued = self._store.write(step)
        self._wake(requeued)
        return len(requeued)

    def requeue_all(self, role: str | None) -> int:
        """Requeue all dead deliveries, or one recipient's, a transaction per batch; skips expired ones."""
        recipient, after, count = _recipient(role), 0, 0
        self._apply_due()
        while True:
            batch, requeued = self._store.write(partial(_requeue_batch, recipient=recipient, after=after))
            self._wake(requeued)
            count += len(requeued)
            if len(batch) < _BATCH:
                return count
            after = batch[-1][0]

    def purge(self, role: str | None) -> int:
        """Delete all dead deliveries, or one recipient's, a transaction per batch; then shrink the file."""
        recipient, count = _recipient(role), 0
        self._apply_due()
        while True:
            purged = self._store.write(
                partial(_purge_batch, recipient=recipient, is_awaited=self._doorbells.is_awaited)
            )
            count += purged
            if purged < _BATCH:
                break
        if count and not self._store.in_block():
            self._store.vacuum()
        return count

    def _apply_due(self) -> None:
        """Mark deliveries dead whose last lease has just ended; a busy or read-only file postpones this."""
        with suppress(DatabaseError):
            self._store.no_wait(partial(expiry.apply_due, self._store, self._doorbells.ring))

    def _wake(self, recipients: Iterable[str]) -> None:
        self._store.after_commit(self._doorbells.ring, [*recipients, ALL_TRAFFIC])


def _requeue(tx: Transaction, message_id: int, recipient: str | None) -> list[str]:
    """Requeue the dead deliveries of one message; returns their recipients."""
    requeued = tx.rows("requeue", {"message_id": message_id, "recipient": recipient, "now": clock.now()})
    if requeued:
        return [row[0] for row in requeued]
    receipts = tx.rows("receipts_of", {"message_id": message_id, "recipient": recipient})
    if any(row[1] == DEAD for row in receipts):
        raise ExpiredError(f"message #{message_id} is dead and past its expiry: send it again")
    if receipts:
        raise DeliveryError(f"message #{message_id} is not dead: only dead deliveries can be requeued")
    whose = "" if recipient is None else f" to {recipient}"
    raise MessageNotFoundError(f"there is no message #{message_id}{whose}: it was never sent, or it was pruned")


def _requeue_batch(tx: Transaction, recipient: str | None, after: int) -> tuple[list[Any], list[str]]:
    """Requeue one batch of dead deliveries; returns its rows, and the recipients of those that have not expired."""
    batch = tx.rows("dead_after", {"recipient": recipient, "after": after, "max": _BATCH})
    now = clock.now()
    requeued = [
        row[0]
        for message_id in dict.fromkeys(row[1] for row in batch)
        for row in tx.rows("requeue", {"message_id": message_id, "recipient": recipient, "now": now})
    ]
    return batch, requeued


def _purge_batch(tx: Transaction, recipient: str | None, is_awaited: Callable[[int], bool]) -> int:
    """Delete one batch of dead deliveries; returns their number."""
    batch = tx.rows("dead_after", {"recipient": recipient, "after": 0, "max": _BATCH})
    now = clock.now()
    times = {"now": now, "grace": now - clock.to_micros(GRACE_S)}
    for delivery_id, message_id in batch:
        # The newest message and its delivery stay, so that SQLite does not reuse the id. So do messages for which a
        # sender may still wait: retention or `prune` deletes them later.
        if not tx.change("expire_dead", {"delivery_id": delivery_id, "is_awaited": is_awaited(message_id), **times}):
            tx.change("delete_dead", {"delivery_id": delivery_id})
            tx.change("delete_orphan", {"message_id": message_id})
    return len(batch)


def _recipient(role: str | None) -> str | None:
    return None if role is None else str(parse_address(role))
