"""Statistics: counts, rates and latencies of the deliveries on a bus."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from raven.model import clock
from raven.model.address import is_private
from raven.model.message import STATES, State
from raven.model.status import AddressStats, Latency, Rates, Stats
from raven.store.database import Store
from raven.wake.doorbell import Doorbells

_WINDOW = 60_000_000
_SHORTEST_WINDOW = 100_000
# Rates and latencies are computed from this many of the newest deliveries.
_SAMPLE_SIZE = 10_000
# A consumer with a large backlog works on older deliveries than those. For such addresses a sample of this size is
# read before the oldest ready delivery, and at most this many samples.
_LAG_SAMPLE_SIZE = 2_000
_LAG_SAMPLES = 5
# With fewer events than this, a rate over less than a minute would be noise.
_MIN_EVENTS = 20
# A long count is read in batches: a checkpoint waits for one batch at most.
_BATCH = 50_000
_BEFORE_ALL = (1 << 63) - 1
# The columns of a sample.
_ID, _RECIPIENT, _SENT, _DELIVERED, _ACKED = range(5)
# The counts of an address without mail.
_NO_MAIL = (0, 0, 0, 0, None, None, 0)


class _Sample(NamedTuple):
    """Consecutive deliveries, the newest first; `is_cut` if older ones exist."""

    rows: Sequence[tuple[Any, ...]]
    is_cut: bool

    @classmethod
    def newest_before(cls, store: Store, delivery_id: int, size: int) -> _Sample:
        """Read the newest deliveries whose ids are less than `delivery_id`."""
        rows = store.rows("sample_before", {"before": delivery_id, "max": size})
        return cls(rows, len(rows) == size)

    def only(self, oldest_ready: Mapping[str, int]) -> _Sample:
        """Return the rows of some addresses, each before the id of its oldest ready delivery."""
        return _Sample([row for row in self.rows if row[_ID] < oldest_ready.get(row[_RECIPIENT], 0)], self.is_cut)

    def start(self, event: int, now: int) -> int:
        """Return the time from which on the sample is complete for a kind of event, at most a minute ago."""
        start = now - _WINDOW
        if self.is_cut and self.rows:
            start = max(start, self.rows[-1][_SENT])
            times = [row[event] for row in self.rows if row[event] is not None]
            # If most rows have the event, consumers work in order: earlier events are before the cut.
            if 2 * len(times) > len(self.rows) and len(times) > _MIN_EVENTS:
                start = max(start, min(times))
        return min(start, now - _SHORTEST_WINDOW)

    def rate(self, event: int, now: int) -> float:
        """Return the events of a kind per second."""
        start = self.start(event, now)
        return _per_second(sum(row[event] is not None and row[event] >= start for row in self.rows), start, now)


def collect(store: Store, doorbells: Doorbells, *, full: bool = True, scope: str | None = None) -> Stats:
    """Collect the statistics of a bus, in short reads that block no writer.

    Without `full`, finished deliveries are not counted: the cost grows with the backlog only. With `scope`, the JSON
    array of some addresses, all figures are of their deliveries; the totals of the bus are None, or 0.
    """
    store.verify()
    now = clock.now()
    unfinished = {row[0]: row[1:] for row in store.rows("unacked_by_recipient", {"now": now})}
    if scope is not None:
        return _collect_scoped(store, doorbells, unfinished, frozenset(json.loads(scope)), now, full)
    samples = _samples(store, unfinished)
    addresses = _addresses(store, doorbells, unfinished, samples[0], now)
    file_bytes = 0
    with suppress(OSError):
        file_bytes = os.stat(store.path).st_size
    return Stats(
        messages=_count_messages(store) if full else None,
        deliveries=_count_deliveries(store, now) if full else None,
        ready=sum(one.ready for one in addresses),
        delayed=sum(one.delayed for one in addresses),
        in_flight=sum(one.in_flight for one in addresses),
        dead=sum(one.dead for one in addresses),
        held=sum(one.held for one in addresses),
        addresses=tuple(one for one in addresses if not is_private(one.address)),
        rates=Rates(*(round(sum(one.rate(event, now) for one in samples), 3) for event in (_SENT, _DELIVERED, _ACKED))),
        attempts=dict(store.rows("retried_by_attempt", {"now": now})) if full else None,
        send_to_delivery=_latency(samples, _SENT, _DELIVERED) if full else None,
        delivery_to_ack=_latency(samples, _DELIVERED, _ACKED) if full else None,
        file_bytes=file_bytes,
        wal_bytes=store.wal_size(),
        free_bytes=int(store.pragma("freelist_count")) * int(store.pragma("page_size")),
    )


def _collect_scoped(
    store: Store, doorbells: Doorbells, unfinished: dict[str, Any], scope: frozenset[str], now: int, full: bool
) -> Stats:
    """Collect the statistics of the deliveries to some addresses."""
    newest = _Sample.newest_before(store, _BEFORE_ALL, _SAMPLE_SIZE)
    sample = _Sample([row for row in newest.rows if row[_RECIPIENT] in scope], newest.is_cut)
    addresses = _addresses(store, doorbells, unfinished, sample, now, scope)
    return Stats(
        messages=None,
        deliveries=None,
        ready=sum(one.ready for one in addresses),
        delayed=sum(one.delayed for one in addresses),
        in_flight=sum(one.in_flight for one in addresses),
        dead=sum(one.dead for one in addresses),
        held=sum(one.held for one in addresses),
        addresses=addresses,
        rates=Rates(*(sample.rate(event, now) for event in (_SENT, _DELIVERED, _ACKED))),
        attempts=None,
        send_to_delivery=_latency([sample], _SENT, _DELIVERED) if full else None,
        delivery_to_ack=_latency([sample], _DELIVERED, _ACKED) if full else None,
        file_bytes=0,
        wal_bytes=0,
        free_bytes=0,
    )


def _samples(store: Store, unfinished: dict[str, Any]) -> list[_Sample]:
    """Read the newest deliveries, and older ones for each address whose oldest ready delivery is far behind them."""
    samples = [_Sample.newest_before(store, _BEFORE_ALL, _SAMPLE_SIZE)]
    if not samples[0].is_cut:
        return samples
    end = samples[0].rows[-1][_ID]
    lagging = sorted(((row[4], address) for address, row in unfinished.items() if (row[4] or end) < end), reverse=True)
    while lagging and len(samples) <= _LAG_SAMPLES:
        older = _Sample.newest_before(store, lagging[0][0], _LAG_SAMPLE_SIZE)
        end = older.rows[-1][_ID] if older.rows else 0
        # One sample serves all addresses whose oldest ready delivery lies in it.
        reached = {address: oldest for oldest, address in lagging if oldest > end}
        samples.append(older.only(reached))
        lagging = lagging[len(reached) :]
    return samples


def _addresses(
    store: Store,
    doorbells: Doorbells,
    unfinished: dict[str, Any],
    newest: _Sample,
    now: int,
    scope: frozenset[str] | None = None,
) -> tuple[AddressStats, ...]:
    died = dict(store.rows("dead_by_recipient"))
    registered = {row[0]: row[3] for row in store.rows("list_identities", {"session": None})}
    if scope is None:
        scope = frozenset({*registered, *unfinished, *died})
    start = newest.start(_SENT, now)
    attended = set(doorbells.folders())
    sent_to = Counter(row[_RECIPIENT] for row in newest.rows if row[_SENT] >= start)
    stats = []
    for address in sorted(scope):
        ready, delayed, leased, dead, _, sent_at, held = unfinished.get(address, _NO_MAIL)
        is_attended = bool(attended) and doorbells.folder_for(address) in attended
        stats.append(
            AddressStats(
                address,
                doorbells.count_waiting(address, doors=False) if is_attended else 0,
                ready,
                delayed,
                leased,
                dead + died.get(address, 0),
                None if sent_at is None else max(0, now - sent_at) / 1e6,
                _per_second(sent_to[address], start, now),
                held,
                registered.get(address),
            )
        )
    return tuple(stats)


def _per_second(count: int, start: int, now: int) -> float:
    return round(1e6 * count / (now - start), 3)


def _latency(samples: Iterable[_Sample], begin: int, end: int) -> Latency:
    spans = [row[end] - row[begin] for one in samples for row in one.rows if None not in (row[begin], row[end])]
    return Latency.of(spans[:_SAMPLE_SIZE])


def _count_messages(store: Store) -> int:
    total = after = 0
    while True:
        count, after = store.rows("count_messages", {"after": after, "max": _BATCH})[0]
        total += int(count)
        if count < _BATCH:
            return total


def _count_deliveries(store: Store, now: int) -> dict[State, int]:
    totals, after = [0] * len(STATES), 0
    while True:
        count, after, *by_state = store.rows("count_deliveries", {"after": after, "max": _BATCH, "now": now})[0]
        totals = [total + part for total, part in zip(totals, by_state, strict=True)]
        if count < _BATCH:
            return dict(zip(STATES, totals, strict=True))
