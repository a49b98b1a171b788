"""Forgetting: unregisters addresses, and lets the mail that waits for them expire.

Each step is one small transaction. Mail gets an expiry, and `expiry.apply_due` does the rest: it reports, wakes the
waiters, and waits for the end of leases. A step that is done finds nothing to do, so a broken run can be repeated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from raven.agents.agent import agents_at, delete_ended, forget_ended
from raven.delivery import expiry
from raven.delivery.outbox import Outbox
from raven.errors import InputError
from raven.model import clock
from raven.model.address import WILDCARD, Address, parse_targets
from raven.model.status import Forgotten
from raven.wake.doorbell import Doorbells

if TYPE_CHECKING:
    from raven.delivery.identity import Identity
    from raven.model.message import Message
    from raven.model.new_message import NewMessage
    from raven.store.database import Store
    from raven.store.transaction import Transaction

Ring = Callable[[Iterable[str]], object]
# The rows that one transaction changes, and the addresses that one read returns.
_BATCH = 500


def forget(store: Store, ring: Ring, targets: Sequence[str]) -> Forgotten:
    """Unregister addresses or all that match a pattern, and let their unfinished deliveries expire now.

    A leased delivery expires at the end of its lease, unless it is acked. No pattern matches a private reply address.
    The sessions of coding agents that had these addresses are forgotten, unless they live.
    """
    if not targets:
        raise InputError("forget needs an address or a pattern: write it as <role>:<session>")
    addresses = deliveries = 0
    parsed = parse_targets(list(targets))
    # Twice, since a report about an expired delivery may go to one of these addresses.
    for _ in range(2):
        for text, target in parsed.items():
            addresses += _unregister(store, target)
            forget_ended(store, target)
            deliveries += sum(_shorten_lives(store, batch, 0) for batch in _recipients(store, text, target))
        expiry.apply_due(store, ring)
    return Forgotten(addresses, deliveries)


def forget_unseen(store: Store, doorbells: Doorbells, ttl_s: float, at_most_s: float = math.inf) -> None:
    """Unregister the addresses that no client has used for `ttl_s` seconds; their mail expires at that age.

    An address is in use while a subscriber waits there or a lease is held: it counts as seen now. The addresses of
    other hosts are theirs to unregister, and so is the mail that they hold. Stops after about `at_most_s` seconds, and
    if another writer is active.
    """
    deadline = time.monotonic() + at_most_s
    ttl_us = clock.to_micros(ttl_s)
    while time.monotonic() < deadline:
        now = clock.now()
        query = {"before": now - ttl_us, "max": _BATCH}
        unseen = [row[0] for row in store.rows("unseen_identities", query)]
        if not unseen:
            return
        in_use = {address for address in unseen if doorbells.count_waiting(address)}
        in_use.update(a for a in unseen if a not in in_use and store.value("holds_lease", {"recipient": a}))
        _shorten_lives(store, [address for address in unseen if address not in in_use], ttl_us, is_own=True)
        store.write(partial(_unregister_unseen, unseen=unseen, in_use=in_use, times={**query, "now": now}))


def expire_older(store: Store, ring: Ring, before: int) -> int:
    """Let the unfinished deliveries of messages that were sent before a time expire; returns their number.

    Open requests stay, since their senders still wait.
    """
    total, after = 0, 0
    upto = int(store.value("last_message_id")) + 1 << 20
    while True:
        query = {"after": after, "upto": upto, "before": before, "now": clock.now(), "max": _BATCH}
        ids = store.write(partial(_ids_of, query=query))
        total += len(ids)
        if len(ids) < _BATCH:
            break
        after = max(ids)
    expiry.apply_due(store, ring)
    return total


class LifetimeOutbox(Outbox):
    """An outbox whose broadcasts pass over addresses that no client has used for long, and expire after a time.

    `identity_ttl_s` and `broadcast_ttl_s` are the settings of these names; None is no limit.
    """

    def __init__(
        self,
        store: Store,
        identity: Identity,
        doorbells: Doorbells,
        record_sends: Callable[[int], None] | None,
        identity_ttl_s: float | None,
        broadcast_ttl_s: float | None,
    ) -> None:
        super().__init__(store, identity, doorbells, record_sends)
        self._identity_ttl_s = identity_ttl_s
        self._broadcast_ttl_us = None if broadcast_ttl_s is None else clock.to_micros(broadcast_ttl_s)

    def send(self, message: NewMessage, on_insert: Callable[[int], None] | None = None) -> Message:
        """Send one message; `on_insert` gets its id before the commit, which can still fail."""
        return super().send(self._with_lifetime([message])[0], on_insert)

    def send_many(self, messages: Sequence[NewMessage]) -> list[Message]:
        """Send messages: all of them or none."""
        return super().send_many(self._with_lifetime(messages))

    def _with_lifetime(self, messages: Sequence[NewMessage]) -> list[NewMessage]:
        """Return the messages, broadcasts with a lifetime; before a broadcast, forget the addresses that are due."""
        broadcasts = [WILDCARD in message.row.to for message in messages]
        if any(broadcasts) and self._identity_ttl_s is not None:
            forget_unseen(self._store, self._doorbells, self._identity_ttl_s)
        return [
            message._replace(lifetime_us=self._broadcast_ttl_us)
            if is_broadcast and not message.lifetime_us
            else message
            for message, is_broadcast in zip(messages, broadcasts, strict=True)
        ]


def _unregister(store: Store, target: Address) -> int:
    """Unregister all addresses that match, a batch per transaction; returns their number."""
    total = 0
    while True:
        deleted = store.write(lambda tx: tx.change("delete_identities", {**target._asdict(), "max": _BATCH}))
        total += deleted
        if deleted < _BATCH:
            return total


def _recipients(store: Store, text: str, target: Address) -> Iterable[list[str]]:
    """Yield the addresses that match and have unfinished mail, in batches."""
    if not target.is_pattern:
        yield [text]
        return
    for leased in (0, 1):
        after = ""
        while True:
            query = {**target._asdict(), "leased": leased, "after": after, "max": _BATCH}
            batch = [row[0] for row in store.rows("recipients_matching", query)]
            if batch:
                yield batch
            if len(batch) < _BATCH:
                break
            after = batch[-1]


def _shorten_lives(store: Store, recipients: Sequence[str], life_us: int, *, is_own: bool = False) -> int:
    """Let the unfinished deliveries to some addresses expire `life_us` after their send, or now if that is past.

    With `is_own`, those that other hosts hold stay. Returns the number of deliveries whose life is shorter now; many
    small mailboxes share a transaction.
    """
    total = done = 0
    while done < len(recipients):
        batch = partial(_shorten_batch, recipients=recipients[done:], life_us=life_us, is_own=is_own)
        finished, changed = store.write(batch)
        done, total = done + finished, total + changed
    return total


def _shorten_batch(tx: Transaction, recipients: Sequence[str], life_us: int, is_own: bool) -> tuple[int, int]:
    """Shorten the lives of one batch of deliveries; returns how many recipients are done, and its size."""
    now, total, done = clock.now(), 0, 0
    for recipient in recipients:
        room = _BATCH - total - done
        if room <= 0:
            break
        query = {"recipient": recipient, "now": now, "life": life_us, "is_own": is_own, "max": room}
        changed = tx.change("shorten_lives", query)
        total += changed
        if changed == room:
            break
        done += 1
    return done, total


def _unregister_unseen(tx: Transaction, unseen: Sequence[str], in_use: set[str], times: Mapping[str, int]) -> None:
    """Unregister addresses, except those in use; a client that came back meanwhile keeps its registration."""
    for address in unseen:
        if address in in_use:
            tx.change("mark_seen", {"address": address, **times})
        elif tx.change("delete_unseen_identity", {"address": address, **times}):
            delete_ended(tx, agents_at(tx, address))


def _ids_of(tx: Transaction, query: Mapping[str, int]) -> list[int]:
    return [row[0] for row in tx.rows("expire_older", query)]
