"""Posting: stores checked messages with their deliveries, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

from raven.errors import InputError, UnknownAddressError
from raven.model import body as bodies
from raven.model import clock
from raven.model.address import WILDCARD
from raven.model.draft import Content, Draft
from raven.store.transaction import Transaction

MAX_RECIPIENTS = 1 << 20
# Before these columns of a content stand the times of its message.
_TIMES_AT = Content._fields.index("reply_address")
# A message as no recipient has seen it yet: what follows its own columns in a row.
_UNTOUCHED = (None, 0, 0, None, None, None, None)


class Stored(NamedTuple):
    """A message as it lies in the store, with the columns of MessageRow, its body and its recipients.

    `is_duplicate` tells that an earlier send has put it there.
    """

    row: tuple[Any, ...]
    body: Any
    recipients: list[str]
    is_duplicate: bool = False


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
    id = tx.insert("add_message", values)
    for row in _deliveries(draft, id, recipients, now):
        tx.insert("add_delivery", row)
    return Stored((id, *values, *_UNTOUCHED), draft.body, recipients)


def _first_under_its_key(tx: Transaction, draft: Draft) -> list[Stored]:
    first = tx.value("find_duplicate", {"sender": draft.content.sender, "dedup_key": draft.content.dedup_key})
    if first is None:
        return []
    recipients = [row[0] for row in tx.rows("recipients_of", {"message_id": first})]
    row = tx.rows("message_whole", {"message_id": first})[0]
    return [Stored(row, bodies.decode(row[4]), recipients, True)]


def _store(tx: Transaction, drafts: Sequence[Draft]) -> list[Stored]:
    """Write messages that are new, each statement once for all of them."""
    now = clock.now()
    recipients = [_recipients(tx, draft) for draft in drafts]
    values = [_values(draft, now) for draft in drafts]
    last = tx.insert_many("add_message", values)
    # The ids of rows that one transaction adds follow each other.
    ids = range(last - len(drafts) + 1, last + 1)
    tx.insert_many(
        "add_delivery",
        chain.from_iterable(
            _deliveries(draft, id, addresses, now) for draft, id, addresses in zip(drafts, ids, recipients, strict=True)
        ),
    )
    return [
        Stored((id, *columns, *_UNTOUCHED), draft.body, addresses)
        for draft, id, columns, addresses in zip(drafts, ids, values, recipients, strict=True)
    ]


def _values(draft: Draft, now: int) -> tuple[Any, ...]:
    """Return what add_message takes, in its order."""
    content = draft.content
    return (*content[:_TIMES_AT], now, draft.expires_at(now), *content[_TIMES_AT:])


def _deliveries(draft: Draft, id: int, recipients: Sequence[str], now: int) -> list[tuple[Any, ...]]:
    """Return what add_delivery takes for each recipient of a message, in its order."""
    ready_at = now + draft.delay_us if draft.delay_us else 0
    rest = (draft.content.urgency, ready_at, draft.expires_at(now), draft.max_attempts)
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
