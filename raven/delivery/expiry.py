"""Expiry: applies elapsed delays, leases and expiry times to deliveries, and reports undelivered messages.

A claim applies the due timers of its own address; the WAL watcher and the server do so for all addresses. Each
function skips finished work, so several processes may run them at once.
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

# The type of a message that reports an expired or dead delivery to the sender.
UNDELIVERED = "raven.undelivered"
# The deliveries that one transaction marks as expired.
_BATCH = 500


def release_due(tx: Transaction, recipient: str, now: int) -> list[str]:
    """Release a recipient's elapsed delays and leases; returns the addresses to ring after the commit."""
    released = tx.rows("release_due", {"recipient": recipient, "now": now})
    return [recipient, *report_undelivered(tx, (delivery_id for delivery_id, state in released if state == DEAD))]


def expire(tx: Transaction, now: int) -> list[str]:
    """Mark one batch of deliveries of all recipients as expired; returns the addresses to ring after the commit."""
    return report_undelivered(tx, (row[0] for row in tx.rows("expire", {"now": now, "max": _BATCH})))


def report_undelivered(tx: Transaction, delivery_ids: Iterable[int]) -> list[str]:
    """Report dead or expired deliveries to senders that asked for reports; returns the addresses to ring."""
    addresses: list[str] = []
    for delivery_id in delivery_ids:
        # No row if an external writer has deleted the message.
        for row in tx.rows("get_undelivered", {"delivery_id": delivery_id}):
            message_id, report = row[0], row[4]
            addresses.append(receipt_address(message_id))
            if report is not None:
                addresses += [*_report(tx, *row), ALL_TRAFFIC]
    return addresses


def apply_due(store: Store, ring: Callable[[Iterable[str]], object]) -> None:
    """Apply all due timers on the bus, a transaction per recipient, and wake the affected waiters."""
    now = clock.now()
    for recipient, due_at in store.rows("recipients_with_mail"):
        if due_at is not None and due_at <= now:
            with store.write() as tx:
                addresses = release_due(tx, recipient, now)
            store.after_commit(ring, addresses)
    while _expires_by(store, now):
        with store.write() as tx:
            addresses = expire(tx, now)
        store.after_commit(ring, addresses)


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
    """Send `raven.undelivered` to the sender; the missed recipient is its `sender`."""
    body = {
        "message_id": message_id,
        "recipient": recipient,
        "type": type,
        "state": STATES[state],
        "attempts": attempts,
        "reason": reason if state == DEAD else "it expired before a consumer claimed it",
    }
    columns: dict[str, Any] = dict(zip(INHERITED, inherited, strict=True))
    row = MessageRow(
        0, recipient, sender, UNDELIVERED, bodies.encode(body), urgency=urgency, reply_to=message_id, **columns
    )
    return outbox.insert(tx, NewMessage.from_row(row)).recipients
