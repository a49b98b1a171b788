"""Settlement: puts into effect what time has brought to deliveries, and tells senders who asked for it.

Whoever comes first settles: a claim for its own address, the watch and the server for all. What was settled already is
passed over, so that any number of them may try at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from raven.delivery import outbox
from raven.model import body as bodies
from raven.model import clock
from raven.model.message import DEAD, INHERITED, STATES, MessageRow
from raven.model.new_message import NewMessage
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address

# A message of this type tells a sender that one of its messages has expired or died.
UNDELIVERED = "raven.undelivered"
# So much is marked as expired in one transaction.
_BATCH = 500


def release_due(tx: Transaction, recipient: str, now: int) -> list[str]:
    """End what held back mail of a recipient until now; returns the doorbells to ring after the commit."""
    ended = tx.rows("release_due", {"recipient": recipient, "now": now})
    return [recipient, *report_undelivered(tx, (delivery_id for delivery_id, state in ended if state == DEAD))]


def expire(tx: Transaction, now: int) -> list[str]:
    """Mark some of what nobody took in time, for all recipients; returns the doorbells to ring after the commit."""
    return report_undelivered(tx, (row[0] for row in tx.rows("expire", {"now": now, "max": _BATCH})))


def report_undelivered(tx: Transaction, delivery_ids: Iterable[int]) -> list[str]:
    """Report deliveries that have died or expired to the senders who asked for it; returns the doorbells to ring."""
    bells: list[str] = []
    for delivery_id in delivery_ids:
        # None where a foreign writer has deleted the message.
        for told in tx.rows("undelivered", {"delivery_id": delivery_id}):
            bells.append(receipt_address(told[0]))
            if told[4] is not None:
                bells += [*_report(tx, *told), ALL_TRAFFIC]
    return bells


def apply_due(store: Store, ring: Callable[[Iterable[str]], object]) -> None:
    """Settle all that is due on the bus, a transaction a recipient, and wake whom it concerns."""
    now = clock.now()
    for recipient, due_at in store.rows("recipients_with_mail"):
        if due_at is not None and due_at <= now:
            with store.write() as tx:
                bells = release_due(tx, recipient, now)
            store.after_commit(ring, bells)
    while _expires_by(store, now):
        with store.write() as tx:
            bells = expire(tx, now)
        store.after_commit(ring, bells)


def _expires_by(store: Store, now: int) -> bool:
    rows = store.rows("next_expiry", {"now": now})
    return bool(rows) and rows[0][0] <= now


def _report(
    tx: Transaction,
    message_id: int,
    sender: str,
    type: str,
    urgency: int,
    report: str,
    recipient: str,
    state: int,
    attempts: int,
    reason: str | None,
    *inherited: str | None,
) -> list[str]:
    """Send `raven.undelivered` to the sender, in the name of the recipient that it did not reach."""
    told = {
        "message_id": message_id,
        "recipient": recipient,
        "type": type,
        "state": STATES[state],
        "attempts": attempts,
        "reason": reason if state == DEAD else "its time ran out before anybody took it",
    }
    kept: dict[str, Any] = dict(zip(INHERITED, inherited, strict=True))
    row = MessageRow(
        0, recipient, sender, UNDELIVERED, bodies.encode(told), urgency=urgency, reply_to=message_id, **kept
    )
    return outbox.insert(tx, NewMessage.from_row(row)).recipients
