"""Handover: deliveries that are held for another host, and the numbered frames that bring them there."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raven.exchange.frames import (
    LOSS_CONTENT,
    RETURNED,
    News,
    Recipient,
    frame_from_row,
    message_content,
    news_content,
    origin_ids,
)
from raven.exchange.hosts import new_tags, state_of
from raven.exchange.values import Batch, HostState, Terms
from raven.model import clock
from raven.model.address import WILDCARD
from raven.model.message import DEAD, TO_SEPARATOR
from raven.store.database import Store
from raven.store.transaction import Transaction

_BATCH = 1000
# A frame has at most so many recipients: a receiver takes 1,000,000 JSON values, and a recipient is five.
_MAX_RECIPIENTS = 10_000
# A message with more bytes goes to no host: its frame has up to twice as many, and a receiver takes 64 MiB.
_MAX_BYTES = 30 << 20
# The tag of a frame, the id of its message or None, and its content without the number.
_Content = tuple[int, int | None, str]


class Window:
    """How many bytes the unconfirmed frames for one host have."""

    def __init__(self) -> None:
        self._sizes: deque[tuple[int, int]] = deque()
        self._epoch = -1
        self._total = 0

    def used_bytes(self, tx: Transaction, state: HostState) -> int:
        """Return the bytes of the unconfirmed frames; they are counted anew if another process made some."""
        while self._sizes and self._sizes[0][0] <= state.confirmed:
            self._total -= self._sizes.popleft()[1]
        last = self._sizes[-1][0] if self._sizes else state.confirmed
        if self._epoch != state.epoch or last != state.sent:
            query = {"host": state.host, "after": state.confirmed, "max": state.sent - state.confirmed}
            self._sizes = deque(tx.rows("frame_sizes", query))
            self._epoch, self._total = state.epoch, sum(size for _, size in self._sizes)
        return self._total

    def add(self, number: int, size: int) -> None:
        """Count one more frame."""
        self._sizes.append((number, size))
        self._total += size


def hand_over(
    tx: Transaction, terms: Terms, window: Window, host: str, addresses: Mapping[str, int | None], max: int
) -> tuple[int, list[tuple[int, int]], list[News]]:
    """Hold the next ready deliveries to some addresses for a host, and make their frames, one for each message.

    `addresses` limits how many deliveries of each address go; None: all. Returns the number of messages in frames,
    the numbers and sizes of the frames for the window, and the news that deliveries are dead because their message is
    too long for a frame. It makes none while the window is full.
    """
    state = state_of(tx, host)
    room = min(max, terms.window - (state.sent - state.confirmed))
    room_bytes = terms.window_bytes - window.used_bytes(tx, state)
    if room <= 0 or room_bytes <= 0:
        return 0, [], []
    query = {"addresses": json.dumps(list(addresses)), "now": clock.now(), "max": room}
    left = dict(addresses)
    messages: dict[int, list[Any]] = {}
    too_long: list[Any] = []
    for row in tx.rows("ready_to_leave", query):
        if row[6] > _MAX_BYTES:
            too_long.append(row)
            continue
        limit = left.get(row[1])
        if limit is not None:
            if limit <= 0:
                continue
            left[row[1]] = limit - 1
        message_id = row[0] >> 20
        if message_id not in messages:
            if room_bytes <= 0:
                break
            room_bytes -= row[6] + len(row[1])
            messages[message_id] = []
        messages[message_id].append(row)
    refused = _refuse(tx, terms, state, too_long)
    if not messages:
        return 0, [], refused
    contents = _returned(tx, terms, host, messages)
    sizes = [len(content) for _, _, content in contents]
    held = []
    for message_id, rows in messages.items():
        made = _message_frames(terms, message_id, rows)
        tag = made[-1][0]
        held += [{"id": row[0], "lease": state.lease, "frame": tag} for row in rows]
        contents += made
        sizes += [rows[0][6] + len(content) for _, _, content in made]
        to = rows[0][7]
        if TO_SEPARATOR in to or WILDCARD in to:
            tx.change("restamp", {"message_id": message_id, "frame": tag, "lease": state.lease})
    tx.rows_many("hold", held)
    add_frames(tx, state, contents)
    return len(messages), list(enumerate(sizes, state.sent + 1)), refused


def _refuse(tx: Transaction, terms: Terms, state: HostState, rows: Sequence[Any]) -> list[News]:
    """Hold deliveries for a host that never get a frame; return the news that they are dead."""
    now = terms.to_wire(clock.now())
    tags = new_tags(len(rows))
    tx.rows_many(
        "hold", [{"id": row[0], "lease": state.lease, "frame": tag} for tag, row in zip(tags, rows, strict=True)]
    )
    return [
        News(
            row[0] >> 20, row[5], row[1], DEAD, row[3], None, now,
            f"refused by {terms.host}: the message has {row[6]:,} bytes, over the {_MAX_BYTES:,} that go to another "
            "host: send a path to a file instead",
            tag,
        )
        for tag, row in zip(tags, rows, strict=True)
    ]  # fmt: skip


def _returned(tx: Transaction, terms: Terms, host: str, messages: Mapping[int, Sequence[Any]]) -> list[_Content]:
    """Return a frame that gives a host its own messages back that have the keys of messages which it now gets.

    Without it, each of two hosts could wait for the other one to handle the message.
    """
    ids = [message_id for message_id, rows in messages.items() if rows[0][8]]
    if not ids:
        return []
    reason = f"returned by {terms.host}: it has sent the same message"
    now = terms.to_wire(clock.now())
    items = [
        [*origin_ids(origin), row[1], RETURNED, row[3], None, now, reason, frame]
        for message_id, origin, frame in tx.rows("origins_at", {"ids": json.dumps(ids), "host": host})
        for row in messages[message_id]
    ]
    return [(new_tags(1)[0], None, news_content(items, []))] if items else []


def add_frames(tx: Transaction, state: HostState, contents: Sequence[_Content]) -> HostState:
    """Give numbers to frames, each a tag, a message id and a content, and keep them until they are confirmed."""
    if not contents:
        return state
    numbered = enumerate(contents, state.sent + 1)
    tx.insert_many("insert_frame", [(state.host, number, *content) for number, content in numbered])
    state = state._replace(sent=state.sent + len(contents), sent_tag=contents[-1][0])
    tx.change("set_sent", {"host": state.host, "number": state.sent, "tag": state.sent_tag})
    return state


def frames(store: Store, terms: Terms, host: str, after: int, max: int, max_bytes: int) -> Batch:
    """Return the frames for a host after a number, up to `max` and `max_bytes`, but at least one if there is one."""
    rows = store.rows("link_host", {"host": host})
    if not rows:
        return Batch(0, 0, [])
    state = HostState(*rows[0])
    if not state.confirmed < after <= state.sent:
        after = state.confirmed
    upto = _last_that_fits(store.rows("frame_sizes", {"host": host, "after": after, "max": max}), max_bytes)
    tag = state.confirmed_tag
    if after > state.confirmed:
        tag = store.value("frame_tag", {"host": host, "number": after})
    if upto is None or tag is None:
        return Batch(state.epoch, tag or 0, [])
    found = store.rows("frames_between", {"host": host, "after": after, "upto": upto})
    return Batch(state.epoch, tag, [frame_from_row(row, terms.host, terms.to_wire) for row in found])


def begin_anew(
    tx: Transaction, terms: Terms, state: HostState, their_word: int = 0, *, is_their_loss: bool = False
) -> HostState:
    """Begin the frames for a host from 1 in a new epoch: the news that it has not confirmed, and all that it has.

    `their_word` is the epoch that the host has named; the new one is later. The host knows the origin of each message
    that it has, and so takes none twice. With `is_their_loss` the first frame tells the host that its file is older.
    Then the host does the same with its own frames, and so hears the state of all that this bus has of it.
    """
    news = [row[0] for row in tx.rows("news_frames", {"host": state.host}) if row[0] != LOSS_CONTENT]
    if is_their_loss:
        news.insert(0, LOSS_CONTENT)
    tx.change("delete_frames", {"host": state.host, "number": state.sent})
    old_confirmed = state.confirmed
    epoch = _later(clock.now(), their_word, state.epoch)
    tx.change("set_epoch", {"host": state.host, "epoch": epoch})
    state = state._replace(epoch=epoch, sent=0, sent_tag=0, confirmed=0, confirmed_tag=0)
    messages: dict[int, list[Any]] = {}
    for row in tx.rows("held_by", {"lease": state.lease}):
        messages.setdefault(row[0] >> 20, []).append(row)
    contents: list[_Content] = [(tag, None, content) for tag, content in zip(new_tags(len(news)), news, strict=True)]
    for message_id, rows in messages.items():
        contents += _message_frames(terms, message_id, rows)
        tx.change("restamp", {"message_id": message_id, "frame": contents[-1][0], "lease": state.lease})
    state = add_frames(tx, state, contents)
    tx.change("set_news_number", {"host": state.host, "number": len(news), "confirmed": old_confirmed})
    return state


def forget(tx: Transaction, host: str) -> tuple[list[int], bool]:
    """Make one batch of the deliveries ready again that a host has; after the last one the host's row is deleted.

    Returns the ids of the deliveries, and whether the host is forgotten.
    """
    rows = tx.rows("link_host", {"host": host})
    if not rows:
        return [], True
    state = HostState(*rows[0])
    ids = [row[0] for row in tx.rows("release_held", {"lease": state.lease, "max": _BATCH})]
    if len(ids) < _BATCH:
        tx.change("delete_frames", {"host": host, "number": state.sent})
        tx.change("drop_host_news", {"lease": state.lease})
        tx.change("hide_identities", {"host": host})
        tx.change("delete_link_host", {"host": host})
    return ids, len(ids) < _BATCH


def recipients_of(tx: Transaction, ids: Iterable[int]) -> list[str]:
    """Return the recipients of some deliveries."""
    return [row[0] for row in tx.rows("recipients_in", {"ids": json.dumps(list(ids))})]


def _message_frames(terms: Terms, message_id: int, rows: Sequence[Any]) -> list[_Content]:
    """Return the frames that give a host these deliveries of a message; news of them has the tag of the last one."""
    created_at = rows[0][5]
    recipients = [Recipient(row[1], row[2], row[3], terms.to_wire(row[4])) for row in rows]
    starts = range(0, len(rows), _MAX_RECIPIENTS)
    return [
        (tag, message_id, message_content(message_id, created_at, recipients[start : start + _MAX_RECIPIENTS]))
        for tag, start in zip(new_tags(len(starts)), starts, strict=True)
    ]


def _last_that_fits(sizes: Sequence[Any], max_bytes: int) -> int | None:
    """Return the number of the last frame with which the frames have at most so many bytes, or of the first."""
    last = None
    for number, size in sizes:
        max_bytes -= size
        if max_bytes < 0 and last is not None:
            break
        last = number
    return last


def _later(*times: int) -> int:
    return max(times[0], *(time + 1 for time in times[1:]))
