"""Statistics: what is on the bus, how fast it moves, and how long it waits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from raven.model import clock
from raven.model.message import STATES, State
from raven.store.database import Store
from raven.wake.doorbell import Doorbells

_WINDOW = 60_000_000
_SHORTEST_WINDOW = 100_000
# From so many of the newest deliveries come rates and latencies.
_SAMPLE = 10_000
# What is just being worked off may be older than those: so many are looked at before the oldest ready one of an
# address, at so many places.
_FRONT_SAMPLE = 2_000
_FRONTS = 5
# Fewer events than these tell no rate over less than a minute.
_FEW = 20
# Each bite of a long count is a short read, so that no checkpoint has to wait for the whole.
_BITE = 50_000
_BEFORE_ALL = (1 << 63) - 1
# The columns of a sample.
_ID, _RECIPIENT, _SENT, _DELIVERED, _ACKED = range(5)


class AddressStats(NamedTuple):
    """One address: subscribers that wait there now, deliveries by what holds them, and those that have died.

    `oldest_s` is the age of the oldest message that is ready there, None where none is; `rate` is how many deliveries
    per second were sent to it.
    """

    address: str
    waiting: int
    ready: int
    delayed: int
    in_flight: int
    dead: int
    oldest_s: float | None
    rate: float

    @property
    def role(self) -> str:
        """The part of the address before the colon."""
        return self.address.partition(":")[0]

    @property
    def backlog(self) -> int:
        """Deliveries that are unfinished and in nobody's hands."""
        return self.ready + self.delayed


class Rates(NamedTuple):
    """Deliveries per second over the last minute, or over as much of it as the sample reaches back."""

    sent: float
    delivered: float
    acked: float


class Latency(NamedTuple):
    """How long a step took: percentiles of so many samples, None where there is none."""

    samples: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    max_s: float | None

    @classmethod
    def of(cls, spans: list[int]) -> Latency:
        """Take the percentiles of spans in microseconds, each by the nearest rank."""
        if not spans:
            return cls(0, None, None, None, None)
        # Where a clock was set back, or rounds, nothing has taken less than no time.
        ordered = [max(0, span) / 1e6 for span in sorted(spans)]
        count = len(ordered)
        p50_s, p90_s, p99_s = (ordered[(count * part + 99) // 100 - 1] for part in (50, 90, 99))
        return cls(count, p50_s, p90_s, p99_s, ordered[-1])


@dataclass(frozen=True, slots=True)
class Stats:
    """The bus at one moment; immutable.

    `ready`, `delayed`, `in_flight` (leased) and `dead` count deliveries, `addresses` has the same for each address that
    is registered or has mail. What has outlived its time counts as expired, noticed or not. `attempts` tells how many
    unfinished deliveries are at their second attempt, their third, and so on. Rates and latencies are those of the
    newest 10,000 deliveries; `free_bytes` is room in the file that `prune` gives back.

    None stands for what only a full look counts: `messages`, `deliveries` (by state), `attempts` and the latencies.
    """

    messages: int | None
    deliveries: dict[State, int] | None
    ready: int
    delayed: int
    in_flight: int
    dead: int
    addresses: tuple[AddressStats, ...]
    rates: Rates
    attempts: dict[int, int] | None
    send_to_delivery: Latency | None
    delivery_to_ack: Latency | None
    file_bytes: int
    wal_bytes: int
    free_bytes: int

    @classmethod
    def from_dict(cls, shape: Mapping[str, Any]) -> Stats:
        """Build statistics from the JSON shape that `as_dict` makes; raises KeyError or ValueError for another."""
        values = {field.name: shape[field.name] for field in fields(cls)}
        values["addresses"] = tuple(_rebuilt(AddressStats, one) for one in values["addresses"])
        values["rates"] = _rebuilt(Rates, values["rates"])
        if values["attempts"] is not None:
            values["attempts"] = {int(attempt): count for attempt, count in values["attempts"].items()}
        for name in ("send_to_delivery", "delivery_to_ack"):
            if values[name] is not None:
                values[name] = _rebuilt(Latency, values[name])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape that the command line and the socket print."""
        shape = {field.name: getattr(self, field.name) for field in fields(self)}
        shape["addresses"] = [one._asdict() for one in self.addresses]
        shape["rates"] = self.rates._asdict()
        if self.deliveries is not None:
            shape["deliveries"] = dict(self.deliveries)
        if self.attempts is not None:
            shape["attempts"] = {str(attempt): count for attempt, count in self.attempts.items()}
        for name in ("send_to_delivery", "delivery_to_ack"):
            if shape[name] is not None:
                shape[name] = shape[name]._asdict()
        return shape


class _Sample(NamedTuple):
    """Deliveries in a row, the newest first; where it `is_cut` there were more before them."""

    rows: Sequence[tuple[Any, ...]]
    is_cut: bool

    @classmethod
    def before(cls, store: Store, delivery_id: int, size: int) -> _Sample:
        """Read the newest deliveries before an id."""
        rows = store.rows("sample_before", {"before": delivery_id, "max": size})
        return cls(rows, len(rows) == size)

    def of(self, fronts: Mapping[str, int]) -> _Sample:
        """Return those of some addresses, of each before an id."""
        return _Sample([row for row in self.rows if row[_ID] < fronts.get(row[_RECIPIENT], 0)], self.is_cut)

    def start(self, event: int, now: int) -> int:
        """Return from when on all events of a kind are in it, at most a minute ago."""
        start = now - _WINDOW
        if self.is_cut and self.rows:
            start = max(start, self.rows[-1][_SENT])
            times = [row[event] for row in self.rows if row[event] is not None]
            # Where most have come to it, they are worked off in order: what came before the first was cut off.
            if 2 * len(times) > len(self.rows) and len(times) > _FEW:
                start = max(start, min(times))
        return min(start, now - _SHORTEST_WINDOW)

    def rate(self, event: int, now: int) -> float:
        """Return how many events of a kind there were per second."""
        start = self.start(event, now)
        return _per_second(sum(row[event] is not None and row[event] >= start for row in self.rows), start, now)


def measure(store: Store, doorbells: Doorbells, *, full: bool = True) -> Stats:
    """Take the statistics of a bus, in short reads that keep nobody waiting.

    Without `full` what is finished is not counted: the cost grows with the backlog only.
    """
    store.verify()
    now = clock.now()
    unfinished = {row[0]: row[1:] for row in store.rows("open_by_recipient", {"now": now})}
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
        addresses=addresses,
        rates=Rates(*(round(sum(one.rate(event, now) for one in samples), 3) for event in (_SENT, _DELIVERED, _ACKED))),
        attempts=dict(store.rows("retried", {"now": now})) if full else None,
        send_to_delivery=_latency(samples, _SENT, _DELIVERED) if full else None,
        delivery_to_ack=_latency(samples, _DELIVERED, _ACKED) if full else None,
        file_bytes=file_bytes,
        wal_bytes=store.wal_size(),
        free_bytes=int(store.pragma("freelist_count")) * int(store.pragma("page_size")),
    )


def _samples(store: Store, unfinished: dict[str, Any]) -> list[_Sample]:
    """Read the newest deliveries, and those before the oldest ready one of each address that lags far behind them."""
    samples = [_Sample.before(store, _BEFORE_ALL, _SAMPLE)]
    if not samples[0].is_cut:
        return samples
    end = samples[0].rows[-1][_ID]
    lagging = sorted(((row[4], address) for address, row in unfinished.items() if (row[4] or end) < end), reverse=True)
    while lagging and len(samples) <= _FRONTS:
        walked = _Sample.before(store, lagging[0][0], _FRONT_SAMPLE)
        end = walked.rows[-1][_ID] if walked.rows else 0
        # One walk serves all who are about as far.
        reached = {address: oldest for oldest, address in lagging if oldest > end}
        samples.append(walked.of(reached))
        lagging = lagging[len(reached) :]
    return samples


def _addresses(
    store: Store, doorbells: Doorbells, unfinished: dict[str, Any], newest: _Sample, now: int
) -> tuple[AddressStats, ...]:
    died = dict(store.rows("dead_by_recipient"))
    registered = (row[0] for row in store.rows("list_identities", {"session": None}))
    start = newest.start(_SENT, now)
    sent_to = Counter(row[_RECIPIENT] for row in newest.rows if row[_SENT] >= start)
    found = []
    for address in sorted({*registered, *unfinished, *died}):
        ready, delayed, leased, dead, _, sent_at = unfinished.get(address, (0, 0, 0, 0, None, None))
        found.append(
            AddressStats(
                address=address,
                waiting=doorbells.count_waiting(address),
                ready=ready,
                delayed=delayed,
                in_flight=leased,
                dead=dead + died.get(address, 0),
                oldest_s=None if sent_at is None else max(0, now - sent_at) / 1e6,
                rate=_per_second(sent_to[address], start, now),
            )
        )
    return tuple(found)


def _per_second(count: int, start: int, now: int) -> float:
    return round(1e6 * count / (now - start), 3)


def _latency(samples: Iterable[_Sample], begin: int, end: int) -> Latency:
    spans = [row[end] - row[begin] for one in samples for row in one.rows if None not in (row[begin], row[end])]
    return Latency.of(spans[:_SAMPLE])


def _count_messages(store: Store) -> int:
    total = after = 0
    while True:
        count, after = store.rows("count_messages", {"after": after, "max": _BITE})[0]
        total += int(count)
        if count < _BITE:
            return total


def _count_deliveries(store: Store, now: int) -> dict[State, int]:
    totals, after = [0] * len(STATES), 0
    while True:
        count, after, *by_state = store.rows("count_deliveries", {"after": after, "max": _BITE, "now": now})[0]
        totals = [total + part for total, part in zip(totals, by_state, strict=True)]
        if count < _BITE:
            return dict(zip(STATES, totals, strict=True))


def _rebuilt(kind: Any, shape: Mapping[str, Any]) -> Any:
    return kind(**{name: shape[name] for name in kind._fields})
