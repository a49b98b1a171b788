"""Changes: the change log of deliveries, and the messages beside it, in the order of their commits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from raven.delivery import change_log
from raven.model import body as bodies
from raven.model import clock
from raven.model.status import Receipt
from raven.query.receipts import receipt_of
from raven.store.database import Store


class End(NamedTuple):
    """The end of the log at one moment: the newest message, the newest and the oldest change; 0 if there is none.

    `tag` stands for this log: it differs in every other file, and after a gap. It is empty if no change is logged.
    `replaced` counts how often another file has replaced the bus since this process opened it.
    """

    message: int
    change: int
    oldest: int
    tag: str
    replaced: int


class Change(NamedTuple):
    """One change of a delivery, with its receipt just after it, and the sender and type of its message."""

    id: int
    message_id: int
    sender: str
    type: str
    at: datetime
    receipt: Receipt


class ChangeLog:
    """The change log of a bus; after `enable`, each change of a delivery is one row of it, whichever program made it.

    `scope` is the JSON array of the addresses whose view this is; None for the whole bus. All methods but `enable`
    only read, in short transactions.
    """

    def __init__(self, store: Store, scope: str | None = None) -> None:
        self._store = store
        self._scope = scope

    def enable(self) -> None:
        """Log every change from now on, for 23 hours at least; does nothing if that is so already.

        Call it now and then while the log has readers. Raises DatabaseError if the bus cannot be written, or has a
        table of another program under the name of the log's.
        """
        change_log.begin(self._store)

    def end(self, *, is_logged: bool = True) -> End:
        """Return the end of the log; without `is_logged`, that of the messages alone."""
        self._store.verify()
        if not is_logged:
            return End(int(self._store.value("last_message_id")), 0, 0, "", self._store.replaced)
        [(message, change, oldest, tag)] = self._store.rows("change_log_end")
        return End(message, change, oldest, tag or "", self._store.replaced)

    def between(self, after: int, last: int) -> list[Change]:
        """Return the changes after an id up to another, by id; changes of deleted deliveries are left out."""
        rows = self._store.rows("changes_between", {"after": after, "last": last, "scope": self._scope})
        return [
            Change(id, message_id, sender, type, clock.from_micros(at), receipt_of(receipt, 0))
            for id, message_id, sender, type, at, *receipt in rows
        ]

    def receipts(self, ids: Iterable[int], most: int) -> Mapping[int, list[Receipt]]:
        """Return the receipts of messages by message id: of each message, the first `most` receipts."""
        scope = self._scope
        name = "receipts_among" if scope is None else "scoped_receipts_among"
        rows = self._store.rows(name, {"ids": bodies.encode(list(ids)), "max": most, "scope": scope})
        now = clock.now()
        receipts = defaultdict(list)
        for row in rows:
            receipts[row[0]].append(receipt_of(row[1:], now))
        return receipts

    def recipients(
        self, ids: Iterable[int], addresses: Iterable[str], sessions: Iterable[str]
    ) -> Mapping[int, frozenset[str]]:
        """Return, by the ids of messages, those recipients that are among the addresses, or in one of the sessions."""
        rows = self._store.rows(
            "recipients_among",
            {
                "ids": bodies.encode(list(ids)),
                "addresses": bodies.encode(list(addresses)),
                "sessions": bodies.encode(list(sessions)),
                "scope": self._scope,
            },
        )
        recipients = defaultdict(set)
        for message_id, recipient in rows:
            recipients[message_id].add(recipient)
        return {message_id: frozenset(found) for message_id, found in recipients.items()}
