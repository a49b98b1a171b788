"""Dead letters: deliveries whose attempts ran out; to be looked at, revived or dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from raven.delivery import expiry
from raven.errors import DatabaseError, DeliveryError, ExpiredError, InputError, MessageNotFoundError
from raven.model import clock
from raven.model.address import parse_address
from raven.model.limits import check_id, check_max
from raven.model.message import DEAD, Message
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells

_BITE = 500


class DeadLetters:
    """The dead of one bus."""

    def __init__(self, store: Store, doorbells: Doorbells) -> None:
        self._store = store
        self._doorbells = doorbells

    def letters(self, role: str | None, max: int, max_bytes: int | None = None) -> list[Message]:
        """Return the dead, each as its recipient has it, in the order of their ids."""
        check_max(max)
        query = {"recipient": _recipient(role), "max": max}
        self._apply_due()
        now = clock.now()
        return [Message.from_row(row, now) for row in self._store.rows("dead_letters", query, max_bytes)]

    def requeue(self, ids: Sequence[int], role: str | None) -> int:
        """Revive the dead of some messages in one transaction, all or none; returns how many deliveries."""
        if not ids:
            raise InputError("requeue needs the id of a message, or all=True")
        for message_id in ids:
            check_id(message_id)
        recipient = _recipient(role)
        self._apply_due()
        with self._store.write() as tx:
            revived = [
                address for message_id in dict.fromkeys(ids) for address in self._revive(tx, message_id, recipient)
            ]
        self._wake(revived)
        return len(revived)

    def requeue_all(self, role: str | None) -> int:
        """Revive all the dead, or those of one recipient, a bite a transaction; passes over those past their time."""
        recipient, after, count = _recipient(role), 0, 0
        self._apply_due()
        while True:
            with self._store.write() as tx:
                bite = tx.rows("dead_after", {"recipient": recipient, "after": after, "max": _BITE})
                revived = [
                    row[0]
                    for message_id in dict.fromkeys(row[1] for row in bite)
                    for row in tx.rows(
                        "requeue", {"message_id": message_id, "recipient": recipient, "now": clock.now()}
                    )
                ]
            self._wake(revived)
            count += len(revived)
            if len(bite) < _BITE:
                return count
            after = bite[-1][0]

    def purge(self, role: str | None) -> int:
        """Drop all the dead, or those of one recipient, a bite a transaction, and give their space back."""
        recipient, count = _recipient(role), 0
        self._apply_due()
        while True:
            with self._store.write() as tx:
                bite = tx.rows("dead_after", {"recipient": recipient, "after": 0, "max": _BITE})
                for delivery_id, message_id in bite:
                    # The newest message stays, since it keeps ids from being used again; so does what became of it.
                    if not tx.change("expire_newest_dead", {"delivery_id": delivery_id}):
                        tx.change("delete_dead", {"delivery_id": delivery_id})
                        tx.change("delete_orphan", {"message_id": message_id})
            count += len(bite)
            if len(bite) < _BITE:
                break
        if count and not self._store.nesting():
            self._store.vacuum()
        return count

    def _apply_due(self) -> None:
        """Notice who died of its last lease just now; where nothing can be written just now, that has to wait."""
        with suppress(DatabaseError), self._store.no_wait():
            expiry.apply_due(self._store, self._doorbells.ring)

    def _revive(self, tx: Transaction, message_id: int, recipient: str | None) -> list[str]:
        revived = tx.rows("requeue", {"message_id": message_id, "recipient": recipient, "now": clock.now()})
        if revived:
            return [row[0] for row in revived]
        found = tx.rows("receipts_of", {"message_id": message_id, "recipient": recipient})
        if any(row[1] == DEAD for row in found):
            raise ExpiredError(f"message #{message_id} is dead, and its time has run out: send it anew")
        if found:
            raise DeliveryError(f"message #{message_id} is not dead: only the dead can be requeued")
        whose = "" if recipient is None else f" to {recipient}"
        raise MessageNotFoundError(f"there is no message #{message_id}{whose}: it was never sent, or it was pruned")

    def _wake(self, recipients: Iterable[str]) -> None:
        self._store.after_commit(self._doorbells.ring, [*recipients, ALL_TRAFFIC])


def _recipient(role: str | None) -> str | None:
    return None if role is None else str(parse_address(role))
