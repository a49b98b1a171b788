"""Whereabouts: which addresses are used here and on the other hosts, as cards tell it, and what follows from that."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raven.errors import ConfigError
from raven.exchange.values import Confirmation
from raven.link import cards
from raven.link.routes import Routes, Share
from raven.model.address import MAX_LENGTH, is_private

if TYPE_CHECKING:
    from raven.exchange.exchange import Exchange
    from raven.exchange.values import Home, Outgoing
    from raven.wake.doors import Doors

# How often the card is put if it has not changed.
_CARD_S = 5.0
# Questions of other hosts whose replies have a door: so many, and for so long. Later replies leave at the next tick.
_MAX_QUESTIONS, _QUESTION_S = 10_000, 600.0


class Whereabouts:
    """The card of this host, the cards of the others, and the doors at the addresses whose mail would leave.

    `run` marks this run of the relay. Used in the store thread alone.
    """

    def __init__(self, exchange: Exchange, doors: Doors, host: str, run: str) -> None:
        self.cards = cards.Cards(host)
        self.own: dict[str, Home] = {}
        self.card_bytes = 0
        self._exchange = exchange
        self._doors = doors
        self._host = host
        self._run = run
        self._routes = Routes()
        self._bells_version = -1
        self._unshown: dict[str, bool] = {}  # hosts with a new card, and whether its addresses are others than before
        self._forgotten = exchange.forgotten()
        self._returned: set[str] = set()  # forgotten hosts that are alive, which the file does not say yet
        self._questions: dict[str, float] = {}  # reply addresses, and until when each has a door
        self._wanted_doors: dict[str, bool] = {}
        self._card: dict[str, Home] = {}
        self._card_at, self._card_pause_s = -_CARD_S, 0.0

    def meet(self, key: str, data: bytes | None, age_s: float | None = None) -> tuple[bool, Confirmation | None]:
        """Take a card of the bucket, put `age_s` seconds ago, or just now if it is None.

        Returns whether addresses have changed, and which frame of this host that one has committed, if its card is new.
        Raises ConfigError if a card was put just now by a relay that has this host's name or bus.
        """
        name = key.partition(".")[0]
        if name in self._forgotten:
            if age_s is not None or data is None:
                return False, None  # it was put before the host was lost
            self._forgotten.discard(name)
            self._returned.add(name)
        before = self.cards.hosts.get(name)
        card = self.cards.hear(key, data, time.monotonic(), age_s or 0.0)
        clash = self._clash(card) if card is not None and age_s is None else None
        if clash is not None:
            raise ConfigError(clash)
        after = self.cards.hosts.get(name)
        has_changed = (before and before.at_home) is not (after and after.at_home)
        if has_changed:
            is_other = (before.at_home if before else {}).keys() != (after.at_home if after else {}).keys()
            self._unshown[name] = is_other or self._unshown.get(name, False)
        # An old card may name an earlier frame than the host's last sign did. A new one that names none has none.
        if card is None or age_s is not None or name == self._host:
            return has_changed, None
        return has_changed, card.received.get(self._host, Confirmation(0, 0, 0))

    def is_doubtful(self, last_run: str | None) -> bool:
        """Whether a card in the bucket may be that of a running relay with this host's name or bus.

        `last_run` marks the run that ended before this one.
        """
        known = [*self.cards.hosts.values(), *([self.cards.own] if self.cards.own else [])]
        return any(self._clash(card) and card.run != last_run for card in known)

    def glance(self) -> bool:
        """Look at the loops of this host again if one has come or gone; return whether mail may have another home."""
        version = self._exchange.bells_version()
        if version == self._bells_version:
            return False
        self._bells_version = version
        return self.read_home()

    def read_home(self) -> bool:
        """Read the addresses of this host; return whether mail may have another home."""
        own = cards.rounded(self._exchange.home(), self._exchange.offset_us)
        has_changed = _waited(own) != _waited(self.own)
        self.own = own
        return self.set_doors() or has_changed

    def tick(self) -> bool:
        """Register what the cards tell, and care for the doors; return whether mail may have rung no door."""
        self._remember()
        self._show(self._unshown)
        now = time.monotonic()
        self._questions = {address: until for address, until in self._questions.items() if until > now}
        has_changed = self.read_home()
        return self._doors.tick() or has_changed

    def forget(self) -> None:
        """Forget the cards of the hosts that a user has told the exchange to forget."""
        self._remember()
        forgotten = self._exchange.forgotten()
        for host in forgotten - self._forgotten:
            if self.cards.hosts.get(host) is not None:
                self.cards.hear(host, None, time.monotonic())
                self._unshown[host] = True
        self._forgotten = forgotten

    def _remember(self) -> None:
        """Note in the file which forgotten hosts have come back; after an error the next call does it."""
        while self._returned:
            self._exchange.remember(min(self._returned))
            self._returned.discard(min(self._returned))

    def share_out(self, outgoing: Iterable[Outgoing]) -> list[Share]:
        """Return which mail goes to which host now."""
        self.forget()  # its mail is ready again just now, and must not go there
        # An agent that has mail from here, and may have answered it, is reached by a broadcast.
        self._show(host for host, is_other in self._unshown.items() if is_other)
        return self._routes.share_out(outgoing, self.own, self.cards.hosts, time.monotonic())

    def handed(self, share: Share, count: int) -> None:
        """Note how many deliveries of a share were handed over."""
        self._routes.handed(share, count, time.monotonic())

    def to_give_back(self) -> list[str]:
        """Return the addresses whose mail from other hosts goes back there; call this once a second."""
        return self._routes.to_give_back(self._exchange.incoming(), self.own, self.cards.hosts, time.monotonic())

    def await_replies(self, frames: Iterable[Any]) -> bool:
        """Make doors at the reply addresses of the questions among frames of another host; return whether there are."""
        until = time.monotonic() + _QUESTION_S
        before = len(self._questions)
        for frame in frames:
            reply_address = frame.get("p") if isinstance(frame, dict) else None
            if isinstance(reply_address, str) and len(reply_address) <= MAX_LENGTH and is_private(reply_address):
                self._questions[reply_address] = until
                if len(self._questions) > _MAX_QUESTIONS:
                    del self._questions[next(iter(self._questions))]
        return len(self._questions) > before and self.set_doors()

    def set_doors(self) -> bool:
        """Have doors at the addresses whose mail would leave; return whether there are others than before."""
        wanted = self._routes.doors(self.own, self.cards.hosts, time.monotonic())
        wanted.update(dict.fromkeys(self._questions, True))
        if wanted == self._wanted_doors:
            return False
        self._wanted_doors = wanted
        self._doors.set(wanted)
        return True

    def due_at(self) -> float:
        """Return when the card must be put, as a time of time.monotonic."""
        return self._card_at + (_CARD_S if self.own == self._card else self._card_pause_s)

    def expire_card(self) -> None:
        """Let the card be put at once: the connection is new."""
        self._card_at = -_CARD_S

    def write_card(self, received: dict[str, Confirmation], max_payload: int, *, is_leaving: bool) -> dict[str, bytes]:
        """Return the card of this host, as values to put by key, in order. `received` are the confirmations by host."""
        written = cards.write(
            self._host, self._exchange.bus_id, self.own, received, max_payload, run=self._run, is_leaving=is_leaving
        )
        self._card, self._card_at, self._card_pause_s = self.own, time.monotonic(), written.pause_s
        self.card_bytes = sum(map(len, written.pages.values()))
        return written.pages

    def _show(self, hosts: Iterable[str]) -> None:
        """Register what the cards of some hosts tell."""
        for host in sorted(hosts):
            card = self.cards.hosts.get(host)
            self._exchange.show(host, card.local_home(self._exchange.offset_us) if card else {})
            self._unshown.pop(host, None)

    def _clash(self, card: cards.Card) -> str | None:
        return self.cards.clash(card, self._exchange.bus_id, self._run)


def _waited(own: dict[str, Home]) -> set[str]:
    return {address for address, one in own.items() if one.waiting}
