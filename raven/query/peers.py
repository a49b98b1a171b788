"""Peers: who has used the bus, who is waiting now, and how much waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raven.model import clock
from raven.model.status import Peer

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells


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
