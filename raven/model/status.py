"""Status: receipts, peers, statistics and the progress of `prune`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from raven.model import clock
from raven.model.lifecycle import FINAL
from raven.model.message import State

_TIMES = frozenset({"ready_at", "delivered_at", "finished_at", "expires_at", "registered_at", "last_seen"})


class Receipt(NamedTuple):
    """The progress of one delivery.

    `delivered_at` is the time at which its recipient first saw it; `finished_at` the time of its ack, expiry or death.
    `ready_at` is the end of its delay or, if `leased`, of its lease; None if it has neither. `reason` explains its
    latest release, or its death. `host` is the other host that has an open delivery, or at which it was finished; the
    rest is then as that host has told. None if this host has it.
    """

    recipient: str
    state: State
    attempts: int
    max_attempts: int
    leased: bool
    ready_at: datetime | None
    delivered_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    reason: str | None
    host: str | None = None

    @classmethod
    def from_dict(cls, json: Mapping[str, Any]) -> Receipt:
        """Build a receipt from the JSON form, as `as_dict` returns it; raises KeyError or ValueError for bad input."""
        receipt: Receipt = _rebuilt(cls, json)
        return receipt

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 in UTC."""
        return as_json(self._asdict())

    def reached(self, state: State) -> bool:
        """Whether it has reached a state; a finished delivery has reached `delivered` if its recipient saw it."""
        return state in (self.state, "sent") or (state == "delivered" and self.delivered_at is not None)

    def cannot_reach(self, state: State) -> bool:
        """Whether it is finished without reaching a state."""
        return self.state in FINAL and not self.reached(state)

    def has_reached(self, state: State) -> bool:
        """Do as `reached` does; deprecated."""
        warnings.warn("Receipt.has_reached is deprecated: use reached", DeprecationWarning, stacklevel=2)
        return self.reached(state)

    def will_never_reach(self, state: State) -> bool:
        """Do as `cannot_reach` does; deprecated."""
        warnings.warn("Receipt.will_never_reach is deprecated: use cannot_reach", DeprecationWarning, stacklevel=2)
        return self.cannot_reach(state)


class Peer(NamedTuple):
    """One address as `peers()` lists it, with the numbers of `waiting` subscribers and `pending` unfinished deliveries.

    `registered_at` and `last_seen` are None if the address has mail but never used the bus. `last_seen` is exact to a
    few seconds, because only every fifth second a write updates it. `host` is the other host at which the address is
    used; None if it is one of this host. Other hosts hold `held` of its unfinished deliveries. Only subscribers on this
    host count as `waiting`.

    If the address is that of a coding agent, `agent` is its program, `cwd` the folder in which it works, and `about`
    its own words about its work. `state` is "busy", "idle", "listening", "away" if its process has ended, or None if
    it is not known.
    """

    address: str
    role: str
    session: str
    registered_at: datetime | None
    last_seen: datetime | None
    waiting: int
    pending: int
    host: str | None = None
    held: int = 0
    agent: str | None = None
    state: str | None = None
    cwd: str | None = None
    about: str | None = None

    @classmethod
    def from_dict(cls, json: Mapping[str, Any]) -> Peer:
        """Build a peer from the JSON form, as `as_dict` returns it; raises KeyError or ValueError for bad input."""
        peer: Peer = _rebuilt(cls, json)
        return peer

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are ISO 8601 in UTC."""
        return as_json(self._asdict())


class AddressStats(NamedTuple):
    """One address, with the numbers of its waiting subscribers, unfinished deliveries and dead deliveries.

    `oldest_s` is the age of the oldest ready message, None if no message is ready. `rate` counts deliveries sent to the
    address per second. Other hosts hold `held` more unfinished deliveries; `host` is the other host at which the
    address is used, None if it is one of this host.
    """

    address: str
    waiting: int
    ready: int
    delayed: int
    in_flight: int
    dead: int
    oldest_s: float | None
    rate: float
    held: int = 0
    host: str | None = None

    @property
    def role(self) -> str:
        """The part of the address before the colon."""
        return self.address.partition(":")[0]

    @property
    def backlog(self) -> int:
        """Unfinished deliveries that no consumer has leased, and no other host holds."""
        return self.ready + self.delayed


class Rates(NamedTuple):
    """Deliveries per second over the last minute, or over the sample if it is shorter."""

    sent: float
    delivered: float
    acked: float


class Latency(NamedTuple):
    """The duration of a step as percentiles of its samples; None without samples."""

    samples: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    max_s: float | None

    @classmethod
    def of(cls, spans: list[int]) -> Latency:
        """Return the nearest-rank percentiles of spans in microseconds."""
        if not spans:
            return cls(0, None, None, None, None)
        # A span is negative after a clock was set back.
        ordered = [max(0, span) / 1e6 for span in sorted(spans)]
        count = len(ordered)
        p50_s, p90_s, p99_s = (ordered[(count * part + 99) // 100 - 1] for part in (50, 90, 99))
        return cls(count, p50_s, p90_s, p99_s, ordered[-1])


@dataclass(frozen=True, slots=True)
class Stats:
    """The bus at one moment; immutable.

    `ready`, `delayed`, `in_flight` (leased), `dead` and `held` (by other hosts) count deliveries; `addresses` has the
    same counts for each address that is registered or has mail. Deliveries past their expiry count as expired, except
    those that other hosts hold. `attempts` maps 2, 3 and so
    on to the number of unfinished deliveries at that attempt. Rates and latencies come from the newest 10,000
    deliveries. `free_bytes` is the space in the file that `prune` can release.

    `messages`, `deliveries` (by state), `attempts` and the latencies are None without `full`.
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
    held: int = 0

    @classmethod
    def from_dict(cls, json: Mapping[str, Any]) -> Stats:
        """Build statistics from the JSON form, as `as_dict` returns it; raises KeyError or ValueError for bad input."""
        values = {field.name: json[field.name] for field in fields(cls) if field.name in json or field.name != "held"}
        values["addresses"] = tuple(_rebuilt(AddressStats, one) for one in values["addresses"])
        values["rates"] = _rebuilt(Rates, values["rates"])
        if values["attempts"] is not None:
            values["attempts"] = {int(attempt): count for attempt, count in values["attempts"].items()}
        for name in ("send_to_delivery", "delivery_to_ack"):
            if values[name] is not None:
                values[name] = _rebuilt(Latency, values[name])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that the command line and the socket print."""
        json = {field.name: getattr(self, field.name) for field in fields(self)}
        json["addresses"] = [one._asdict() for one in self.addresses]
        json["rates"] = self.rates._asdict()
        if self.deliveries is not None:
            json["deliveries"] = dict(self.deliveries)
        if self.attempts is not None:
            json["attempts"] = {str(attempt): count for attempt, count in self.attempts.items()}
        for name in ("send_to_delivery", "delivery_to_ack"):
            if json[name] is not None:
                json[name] = json[name]._asdict()
        return json


class Pruned(NamedTuple):
    """The progress of `prune`: deleted messages, the bytes of their bodies, and `candidates` that are old enough.

    `kept` are the finished ones among them for which a sender may still wait: for the answer to a request, or for
    receipts. `expired` counts the deliveries that expired because `unfinished` was given.
    """

    messages: int
    bytes: int
    candidates: int
    kept: int = 0
    expired: int = 0


class Forgotten(NamedTuple):
    """The result of `forget`: how many addresses are unregistered, and how many unfinished deliveries expire."""

    addresses: int
    deliveries: int


def as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a value in their JSON form; times are ISO 8601 in UTC."""
    return {name: clock.isoformat(value) if isinstance(value, datetime) else value for name, value in fields.items()}


def _rebuilt(kind: Any, json: Mapping[str, Any]) -> Any:
    """Return a value from its JSON form; an older raven's form lacks the fields that have a default."""
    values = {name: json[name] for name in kind._fields if name in json or name not in kind._field_defaults}
    times = {name: clock.optional_from_isoformat(values[name]) for name in values if name in _TIMES}
    return kind(**values | times)
