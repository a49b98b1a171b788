"""Outbox: stores checked messages with their deliveries, and wakes who they are for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.errors import InputError, UnknownAddressError
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import WILDCARD
from raven.model.draft import Draft
from raven.model.message import DELIVERY_COLUMNS, MESSAGE_COLUMNS, Message, MessageRow, message_of
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells

if TYPE_CHECKING:
    from raven.delivery.identity import Identity
    from raven.store.database import Store

MAX_RECIPIENTS = 1 << 20
# Between the columns that a draft knows stand the two times of its message.
_BEFORE_TIMES = slice(1, MessageRow._fields.index("created_at"))
_AFTER_TIMES = slice(MessageRow._fields.index("expires_at") + 1, len(MESSAGE_COLUMNS))
_TIMES = slice(_BEFORE_TIMES.stop - 1, _AFTER_TIMES.start - 1)  # among the values, which have no id
# A message as no recipient has seen it yet: what follows its own columns in a row.
_UNTOUCHED = tuple(MessageRow._field_defaults[name] for name in DELIVERY_COLUMNS)


class Stored(NamedTuple):
    """A message as it lies in the store, with the columns of MessageRow, its body and its recipients.

    `now` is when it was stored or, if `is_duplicate`, since an earlier send has put it there, when it was found.
    """

    row: tuple[Any, ...]
    body: Any
    recipients: list[str]
    now: int
    is_duplicate: bool = False


class Outbox:
    """What one address sends; each call is one transaction, and wakes after its commit, or the woken look too early."""

    def __init__(
        self, store: Store, identity: Identity, doorbells: Doorbells, note: Callable[[int], None] | None
    ) -> None:
        self._store = store
        self._identity = identity
        self._doorbells = doorbells
        self._note = note  # told how many messages were sent

    def send(self, draft: Draft) -> Message:
        """Send one message."""
        # As `post` does with many: this is the hottest path of all.
        with self._store.write() as tx:
            self._identity.touch(tx)
            stored = store_one(tx, draft)
        rung: list[str] | None = []
        if not stored.is_duplicate:
            # Only after the commit, or the woken would look too early; None where that is still to come.
            rung = self._store.after_commit(self._doorbells.ring, [*stored.recipients, ALL_TRAFFIC])
        if self._note is not None:
            self._note(1)
        return self._as_sent(stored, rung)

    def post(self, drafts: Sequence[Draft]) -> list[Message]:
        """Send messages: all of them or none."""
        with self._store.write() as tx:
            self._identity.touch(tx)
            stored = store(tx, drafts)
        new = [one for one in stored if not one.is_duplicate]
        rung: list[str] | None = []
        if new:
            recipients = dict.fromkeys(address for one in new for address in one.recipients)
            rung = self._store.after_commit(self._doorbells.ring, [*recipients, ALL_TRAFFIC])
        if self._note is not None:
            self._note(len(stored))
        heard = None if rung is None else set(rung)
        return [self._as_sent(one, heard) for one in stored]

    def _as_sent(self, stored: Stored, rung: Collection[str] | None) -> Message:
        row, body, recipients, now, is_duplicate = stored
        if rung is None or is_duplicate:
            rung = [address for address in recipients if self._doorbells.count_waiting(address)]
        waiting = {address: address in rung for address in recipients}
        return message_of(row, now, None, waiting, is_duplicate, body)


def store(tx: Transaction, drafts: Sequence[Draft]) -> list[Stored]:
    """Write messages and their deliveries.

    For a `dedup_key` that its sender has used before nothing is written: it is the first message's row.
    """
    stored: list[Stored] = []
    for has_key, some in groupby(drafts, lambda draft: draft.content.dedup_key is not None):
        if has_key:
            # One by one: a key may be that of the message just before.
            for draft in some:
                stored += _first_under_its_key(tx, draft) or _store(tx, [draft])
        else:
            stored += _store(tx, list(some))
    return stored


def store_one(tx: Transaction, draft: Draft) -> Stored:
    """Do as `store` does for one message; what is commonest has a path of its own, since it is also the fastest."""
    if draft.content.dedup_key is not None:
        first = _first_under_its_key(tx, draft)
        if first:
            return first[0]
    now = clock.now()
    recipients, values = _recipients(tx, draft), _values(draft, now)
    id = tx.insert("insert_message", values)
    for row in _deliveries(draft, id, recipients, values):
        tx.insert("insert_delivery", row)
    return Stored((id, *values, *_UNTOUCHED), draft.body, recipients, now)


def _first_under_its_key(tx: Transaction, draft: Draft) -> list[Stored]:
    first = tx.value("find_duplicate", {"sender": draft.content.sender, "dedup_key": draft.content.dedup_key})
    if first is None:
        return []
    recipients = [row[0] for row in tx.rows("recipients_of", {"message_id": first})]
    row = tx.rows("get_message", {"message_id": first})[0]
    return [Stored(row, bodies.decode(row[4]), recipients, clock.now(), True)]


def _store(tx: Transaction, drafts: Sequence[Draft]) -> list[Stored]:
    """Write messages that are new, each statement once for all of them."""
    now = clock.now()
    recipients = [_recipients(tx, draft) for draft in drafts]
    values = [_values(draft, now) for draft in drafts]
    last = tx.insert_many("insert_message", values)
    # The ids of rows that one transaction adds follow each other.
    ids = range(last - len(drafts) + 1, last + 1)
    tx.insert_many(
        "insert_delivery",
        chain.from_iterable(
            _deliveries(draft, id, addresses, columns)
            for draft, id, addresses, columns in zip(drafts, ids, recipients, values, strict=True)
        ),
    )
    return [
        Stored((id, *columns, *_UNTOUCHED), draft.body, addresses, now)
        for draft, id, columns, addresses in zip(drafts, ids, values, recipients, strict=True)
    ]


def _values(draft: Draft, now: int) -> tuple[Any, ...]:
    """Return what insert_message takes, in its order: the columns of MESSAGE_COLUMNS but for the id."""
    content: tuple[Any, ...] = draft.content
    expires_at = None if draft.lifetime_us is None else now + draft.lifetime_us
    return (*content[_BEFORE_TIMES], now, expires_at, *content[_AFTER_TIMES])


def _deliveries(draft: Draft, id: int, recipients: Sequence[str], values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return what insert_delivery takes for each recipient of a message with these values, in its order."""
    now, expires_at = values[_TIMES]
    ready_at = now + draft.delay_us if draft.delay_us else 0
    rest = (draft.content.urgency, ready_at, expires_at, draft.max_attempts)
    return [(id, place, recipient, *rest) for place, recipient in enumerate(recipients)]


def _recipients(tx: Transaction, draft: Draft) -> list[str]:
    found = _expand(tx, draft) if WILDCARD in draft.content.to else list(draft.targets)
    if len(found) > MAX_RECIPIENTS:
        raise InputError(f"a message to {len(found):,} recipients is over the limit of {MAX_RECIPIENTS:,}")
    return found


def _expand(tx: Transaction, draft: Draft) -> list[str]:
    """Put the addresses that are registered now in the place of broadcast patterns."""
    found: dict[str, None] = {}
    for text, target in draft.targets.items():
        if not target.is_pattern:
            found[text] = None
            continue
        matching = [row[0] for row in tx.rows("matching_addresses", {"role": target.role, "session": target.session})]
        if not matching:
            raise UnknownAddressError(
                f"nobody is registered who matches {text!r}: start them first, or register them with "
                "`raven session init`"
            )
        found.update((address, None) for address in matching if address != draft.content.sender)
    return list(found)
