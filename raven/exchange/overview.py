"""Overview: the linked hosts and the deliveries that they have; only reads."""

from __future__ import annotations

from typing import Any, Protocol

from raven.exchange.values import HostOverview, HostState
from raven.store.sql import load_exchange

load_exchange()


class Reader(Protocol):
    """A store, as far as an overview needs it."""

    def rows(self, name: str, params: Any = None) -> list[Any]:
        """Run a named SELECT and return its rows."""


def overview(store: Reader) -> list[HostOverview]:
    """Return each linked host by name."""
    held = {lease: (count, oldest) for lease, count, oldest in store.rows("held_counts")}
    found = []
    for row in store.rows("link_hosts"):
        state = HostState(*row)
        count, oldest = held.get(state.lease, (0, None))
        found.append(
            HostOverview(
                state.host,
                state.epoch,
                state.sent,
                state.confirmed,
                state.their_epoch,
                state.received,
                count,
                oldest,
                state.sent - state.confirmed,
            )
        )
    return found
