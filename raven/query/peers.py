"""Peers: who has used the bus, who is waiting now, and how much waits for whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.model import clock

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells


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


def list_peers(store: Store, doorbells: Doorbells, session: str | None = None) -> list[Peer]:
    """List the addresses that are registered or have mail, of one session where it is given."""
    seen = {row[0]: row for row in store.rows("list_identities", {"session": session})}
    pending = {address: count for address, count, _ in store.rows("backlog", {"now": clock.now()})}
    strangers = [address for address in pending if address not in seen]
    peers = []
    for text in [*seen, *strangers]:
        # Not parsed: what a foreign writer has slipped in must not keep anybody from seeing the rest.
        role, _, its_session = text.partition(":")
        if session in (None, its_session):
            _, registered_at, last_seen = seen.get(text, (text, None, None))
            peers.append(
                Peer(
                    address=text,
                    role=role,
                    session=its_session,
                    registered_at=clock.optional_from_micros(registered_at),
                    last_seen=clock.optional_from_micros(last_seen),
                    waiting=doorbells.count_waiting(text),
                    pending=pending.get(text, 0),
                )
            )
    return peers
