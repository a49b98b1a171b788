"""Outbox: inserts checked messages with their deliveries, and wakes the recipients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from raven.errors import InputError, UnknownAddressError, abbreviate
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import WILDCARD
from raven.model.message import DELIVERY_COLUMNS, MESSAGE_COLUMNS, Message, MessageRow
from raven.model.new_message import NewMessage
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells

if TYPE_CHECKING:
    from raven.delivery.identity import Identity
    from raven.store.database import Store

MAX_RECIPIENTS = 1 << 20
# The insert's two times stand between the columns that a new message has already.
_BEFORE_TIMES = slice(1, MessageRow._fields.index("created_at"))
_AFTER_TIMES = slice(MessageRow._fields.index("expires_at") + 1, len(MESSAGE_COLUMNS))
_TIMES = slice(_BEFORE_TIMES.stop - 1, _AFTER_TIMES.start - 1)  # among the values, which have no id
# The delivery columns of a message that no recipient has seen yet.
_NEW_DELIVERY = tuple(MessageRow._field_defaults[name] for name in DELIVERY_COLUMNS)


class StoredMessage(NamedTuple):
    """A message in the store, with the columns of MessageRow, its body and its recipients.

    `now` is the time of the insert or, if an earlier send has stored it (`is_duplicate`), of the lookup.
    """

    row: tuple[Any, ...]
    body: Any
    recipients: list[str]
    now: int
    is_duplicate: bool = False


class Admission(Protocol):
    """Counts the deliveries of sends before they are written; raven.host.admission has the limits."""

    def count(self, recipients: int, patterns: int) -> None:
        """Count so many deliveries of a message, and patterns to be expanded; raises LimitError."""

    def admit(self, tx: Transaction, recipients: Sequence[str], size: int) -> None:
        """Admit a message to these recipients, with a body of this size; raises LimitError."""

    def record(self, message_id: int, recipients: int, size: int) -> None:
        """Note that an admitted message was inserted."""


class Outbox:
    """The sends of one address; each call is one transaction and rings the doorbells after its commit."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        doorbells: Doorbells,
        record_sends: Callable[[int], None] | None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._doorbells = doorbells
        self._record_sends = record_sends
        self.admission: Admission | None = None  # set by a host that limits its clients

    def send(self, message: NewMessage, on_insert: Callable[[int], None] | None = None) -> Message:
        """Send one message; `on_insert` gets its id before the commit, which can still fail."""

        # As `send_many`, with less work: this is the hottest path.
        def step(tx: Transaction) -> StoredMessage:
            self._identity.heartbeat(tx)
            stored = insert(tx, message, self.admission)
            if on_insert is not None:
                on_insert(stored.row[0])
            return stored

        stored = self._store.write(step)
        notified: list[str] | None = []
        if not stored.is_duplicate:
            # None inside an open transaction: its commit rings later.
            notified = self._store.after_commit(self._doorbells.ring, [*stored.recipients, ALL_TRAFFIC])
        if self._record_sends is not None:
            self._record_sends(1)
        return self._as_sent(stored, notified)

    def send_many(self, messages: Sequence[NewMessage]) -> list[Message]:
        """Send messages: all of them or none."""

        def step(tx: Transaction) -> list[StoredMessage]:
            self._identity.heartbeat(tx)
            return insert_many(tx, messages, self.admission)

        stored = self._store.write(step)
        new = [one for one in stored if not one.is_duplicate]
        notified: list[str] | None = []
        if new:
            recipients = dict.fromkeys(address for one in new for address in one.recipients)
            notified = self._store.after_commit(self._doorbells.ring, [*recipients, ALL_TRAFFIC])
        if self._record_sends is not None:
            self._record_sends(len(stored))
        distinct = None if notified is None else set(notified)
        return [self._as_sent(one, distinct) for one in stored]

    def _as_sent(self, stored: StoredMessage, notified: Collection[str] | None) -> Message:
        row, body, recipients, now, is_duplicate = stored
        if notified is None or is_duplicate:
            notified = [address for address in recipients if self._doorbells.count_waiting(address)]
        waiting = {address: address in notified for address in recipients}
        return Message.from_row(row, now, None, waiting, is_duplicate, body)


def insert_many(
    tx: Transaction, messages: Sequence[NewMessage], admission: Admission | None = None
) -> list[StoredMessage]:
    """Insert messages and their deliveries, as far as `admission` lets them; raises its LimitError.

    If the sender has used a `dedup_key` before, insert nothing and return that first message.
    """
    stored: list[StoredMessage] = []
    for has_key, run in groupby(messages, lambda message: message.row.dedup_key is not None):
        if has_key:
            # One by one: the previous message may have used the same key.
            for message in run:
                stored += _find_duplicate(tx, message) or _insert_new(tx, [message], admission)
        else:
            stored += _insert_new(tx, list(run), admission)
    return stored


def insert(tx: Transaction, message: NewMessage, admission: Admission | None = None) -> StoredMessage:
    """Insert one message, as `insert_many` does; faster, for the hottest path."""
    if message.row.dedup_key is not None:
        duplicate = _find_duplicate(tx, message)
        if duplicate:
            return duplicate[0]
    now = clock.now()
    recipients, values = _recipients(tx, message, admission, {}), _values(message, now)
    id = tx.insert("insert_message", values)
    for row in _deliveries(message, id, recipients, values):
        tx.insert("insert_delivery", row)
    if admission is not None:
        admission.record(id, len(recipients), len(message.row.body))
    return StoredMessage((id, *values, *_NEW_DELIVERY), message.body, recipients, now)


def _find_duplicate(tx: Transaction, message: NewMessage) -> list[StoredMessage]:
    key = {"sender": message.row.sender, "dedup_key": message.row.dedup_key}
    first_id = tx.value("find_duplicate", key)
    if first_id is None:
        return []
    recipients = [row[0] for row in tx.rows("recipients_of", {"message_id": first_id})]
    row = tx.rows("get_message", {"message_id": first_id})[0]
    return [StoredMessage(row, bodies.decode(row[4]), recipients, clock.now(), True)]


def _insert_new(tx: Transaction, messages: Sequence[NewMessage], admission: Admission | None) -> list[StoredMessage]:
    """Insert messages that are no duplicates, with two statements for all of them."""
    now = clock.now()
    expanded: dict[str, list[str]] = {}
    recipients = [_recipients(tx, message, admission, expanded) for message in messages]
    values = [_values(message, now) for message in messages]
    last_id = tx.insert_many("insert_message", values)
    # The inserts of one transaction have consecutive ids.
    ids = range(last_id - len(messages) + 1, last_id + 1)
    tx.insert_many(
        "insert_delivery",
        chain.from_iterable(
            _deliveries(message, id, addresses, columns)
            for message, id, addresses, columns in zip(messages, ids, recipients, values, strict=True)
        ),
    )
    if admission is not None:
        for message, id, addresses in zip(messages, ids, recipients, strict=True):
            admission.record(id, len(addresses), len(message.row.body))
    return [
        StoredMessage((id, *columns, *_NEW_DELIVERY), message.body, addresses, now)
        for message, id, columns, addresses in zip(messages, ids, values, recipients, strict=True)
    ]


def _values(message: NewMessage, now: int) -> tuple[Any, ...]:
    """Return the parameters of insert_message in its order: MESSAGE_COLUMNS without the id."""
    columns: tuple[Any, ...] = message.row
    expires_at = None if message.lifetime_us is None else now + message.lifetime_us
    return (*columns[_BEFORE_TIMES], now, expires_at, *columns[_AFTER_TIMES])


def _deliveries(
    message: NewMessage, id: int, recipients: Sequence[str], values: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Return the parameters of insert_delivery, in its order, for each recipient of a message with these values."""
    now, expires_at = values[_TIMES]
    ready_at = now + message.delay_us if message.delay_us else 0
    rest = (message.row.urgency, ready_at, expires_at, message.max_attempts)
    return [(id, ordinal, recipient, *rest) for ordinal, recipient in enumerate(recipients)]


def _recipients(
    tx: Transaction, message: NewMessage, admission: Admission | None, expanded: dict[str, list[str]]
) -> list[str]:
    is_broadcast = WILDCARD in message.row.to
    recipients = _expand(tx, message, admission, expanded) if is_broadcast else list(message.targets)
    if len(recipients) > MAX_RECIPIENTS:
        raise InputError(f"a message to {len(recipients):,} recipients is over the limit of {MAX_RECIPIENTS:,}")
    if admission is not None:
        admission.count(len(recipients), 0)
        admission.admit(tx, recipients, len(message.row.body))
    return recipients


def _expand(
    tx: Transaction, message: NewMessage, admission: Admission | None, expanded: dict[str, list[str]]
) -> list[str]:
    """Return the recipients, with each broadcast pattern replaced by the addresses registered now.

    `expanded` has the addresses of each pattern that this transaction has met already.
    """
    recipients: dict[str, None] = {}
    for text, target in message.targets.items():
        if not target.is_pattern:
            recipients[text] = None
            continue
        if text not in expanded:
            if admission is not None:
                admission.count(0, 1)
            query = {"role": target.role, "session": target.session}
            expanded[text] = [row[0] for row in tx.rows("matching_addresses", query)]
        matching = expanded[text]
        if not matching:
            raise UnknownAddressError(
                f"no registered address matches {abbreviate(text)}: start its recipients first, or register them with "
                "`raven session init`"
            )
        recipients.update((address, None) for address in matching if address != message.row.sender)
    return list(recipients)
