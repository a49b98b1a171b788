"""Intake: the frames of another host, each taken once and in order, and the messages in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from raven.exchange import news
from raven.exchange.frames import LossFrame, MessageFrame, NewsFrame, Recipient, RefusedFrame, number_of, parse
from raven.exchange.handover import begin_anew
from raven.exchange.hosts import state_of
from raven.exchange.values import HostState, Incoming, TakenIn, Terms
from raven.model import clock
from raven.model.limits import is_integer
from raven.model.message import MESSAGE_COLUMNS
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address

_LARGEST = 1 << 60
# How many columns of MessageRow are the message's.
_COLUMNS = len(MESSAGE_COLUMNS)


class _InOrder(NamedTuple):
    """The frames that follow the last committed one, the host's row after them, and what did not fit."""

    frames: list[Mapping[str, Any]]
    state: HostState
    is_behind: bool
    unnumbered: int


class _Counts:
    """How many frames were taken, and the addresses to ring."""

    def __init__(self) -> None:
        self.admitted = self.heard = self.refused = 0
        self.addresses: dict[str, None] = {}


def take_in(tx: Transaction, terms: Terms, host: str, envelopes: Sequence[Incoming]) -> tuple[TakenIn, bool]:
    """Commit the frames of a host that follow the last committed one, see Exchange.take_in.

    Also returns whether the frames for this host begin anew.
    """
    before = state_of(tx, host)
    taken = _in_order(before, envelopes)
    counts = _Counts()
    counts.refused = taken.unnumbered
    messages: list[MessageFrame] = []
    told: list[Any] = []
    refused: list[tuple[str, str, str]] = []
    begins_anew = False
    for frame in taken.frames:
        one = parse(host, frame, terms.max_body_bytes)
        if isinstance(one, MessageFrame):
            fit, unfit = _sift(terms, host, one)
            refused += unfit
            if fit is not None:
                messages.append(fit)
                counts.admitted += 1
            counts.refused += bool(unfit)
        elif isinstance(one, NewsFrame):
            told += one.news
            counts.heard += 1
            counts.refused += bool(one.refused)
            if one.changes:
                # Before a change comes the message that it is about, and a message after it is a new one.
                _admit_all(tx, terms, host, messages, counts)
                messages = []
                counts.addresses.update(dict.fromkeys(news.change(tx, terms, host, one.changes)))
        elif isinstance(one, RefusedFrame):
            counts.refused += 1
            refused += _refusals(terms, host, one)
        elif isinstance(one, LossFrame):
            begins_anew = True
    _admit_all(tx, terms, host, messages, counts)
    if told:
        counts.addresses.update(dict.fromkeys(news.hear(tx, terms, before, told)))
    news.tell_refused(tx, host, refused)
    after = taken.state
    if after.confirmation != before.confirmation:
        tx.change(
            "set_received",
            {"host": host, "epoch": after.their_epoch, "number": after.received, "tag": after.last_tag},
        )
    if begins_anew:
        begin_anew(tx, terms, state_of(tx, host))
    addresses = tuple(counts.addresses)
    result = TakenIn(after.confirmation, taken.is_behind, counts.admitted, counts.heard, counts.refused, addresses)
    return result, begins_anew


def _in_order(state: HostState, envelopes: Sequence[Incoming]) -> _InOrder:
    """Find the frames that follow the last committed one; each must name the tag of the frame before it."""
    frames: list[Mapping[str, Any]] = []
    is_behind = False
    unnumbered = 0
    for epoch, first_tag, values in envelopes:
        tag_before = first_tag
        is_envelope = is_integer(epoch, 1, _LARGEST) and is_integer(tag_before, 0, 1 << 62)
        if not is_envelope or not isinstance(values, list | tuple):
            is_behind = True
            unnumbered += 1
            continue
        if epoch < state.their_epoch:
            is_behind = True  # the host must learn that it is the older one
            continue
        if epoch > state.their_epoch:
            state = state._replace(their_epoch=epoch, received=0, last_tag=0)
        for value, numbered in _numbered(values):
            if numbered is None:
                is_behind = True
                unnumbered += 1
                break
            number, tag = numbered
            is_known = number < state.received or numbered == (state.received, state.last_tag)
            if not is_known and (number != state.received + 1 or tag_before != state.last_tag):
                is_behind = True
                break
            if not is_known:
                frames.append(value)
                state = state._replace(received=number, last_tag=tag)
            tag_before = tag
    return _InOrder(frames, state, is_behind, unnumbered)


def _numbered(values: Sequence[Any]) -> Iterator[tuple[Any, tuple[int, int] | None]]:
    return ((value, number_of(value)) for value in values)


def _sift(terms: Terms, host: str, frame: MessageFrame) -> tuple[MessageFrame | None, list[tuple[str, str, str]]]:
    """Return a message with the recipients that this host takes, and the refusals of the others."""
    if not terms.accepts(host, frame.row.sender):
        reason = f"{host} may not name the sender {frame.row.sender} here: see the setting accept"
        return None, _refusals(
            terms, host, RefusedFrame(frame.origin, [one.address for one in frame.recipients], reason)
        )
    if all(terms.shares(one.address) for one in frame.recipients):
        return frame, []
    fit = [one for one in frame.recipients if terms.shares(one.address)]
    unfit = [one.address for one in frame.recipients if not terms.shares(one.address)]
    reason = "the session of this recipient is not shared: see the setting sessions"
    refusals = _refusals(terms, host, RefusedFrame(frame.origin, unfit, reason))
    return (frame._replace(recipients=fit) if fit else None), refusals


def _refusals(terms: Terms, host: str, frame: RefusedFrame) -> list[tuple[str, str, str]]:
    """Return origin, recipient and reason for each delivery of a refused frame."""
    if frame.origin is None or not frame.recipients:
        logging.getLogger("raven").warning("a frame of the host %s was refused: %s", host, frame.reason)
        return []
    reason = f"refused by {terms.host}: {frame.reason}"
    return [(frame.origin, recipient, reason) for recipient in frame.recipients]


def _admit_all(tx: Transaction, terms: Terms, host: str, messages: Sequence[MessageFrame], counts: _Counts) -> None:
    """Insert the messages that are new, and their deliveries; of the others only the deliveries that are new."""
    if not messages:
        return
    ids, keys, replied = _look_up(tx, terms, messages)
    next_id = int(tx.value("last_message_id", {})) + 1
    new: list[tuple[int, MessageFrame]] = []
    met: list[tuple[int, MessageFrame]] = []
    for frame in messages:
        key = _key_of(frame)
        found = ids.get(frame.origin) or (keys.get(key) if key else None)
        if found is not None:
            met.append((found, frame))
            continue
        ids[frame.origin] = next_id
        if key:
            keys[key] = next_id
        new.append((next_id, frame))
        next_id += 1
    replied |= ids
    _insert_new(tx, terms, new, replied)
    for message_id, frame in met:
        if _meet(tx, terms, host, message_id, frame):
            counts.addresses[receipt_address(message_id)] = None  # the relay must tell it
    counts.addresses.update(dict.fromkeys(one.address for frame in messages for one in frame.recipients))
    counts.addresses[ALL_TRAFFIC] = None


def _look_up(
    tx: Transaction, terms: Terms, messages: Sequence[MessageFrame]
) -> tuple[dict[str, int], dict[tuple[str, str], int], dict[str, int]]:
    """Return the ids of messages that are here already by origin, and by sender and dedup_key; and of those replied to.

    Own messages are among the last ones, by the origin under which another host knows them.
    """
    origins = [frame.origin for frame in messages]
    asked = {frame.reply_to for frame in messages if frame.reply_to is not None}
    found = {row[0]: row[1] for row in tx.rows("origins_among", {"origins": json.dumps([*origins, *asked])})}
    ids = {origin: found[origin] for origin in origins if origin in found}
    pairs = [key for key in map(_key_of, messages) if key is not None]
    keys = {}
    if pairs:
        keys = {(sender, key): id for sender, key, id in tx.rows("duplicates_among", {"keys": json.dumps(pairs)})}
    own = {}
    for origin in asked:
        host, *rest = origin.split("/")
        if host == terms.host and len(rest) == 2 and all(part.isdecimal() and len(part) < 19 for part in rest):
            own[int(rest[0]), int(rest[1])] = origin
    if own:
        rows = tx.rows("own_among", {"ids": json.dumps([id for id, _ in own])})
        found |= {own[id, created_at]: id for id, created_at in rows if (id, created_at) in own}
    return ids, keys, found


def _key_of(frame: MessageFrame) -> tuple[str, str] | None:
    """Return the sender and the dedup_key of a message; None if it has no such key."""
    key = frame.row.dedup_key
    return None if key is None else (frame.row.sender, key)


def _insert_new(
    tx: Transaction, terms: Terms, new: Sequence[tuple[int, MessageFrame]], replied: Mapping[str, int]
) -> None:
    """Insert messages of another host under the next ids."""
    now = clock.now()
    messages, deliveries, origins = [], [], []
    for id, frame in new:
        row = frame.row._replace(
            created_at=min(frame.row.created_at - terms.offset_us, now),
            expires_at=terms.from_wire(frame.row.expires_at),
            reply_to=None if frame.reply_to is None else replied.get(frame.reply_to),
        )
        messages.append(row[1:_COLUMNS])
        deliveries += [
            ((id << 20) + ordinal, one.address, frame.row.urgency, *_lives(terms, one))
            for ordinal, one in enumerate(frame.recipients)
        ]
        origins.append((frame.origin, id, frame.row.reply_address, frame.tag, 0))
    tx.insert_many("insert_message", messages)
    tx.insert_many("admit_delivery", deliveries)
    tx.insert_many("note_origin", origins)


def _meet(tx: Transaction, terms: Terms, host: str, message_id: int, frame: MessageFrame) -> bool:
    """Give a message that is here already the recipients that it lacks, and let its host hear of the others.

    It is here from an earlier frame of that host. Or an earlier send with the same dedup_key is, from any host. Returns
    whether this host takes deliveries back: if two hosts gave each other messages with the same key, neither would
    handle them, and so the one whose name is the lesser does.
    """
    is_known = bool(tx.rows("origins_among", {"origins": json.dumps([frame.origin])}))
    returns = 0 if is_known else news.SHARED
    tx.insert("note_origin", (frame.origin, message_id, frame.row.reply_address, frame.tag, returns))
    query = {"message_id": message_id}
    if not is_known:
        tx.change("share_origins", query)
        tx.change("mark_shared", query)
    reclaims = not is_known and terms.host < host
    if reclaims:
        reclaims = bool(tx.change("reclaim", {**query, "lease": state_of(tx, host).lease}))
    for one in frame.recipients:
        expires_at, max_attempts, attempts = _lives(terms, one)
        delivery = {**query, "recipient": one.address, "urgency": frame.row.urgency, "expires_at": expires_at}
        delivery |= {"max_attempts": max_attempts, "attempts": attempts}
        if not tx.rows("revive", delivery) and not tx.rows("admit_another", delivery) and is_known:
            # Its host may have taken it back while it was in hand here: it lives on.
            tx.rows("withdraw_there", {**delivery, "now": clock.now(), "lets_go": False, "reason": None})
    tx.change("note_news", query)
    return reclaims


def _lives(terms: Terms, one: Recipient) -> tuple[int | None, int, int]:
    """Return the expiry of a delivery on this host's clock, and its attempts."""
    return terms.from_wire(one.expires_at), one.max_attempts, one.attempts
