"""Status: how far deliveries are, who is there, how much waits and how fast it moves, as looks at the bus find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from raven.deprecation import renamed_to
from raven.model import clock
from raven.model.lifecycle import FINAL
from raven.model.message import State


class Receipt(NamedTuple):
    """How far one delivery has come.

    `delivered_at` is when its recipient first had it, `finished_at` when it was acked, expired or died. While it is
    held back by a delay or a lease, `ready_at` is when that ends, and `leased` which of the two it is. `reason` is why
    it was given back last, or died.
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

    @classmethod
    def from_dict(cls, shape: Mapping[str, Any]) -> Receipt:
        """Build a receipt from the JSON shape that `as_dict` makes; raises KeyError or ValueError for another."""
        times = {name: clock.optional_from_isoformat(shape[name]) for name in cls._fields if name.endswith("_at")}
        return cls(**{**{name: shape[name] for name in cls._fields}, **times})

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape; times are ISO 8601 in UTC."""
        return {
            name: clock.isoformat(value) if isinstance(value, datetime) else value
            for name, value in self._asdict().items()
        }

    def reached(self, state: State) -> bool:
        """Whether it has come as far as a state; what was acked or died after it was delivered has been delivered."""
        return state in (self.state, "sent") or (state == "delivered" and self.delivered_at is not None)

    def cannot_reach(self, state: State) -> bool:
        """Whether it has come to another end."""
        return self.state in FINAL and not self.reached(state)

    @renamed_to("reached")
    def has_reached(self, state: State) -> bool:
        """Do as `reached` does: its name before version 0.4."""
        return self.reached(state)

    @renamed_to("cannot_reach")
    def will_never_reach(self, state: State) -> bool:
        """Do as `cannot_reach` does: its name before version 0.4."""
        return self.cannot_reach(state)


class Peer(NamedTuple):
    """One address as `peers()` shows it: `waiting` subscribers right now, `pending` unfinished deliveries.

    An address that has mail but never used the bus has no `registered_at` and no `last_seen`. `last_seen` is kept to
    within a few seconds, so that noting it costs no write of its own.
    """

    address: str
    role: str
    session: str
    registered_at: datetime | None
    last_seen: datetime | None
    waiting: int
    pending: int

    @classmethod
    def from_dict(cls, shape: Mapping[str, Any]) -> Peer:
        """Build a peer from the JSON shape that `as_dict` makes; raises KeyError or ValueError for another."""
        times = {name: clock.optional_from_isoformat(shape[name]) for name in ("registered_at", "last_seen")}
        return cls(**{**{name: shape[name] for name in cls._fields}, **times})

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape; times are ISO 8601 in UTC."""
        return {
            "address": self.address,
            "role": self.role,
            "session": self.session,
            "registered_at": clock.isoformat(self.registered_at),
            "last_seen": clock.isoformat(self.last_seen),
            "waiting": self.waiting,
            "pending": self.pending,
        }


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


class Pruned(NamedTuple):
    """Progress so far: messages and their bytes of body dropped, of `candidates` old enough to be looked at."""

    messages: int
    bytes: int
    candidates: int


def _rebuilt(kind: Any, shape: Mapping[str, Any]) -> Any:
    return kind(**{name: shape[name] for name in kind._fields})
