"""Outgoing: the addresses whose ready mail may leave this host, and those whose mail may go back where it came from."""

from __future__ import annotations

import json
from time import monotonic

from raven.exchange.news import MAX_RETURNS
from raven.exchange.values import Outgoing, Returnable, Terms
from raven.model import clock
from raven.store.database import Store

# All addresses with ready mail are examined so often: a release, the end of a delay or a requeue makes mail ready, too.
_FULL_S = 1.0


class Leaving:
    """Finds the addresses whose mail may leave, without a walk through all addresses at each send."""

    def __init__(self) -> None:
        self._candidates: set[str] = set()
        self._last_id = -1
        self._full_at = float("-inf")

    def find(self, store: Store, terms: Terms, *, full: bool) -> list[Outgoing]:
        """Return the addresses with ready deliveries that may leave."""
        now = monotonic()
        last_id = int(store.value("last_delivery_id"))
        if full or now - self._full_at >= _FULL_S or last_id < self._last_id:
            self._full_at = now
            self._candidates = {row[0] for row in store.rows("ready_recipients") if terms.shares(row[0])}
        elif last_id > self._last_id:
            new = store.rows("recipients_after", {"delivery_id": self._last_id})
            self._candidates.update(row[0] for row in new if terms.shares(row[0]))
        self._last_id = last_id
        query = {"addresses": json.dumps(sorted(self._candidates)), "now": clock.now()}
        found = [
            Outgoing(address, ready, _question_host(terms, origin))
            for address, ready, origin in store.rows("count_to_leave", query)
        ]
        self._candidates = {one.address for one in found}
        return found


def _question_host(terms: Terms, origin: str | None) -> str | None:
    """Return the host in the origin of a question; None for this host, which has the name of another one by now."""
    host = None if origin is None else origin.partition("/")[0]
    return None if host == terms.host else host


def returnable(store: Store, returns: int = MAX_RETURNS) -> list[Returnable]:
    """Return the addresses with ready deliveries that came from other hosts and were given back less than `returns`."""
    addresses = [row[0] for row in store.rows("ready_recipients")]
    query = {"addresses": json.dumps(addresses), "now": clock.now(), "returns": returns}
    return [Returnable(*row) for row in store.rows("count_foreign", query)]
