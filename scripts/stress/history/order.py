"""Order: what comes to an address comes by urgency, then by id, and ids grow as messages are sent.

Only first receipts count: what comes again, because its consumer died or gave it back, comes when it can. And a
subscriber with automatic acks may have fetched some messages ahead, which keep their place: until it is over with them,
by its death and the end of their lease at the latest, others overtake them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from scripts.stress.history.history import History, Life, Receipt
from scripts.stress.history.verdict import Verdict

URGENCIES = ("blocking", "prompt", "fyi")
# So long what a killed subscriber had fetched ahead is kept from others.
AHEAD_LEASE_S = 5.0
_SLACK_S = 0.5
# Of what may have overtaken a message so many are looked at, the nearest.
_NEAREST = 500


def ids_grow_in_time(history: History) -> Iterator[Verdict]:
    """Demand that a message that is sent after another send has returned has a larger id."""
    stored = {message.token: message.id for message in history.look.messages}
    sent = sorted((s for s in history.sendings if s.outcome == "done" and s.key is None), key=lambda s: s.end)
    ends = [sending.end for sending in sent]
    highest: list[int] = []
    for sending in sent:
        highest.append(max([*highest[-1:], *sending.ids]))
    for sending in history.sendings:
        before = bisect_right(ends, sending.begin)
        ids = [stored[post.token] for post in sending.posts if post.token in stored]
        # A message that is sent again, under a key or in a transaction, may have been there before.
        if before and ids and min(ids) < highest[before - 1] and sending.outcome == "done" and sending.key is None:
            yield Verdict("reordered", f"#{min(ids)} was sent by {sending.life} after #{highest[before - 1]} was there")


def mail_of_one_urgency_comes_by_id(history: History) -> Iterator[Verdict]:
    """Demand that of two messages of one urgency the first comes first."""
    for address, receipts in _first_receipts(history).items():
        overtaken = _Overtaken(history, address)
        for urgency in URGENCIES:
            of_one = sorted((r for r in receipts if r.urgency == urgency), key=lambda r: -r.id)
            yield from overtaken.find(of_one)


def urgent_mail_comes_first(history: History) -> Iterator[Verdict]:
    """Demand that a message overtakes all less urgent ones that are fetched after it was sent."""
    sent = {id: sending.end for sending in history.sendings if sending.outcome == "done" for id in sending.ids}
    for address, receipts in _first_receipts(history).items():
        overtaken = _Overtaken(history, address)
        for place, urgency in enumerate(URGENCIES):
            lesser = sorted((r for r in receipts if r.urgency in URGENCIES[place + 1 :]), key=lambda r: r.fetched)
            fetches = [receipt.fetched for receipt in lesser]
            for late in (r for r in receipts if r.urgency == urgency and r.id in sent):
                for early in lesser[bisect_right(fetches, sent[late.id]) :]:
                    if early.fetched >= late.fetched:
                        break
                    if early.at < late.fetched and not overtaken.may_be_held(late, early):
                        yield Verdict("reordered", _words(address, early, late))
                        break


class _Overtaken:
    """Finds what was overtaken at one address."""

    def __init__(self, history: History, address: str) -> None:
        self._address = address
        self._consumers = [life for life in history.lives.values() if life.address == address]
        self._is_auto = any(life.mode == "auto" for life in self._consumers)
        self._killed_helpers: list[Life] = []
        if any(life.over == "socket" for life in self._consumers):
            helpers = (life for life in history.lives.values() if life.name.startswith("server."))
            self._killed_helpers = [life for life in helpers if life.was_killed]
        self._sent: dict[int, float] = {}
        for sending in history.sendings:
            for id in sending.ids:
                self._sent[id] = min(sending.begin, self._sent.get(id, sending.begin))

    def find(self, receipts: list[Receipt]) -> Iterator[Verdict]:
        """Yield what came after one of a larger id; the receipts come by their ids, the largest first."""
        larger: list[Receipt] = []
        soonest = float("inf")
        for late in receipts:
            if soonest < late.at:
                for early in reversed(larger[-_NEAREST:]):
                    if _is_after(late, early) and not self.may_be_held(late, early):
                        yield Verdict("reordered", _words(self._address, early, late))
                        break
            larger.append(late)
            soonest = min(soonest, late.at)

    def may_be_held(self, late: Receipt, early: Receipt) -> bool:
        """Whether another subscriber may have had a message ahead when a later one was fetched."""
        if not self._is_auto:
            return False
        sent = self._sent.get(late.id, 0.0)
        others = [life for life in self._consumers if life.name != early.life]
        others += [life for life in self._killed_helpers if life.ended <= late.at]
        return any(_can_hold(life, sent, early) for life in others)


def _can_hold(life: Life, sent: float, early: Receipt) -> bool:
    span = max(AHEAD_LEASE_S, life.lease_s) + _SLACK_S
    return life.began <= early.at and life.ended >= sent and life.ended + span >= early.fetched


def _is_after(late: Receipt, early: Receipt) -> bool:
    """Whether a message was certainly taken after another."""
    return late.at > early.at if late.life == early.life else late.fetched > early.at


def _first_receipts(history: History) -> dict[str, list[Receipt]]:
    """Return by address what came to it for the first time: where attempts are counted, what had none before."""
    found: dict[str, list[Receipt]] = defaultdict(list)
    for (address, _), receipts in history.receipts_by_delivery().items():
        if receipts[0].attempts == 1:
            found[address].append(receipts[0])
    return found


def _words(address: str, early: Receipt, late: Receipt) -> str:
    first, second = (f"#{r.id} ({r.urgency}, {r.life})" for r in (early, late))
    return f"{first} came to {address} before {second}"


RULES = (ids_grow_in_time, mail_of_one_urgency_comes_by_id, urgent_mail_comes_first)
