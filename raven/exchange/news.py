"""News: what became of deliveries on another host, told to the host that sent them and put into effect there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from raven.delivery import expiry
from raven.exchange.frames import ANY_FRAME, RETURNED, Change, News, news_content, origin_ids
from raven.exchange.handover import add_frames, recipients_of
from raven.exchange.hosts import find_state, new_tags
from raven.exchange.values import HostState, Terms
from raven.model import clock
from raven.model.message import ACKED, DEAD, EXPIRED, HELD_UNTIL
from raven.store.transaction import Transaction
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address
from raven.wake.doors import ReceiptDoors
from raven.wake.handle import Handle

# The deliveries of which one transaction tells, and those of which one frame does.
BATCH = 1000
_PER_FRAME = 100
# A message is given back at most so often, by a drain always; SHARED is added if it has several origins, see link_in.
MAX_RETURNS, ALWAYS, SHARED = 3, 10, 10
GIVEN_UP = -1


class ReceiptListener(ReceiptDoors):
    """Rings when a delivery has changed of which another host must hear: call Exchange.tell then.

    It has doors for the recipients of unfinished deliveries from other hosts: the mail between agents of this host does
    not ring. `tick` finds these recipients in the file, so that a door that is missing is missed for a second.
    """

    def __init__(self, handle: Handle) -> None:
        self._store = handle.store
        self._admitted: set[str] = set()
        self._recipients: set[str] = set()
        super().__init__(handle)
        self.tick()

    def expect(self, recipients: Collection[str]) -> None:
        """Hear of the deliveries to these recipients, too; it rings if their doors are new, for they came late."""
        self._admitted.update(recipients)
        if not self._admitted <= self._recipients:
            self._recipients |= self._admitted
            self.hear(self._recipients)
            self.ring()

    def tick(self) -> bool:
        """Do as Listener does; the doors of recipients without unfinished deliveries from other hosts go."""
        recipients = {row[0] for row in self._store.rows("foreign_recipients")} | self._admitted
        self._admitted.clear()
        is_new = super().tick()
        if recipients != self._recipients:
            self._recipients = recipients
            self.hear(recipients)
        return is_new


def tell(tx: Transaction, terms: Terms) -> tuple[set[str], bool]:
    """Make frames with the news of one batch of changed deliveries.

    Returns the hosts that the frames are for, and whether more deliveries have changed.
    """
    changed = tx.rows("changed_deliveries", {"max": BATCH})
    if not changed:
        return set(), False
    origins: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for message_id, origin, frame in tx.rows("origins_of_changed", {"max": BATCH}):
        origins[message_id].append((origin, frame))
    leases = {row[1] for row in tx.rows("link_hosts", {})} if any(row[1] for row in changed) else set()
    news: dict[str, list[tuple[str, list[Any]]]] = defaultdict(list)
    changes: dict[int, list[list[Any]]] = defaultdict(list)
    for row in changed:
        delivery_id, lease, created_at, recipient = row[:4]
        if lease in leases and created_at is not None and not _is_told(row):
            changes[lease].append([delivery_id >> 20, created_at, recipient, _new_expiry(terms, row)])
        if lease is not None and row[10] != lease:
            tx.change("unmark", {"id": delivery_id})
        if recipient is not None:
            for origin, frame in origins.get(delivery_id >> 20, ()):
                news[origin.partition("/")[0]].append((origin, _news_of(terms, origin, frame, row)))
    tx.change("delete_news", {"upto": changed[-1][0]})
    hosts = set()
    for state in [HostState(*row) for row in tx.rows("link_hosts", {})]:
        if state.host in news or state.lease in changes:
            _add_news(tx, state, news.get(state.host, []), changes.get(state.lease, []))
            hosts.add(state.host)
    return hosts, len(changed) == BATCH


def tell_all(tx: Transaction, terms: Terms) -> set[str]:
    """Make frames with the news of all changed deliveries; returns the hosts that they are for."""
    hosts, has_more = tell(tx, terms)
    while has_more:
        more, has_more = tell(tx, terms)
        hosts |= more
    return hosts


def tell_refused(tx: Transaction, host: str, refused: Sequence[tuple[str, str, str]]) -> None:
    """Tell a host that deliveries are dead here: origin, recipient and reason of each."""
    state = find_state(tx, host)
    if state is not None and refused:
        now = clock.now()
        items = [
            (origin, [*origin_ids(origin), recipient, DEAD, 0, None, now, reason, ANY_FRAME])
            for origin, recipient, reason in refused
        ]
        _add_news(tx, state, items, [])


def hear(tx: Transaction, terms: Terms, state: HostState, news: Sequence[News]) -> list[str]:
    """Put into effect what a host tells of the deliveries that it has; returns the addresses to ring.

    Passed over is news of deliveries that the host does not have, or got with an earlier frame than its latest.
    """
    items = [
        {
            **one._asdict(),
            "delivered_at": terms.from_wire(one.delivered_at),
            "finished_at": terms.from_wire(one.finished_at),
            "lease": state.lease,
        }
        for one in news
    ]
    told = tx.rows_many("told", [item for item in items if item["state"] != RETURNED])
    returned = tx.rows_many("returned", [item for item in items if item["state"] == RETURNED])
    if not told and not returned:
        return []
    addresses = [receipt_address(id >> 20) for id, _ in told]
    addresses += expiry.report_undelivered(tx, [id for id, state in told if state in (EXPIRED, DEAD)])
    tx.rows_many("note_shared_news", [{"id": id} for id, _ in told])
    if returned:
        addresses += [*recipients_of(tx, [id for id, _ in returned]), ALL_TRAFFIC]
    return addresses


def change(tx: Transaction, terms: Terms, host: str, changes: Sequence[Change]) -> list[str]:
    """Put into effect what a host has changed of the deliveries that it gave; returns the addresses to ring."""
    origins = json.dumps([one.origin for one in changes])
    known = {origin: row for origin, *row in tx.rows("origins_among", {"origins": origins})}
    addresses: list[str] = []
    now = clock.now()
    for one in changes:
        message_id, returns = known.get(one.origin, (None, 0))
        if message_id is None or returns >= SHARED:
            continue
        lets_go = one.expires_at is None
        expires_at = now if lets_go else terms.from_wire(one.expires_at)
        query = {"message_id": message_id, "recipient": one.recipient, "expires_at": expires_at, "now": now}
        reason = f"withdrawn by {host}: it was finished or released there"
        rows = tx.rows("withdraw_there", {**query, "lets_go": lets_go, "reason": reason})
        if lets_go:
            tx.rows_many("drop_news", [{"id": id} for id, _ in rows])
        else:
            tx.change("withdraw_origin", query)
        addresses += [receipt_address(message_id), one.recipient] if rows else []
    return addresses


def give_back(tx: Transaction, terms: Terms, recipient: str, returns: int) -> int:
    """Give one batch of the ready deliveries to an address back to their hosts, unless given back so often already."""
    query = {
        "recipient": recipient,
        "now": clock.now(),
        "returns": returns,
        "reason": f"returned by {terms.host}: its recipient uses another host",
        "max": BATCH,
    }
    ids = [row[0] for row in tx.rows("give_back_home", query)]
    tx.rows_many("count_return", [{"message_id": one} for one in dict.fromkeys(id >> 20 for id in ids)])
    return len(ids)


def _news_of(terms: Terms, origin: str, frame: int, row: Sequence[Any]) -> list[Any]:
    """Return the row of News for a row of `changed_deliveries`."""
    recipient, state, attempts, delivered_at, finished_at, reason, mark = row[3:10]
    if state == EXPIRED and mark == GIVEN_UP:
        state = RETURNED
    times = terms.to_wire(delivered_at), terms.to_wire(finished_at)
    return [*origin_ids(origin), recipient, state, attempts, *times, reason, frame]


def _is_told(row: Sequence[Any]) -> bool:
    """Whether the host that has a delivery has told its end since the change here, which then says nothing new."""
    lease, state, holder = row[1], row[4], row[10]
    return bool(holder == lease and state in (ACKED, EXPIRED, DEAD))


def _new_expiry(terms: Terms, row: Sequence[Any]) -> int | None:
    """Return the expiry of a delivery that its host still has; None if it was taken back."""
    lease, holder, ready_at, expires_at = row[1], *row[10:]
    return terms.to_wire(expires_at) if holder == lease and ready_at == HELD_UNTIL else None


def _add_news(
    tx: Transaction, state: HostState, news: Sequence[tuple[str, list[Any]]], changes: Sequence[list[Any]]
) -> None:
    """Make frames with news for a host, and note in which of them it hears of each message."""
    contents = [news_content([], part) for part in _parts(changes)]
    of_frame = [*_parts(news)]
    first = state.sent + len(contents) + 1
    contents += [news_content([item for _, item in part], []) for part in of_frame]
    tags = new_tags(len(contents))
    add_frames(tx, state, [(tag, None, content) for tag, content in zip(tags, contents, strict=True)])
    tx.rows_many(
        "set_news",
        [{"origin": origin, "number": number} for number, part in enumerate(of_frame, first) for origin, _ in part],
    )


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + _PER_FRAME] for at in range(0, len(items), _PER_FRAME))
