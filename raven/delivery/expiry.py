"""Expiry: applies elapsed delays, leases and expiry times to deliveries, and reports undelivered messages.

A claim applies the due timers of its own address; the WAL watcher and the server do so for all addresses. Each
function skips finished work, so several processes may run them at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from raven.delivery import change_log, outbox
from raven.model import body as bodies
from raven.model import clock
from raven.model.message import DEAD, INHERITED, STATES, MessageRow
from raven.model.new_message import NewMessage
from raven.store.database import Store
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address

# The type of a message that reports an expired or dead delivery to the sender.
UNDELIVERED = "raven.undelivered"
# The deliveries whose timers one transaction applies, and the addresses with ended leases that one read returns.
_BATCH = 500
_HOLDERS = 500
# The longest run of one tick: what is still due then waits for the next tick.
TICK_S = 0.1


def release_due(tx: Transaction, recipient: str, now: int) -> list[str]:
    """Release one batch of a recipient's elapsed delays and leases; returns the addresses to ring after the commit."""
    released = tx.rows("release_due", {"recipient": recipient, "now": now, "max": _BATCH})
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


def apply_due(store: Store, ring: Callable[[Iterable[str]], object], at_most_s: float = math.inf) -> bool:
    """Apply the due timers of the bus, a transaction per batch, and wake the affected waiters.

    Stops after about `at_most_s` seconds; returns whether timers may still be due then. Its cost grows with the due
    timers and with the addresses that hold leases, not with the addresses that have mail.
    """
    now, deadline = clock.now(), time.monotonic() + at_most_s
    has_more = True
    while has_more and time.monotonic() < deadline:
        has_more = _apply_batches(store, ring, now, deadline)
    return has_more


def _apply_batches(store: Store, ring: Callable[[Iterable[str]], object], now: int, deadline: float) -> bool:
    """Apply a batch of each kind of due timer; returns whether there may be more."""
    holders = [row[0] for row in store.rows("recipients_with_ended_leases", {"now": now, "max": _HOLDERS})]
    for recipient in holders:
        if time.monotonic() >= deadline:
            return True
        addresses = store.write(partial(release_due, recipient=recipient, now=now))
        store.after_commit(ring, addresses)
    timers = {"now": now, "latest": now + change_log.LATEST_US}
    [(is_delayed, is_expired, is_log_over)] = store.rows("has_due_timer", timers)
    if is_log_over:
        change_log.end_if_due(store, now)
    if is_delayed or is_expired:

        def step(tx: Transaction) -> list[str]:
            released = [row[0] for row in tx.rows("release_delayed", {"now": now, "max": _BATCH})] if is_delayed else []
            return [*released, *(expire(tx, now) if is_expired else [])]

        store.after_commit(ring, dict.fromkeys(store.write(step)))
    return bool(holders or is_delayed or is_expired)


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
