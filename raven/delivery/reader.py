"""Reader: the mail of one address, for a program that shows messages to a reader, who finishes them later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raven.model import body as bodies
from raven.model import clock
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import Message
from raven.wake.doorbell import receipt_address

if TYPE_CHECKING:
    from raven.delivery.identity import Identity
    from raven.delivery.mailbox import Mailbox
    from raven.store.database import Store
    from raven.store.transaction import Transaction
    from raven.wake.doorbell import Doorbells

_MAX_REPLIES = 20
_MAX_READY = 1_000


class Reader:
    """Lists unfinished mail without a mark, and marks as delivered the messages that were really shown."""

    def __init__(self, store: Store, identity: Identity, doorbells: Doorbells, mailbox: Mailbox) -> None:
        self._store = store
        self._identity = identity
        self._doorbells = doorbells
        self._mailbox = mailbox

    def unacked(self, max: int) -> list[Message]:
        """Return the unacked messages as `inbox` does; fewer than `max` if they are longer than a page."""
        return self._mailbox.inbox(max, True, MAX_PAGE_BYTES)

    def ready_ids(self) -> list[int]:
        """Return the ids of the ready messages, up to 1,000 of them; none under a lease."""
        query = {"recipient": self._identity.address, "now": clock.now(), "max": _MAX_READY}
        return [row[0] for row in self._store.rows("list_waiting", query)]

    def mark_delivered(self, message_ids: Sequence[int]) -> None:
        """Mark messages as seen for the first time, as `inbox` does; one that was seen before does not change."""
        now, recipient = clock.now(), self._identity.address

        def step(tx: Transaction) -> None:
            self._identity.heartbeat(tx)
            for message_id in message_ids:
                tx.change("mark_delivered", {"message_id": message_id, "recipient": recipient, "now": now})

        self._store.write(step)
        self._doorbells.ring_receipts(recipient, [receipt_address(message_id) for message_id in message_ids])

    def is_registered(self, address: str) -> bool:
        """Whether any client has used an address, or has registered it."""
        return bool(self._store.rows("registered_among", {"addresses": bodies.encode([address])}))

    def heartbeat(self) -> None:
        """Keep the address in use while its program only waits; this writes at most every few seconds."""
        self._store.verify()
        if self._identity.heartbeat_due():
            self._store.write(self._identity.heartbeat)

    def replies_to(self, message_id: int) -> list[Message]:
        """Return the first replies to a message that came to this address, by id, with their deliveries."""
        query = {"message_id": message_id, "recipient": self._identity.address, "max": _MAX_REPLIES}
        self._store.verify()
        now = clock.now()
        return [Message.from_row(row, now) for row in self._store.rows("replies_to", query)]
