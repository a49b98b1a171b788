"""Identities: who has used the bus, who is waiting now, and how much waits for whom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from raven import clock
from raven.address import Address

if TYPE_CHECKING:
    from raven.doorbell import Doorbells
    from raven.store import Store
    from raven.transaction import Transaction

_REFRESH_S = 5.0


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


class Identity:
    """The address that a client writes as; registers it with its first write, and notes later that it was seen."""

    def __init__(self, store: Store, address: Address, *, registers: bool) -> None:
        self._store = store
        self._in_file = -1
        self.address = str(address)
        self._parsed = address
        self._registers = registers
        self._touched_at = float("-inf")

    def touch(self, tx: Transaction) -> None:
        """Note in the caller's transaction that this identity is alive, at most every few seconds."""
        if self.is_due():
            register(tx, self._parsed)
            self._store.after_commit(self._note_touched)

    def _note_touched(self, addresses: Iterable[str]) -> None:
        self._touched_at = time.monotonic()
        self._in_file = self._store.replaced

    def is_due(self) -> bool:
        """Whether it is time to note again that this identity is alive."""
        return self.is_unknown() or (self._registers and time.monotonic() - self._touched_at > _REFRESH_S)

    def is_unknown(self) -> bool:
        """Whether this identity has yet to register in this file, as it must when another took the old one's place."""
        return self._registers and self._in_file != self._store.replaced


def register(tx: Transaction, address: Address) -> None:
    """Register an address in the caller's transaction, or note that it was seen now."""
    tx.change(
        "touch_identity",
        {"address": str(address), "role": address.role, "session": address.session, "now": clock.now()},
    )


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
