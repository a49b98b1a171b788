"""Routes: to which host the mail for an address goes, and when mail that came from another host goes back.

No host owns an address. Mail that is ready and not claimed has its home where it is likely to be handled first:

1. here, if a loop waits for it here;
2. else on the host that is alive, at which loops wait for it and the fewest deliveries do for each of them;
3. else where the address was used last, and here on a tie. An address that is only registered counts as never used.

The reply to another host's question goes to that host. Mail for an address that no host has shown stays here.
"""

# Without `from __future__ import annotations`: a NamedTuple would compile the text of each type when it is made.

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raven.exchange.values import Home, Outgoing, Returnable
from raven.link.cards import Card

# Mail goes back if its home has been elsewhere for this time.
GIVE_BACK_S = 5.0
# Deliveries that went to a host lately are not on its card yet: half of them count after this time.
_HALF_LIFE_S = 0.25
# The mail of one address is shared out among hosts in so many portions at most.
_PORTIONS = 32
_MANY = 1000


class Share(NamedTuple):
    """Ready deliveries for one host: all to these addresses, or at most `max` if it is a number."""

    host: str
    addresses: list[str]
    max: int | None


class Routes:
    """Decides by the cards of the other hosts; times are those of time.monotonic.

    `own` are the addresses of this host as its card tells them, see `cards.rounded`; `cards` are all that are known.
    """

    def __init__(self) -> None:
        self._lately: dict[tuple[str, str], tuple[float, float]] = {}
        self._elsewhere_since: dict[str, float] = {}

    def share_out(
        self, outgoing: Iterable[Outgoing], own: Mapping[str, Home], cards: Mapping[str, Card], now: float
    ) -> list[Share]:
        """Return which mail goes to which host; mail of no share stays here."""
        whole: dict[str, list[str]] = {}
        portions: list[Share] = []
        for address, ready, question_host in outgoing:
            hosts = [question_host] if question_host else self._homes(address, own, cards, now)
            if len(hosts) == 1:
                whole.setdefault(hosts[0], []).append(address)
            elif hosts:
                portions += self._portions(address, ready, hosts, cards, now)
        return [*(Share(host, addresses, None) for host, addresses in whole.items()), *portions]

    def handed(self, share: Share, count: int, now: float) -> None:
        """Note how many deliveries of a share were handed over, which the card of its host does not tell yet."""
        if share.max is not None and count:
            if len(self._lately) >= _MANY:
                self._lately = {key: one for key, one in self._lately.items() if self._count_lately(key, now) >= 1}
            key = (share.host, share.addresses[0])
            self._lately[key] = (self._count_lately(key, now) + count, now)

    def to_give_back(
        self, returnable: Iterable[Returnable], own: Mapping[str, Home], cards: Mapping[str, Card], now: float
    ) -> list[str]:
        """Return the addresses whose mail from other hosts goes back there: their home was elsewhere for 5 s.

        Must be called at least once a second: an address counts from the first call that finds its home elsewhere.
        """
        alive = {host: card for host, card in cards.items() if card.is_fresh(now)}
        elsewhere = [one.address for one in returnable if self._homes(one.address, own, alive, now)]
        since = self._elsewhere_since
        self._elsewhere_since = {address: since.get(address, now) for address in elsewhere}
        return [address for address, begun in self._elsewhere_since.items() if now - begun >= GIVE_BACK_S]

    def doors(self, own: Mapping[str, Home], cards: Mapping[str, Card], now: float) -> dict[str, bool]:
        """Return the addresses whose mail would leave, each with whether a loop waits where it would go."""
        doors = {}
        for address in {address for card in cards.values() for address in card.at_home}:
            hosts = self._homes(address, own, cards, now)
            if hosts:
                doors[address] = bool(_waiting(cards[hosts[0]], address, now))
        return doors

    def _homes(self, address: str, own: Mapping[str, Home], cards: Mapping[str, Card], now: float) -> list[str]:
        """Return the hosts among which the mail for an address is shared out; none if it stays here."""
        here = own.get(address)
        if here is not None and here.waiting:
            return []
        shown = {host: card.at_home[address] for host, card in cards.items() if address in card.at_home}
        waiting = [host for host in shown if _waiting(cards[host], address, now)]
        if waiting or not shown:
            return waiting
        best = max(sorted(shown), key=lambda host: _last_use(shown[host]))
        return [best] if here is None or _last_use(shown[best]) > _last_use(here) else []

    def _portions(
        self, address: str, ready: int, hosts: list[str], cards: Mapping[str, Card], now: float
    ) -> list[Share]:
        """Share the mail of one address out, so that each waiting loop has about as many deliveries before it."""
        loads = {}
        for host in hosts:
            loads[host] = cards[host].at_home[address].pending + self._count_lately((host, address), now)
        counts = dict.fromkeys(hosts, 0)
        portion = -(-ready // _PORTIONS)
        while ready > 0:
            host = min(hosts, key=lambda one: (loads[one] + counts[one]) / cards[one].at_home[address].waiting)
            counts[host] += min(portion, ready)
            ready -= portion
        return [Share(host, [address], count) for host, count in counts.items() if count]

    def _count_lately(self, key: tuple[str, str], now: float) -> float:
        count, then = self._lately.get(key, (0.0, now))
        return count * math.pow(0.5, (now - then) / _HALF_LIFE_S)


def _waiting(card: Card, address: str, now: float) -> int:
    """Return how many loops wait at an address of a host that is alive."""
    return card.at_home[address].waiting if card.is_fresh(now) else 0


def _last_use(home: Home) -> int:
    """Return when an address was used last; 0 if it is only registered."""
    return home.seen if home.used else 0
