"""Order: messages reach an address by urgency, then by id, and ids grow with the time of sending.

Only first receptions count: a redelivered message comes when it can. A subscriber with automatic acks may prefetch
messages, which keep their place: later messages may overtake them until their subscriber ends, or its lease expires.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from scripts.stress.history.history import History, Process, Reception
from scripts.stress.history.verdict import Verdict

URGENCIES = ("blocking", "prompt", "fyi")
# For this long the prefetched messages of a killed subscriber stay leased.
PREFETCH_LEASE_S = 5.0
_SLACK_S = 0.5
# For each message, compare it with this many messages of the nearest larger ids.
_NEAREST = 500


def ids_grow_in_time(history: History) -> Iterator[Verdict]:
    """Demand that a message sent after another send has returned has a larger id."""
    stored = {message.token: message.id for message in history.dump.messages}
    sent = sorted((s for s in history.sendings if s.outcome == "done" and s.key is None), key=lambda s: s.end)
    ends = [sending.end for sending in sent]
    highest: list[int] = []
    for sending in sent:
        highest.append(max([*highest[-1:], *sending.ids]))
    for sending in history.sendings:
        # A message that is sent again, under a key or in a transaction, may already have been stored.
        if sending.outcome != "done" or sending.key is not None:
            continue
        before = bisect_right(ends, sending.begin)
        ids = [stored[message.token] for message in sending.messages if message.token in stored]
        if before and ids and min(ids) < highest[before - 1]:
            text = f"#{min(ids)} was sent by {sending.process} after #{highest[before - 1]} was stored"
            yield Verdict("reordered", text)


def messages_of_one_urgency_come_by_id(history: History) -> Iterator[Verdict]:
    """Demand that of two messages of one urgency the smaller id comes first."""
    for address, receptions in _first_receptions(history).items():
        overtaken = _Overtaken(history, address)
        for urgency in URGENCIES:
            of_one = sorted((r for r in receptions if r.urgency == urgency), key=lambda r: -r.id)
            yield from overtaken.find(of_one)


def urgent_messages_come_first(history: History) -> Iterator[Verdict]:
    """Demand that a message overtakes all less urgent ones that are fetched after it was sent."""
    sent = {id: sending.end for sending in history.sendings if sending.outcome == "done" for id in sending.ids}
    for address, receptions in _first_receptions(history).items():
        overtaken = _Overtaken(history, address)
        for index, urgency in enumerate(URGENCIES):
            lesser = sorted((r for r in receptions if r.urgency in URGENCIES[index + 1 :]), key=lambda r: r.fetched)
            fetches = [reception.fetched for reception in lesser]
            for late in (r for r in receptions if r.urgency == urgency and r.id in sent):
                for early in lesser[bisect_right(fetches, sent[late.id]) :]:
                    if early.fetched >= late.fetched:
                        break
                    if early.at < late.fetched and not overtaken.may_be_prefetched(late, early):
                        yield Verdict("reordered", _describe(address, early, late))
                        break


class _Overtaken:
    """Finds the messages of one address that later ones overtook."""

    def __init__(self, history: History, address: str) -> None:
        self._address = address
        self._consumers = [process for process in history.processes.values() if process.address == address]
        self._is_auto = any(process.mode == "auto" for process in self._consumers)
        self._killed_servers: list[Process] = []
        if any(process.transport == "socket" for process in self._consumers):
            servers = (process for process in history.processes.values() if process.name.startswith("server."))
            self._killed_servers = [server for server in servers if server.was_killed]
        self._sent: dict[int, float] = {}
        for sending in history.sendings:
            for id in sending.ids:
                self._sent[id] = min(sending.begin, self._sent.get(id, sending.begin))

    def find(self, receptions: list[Reception]) -> Iterator[Verdict]:
        """Yield the messages that came after one of a larger id; `receptions` are sorted by id, the largest first."""
        larger: list[Reception] = []
        soonest = float("inf")
        for late in receptions:
            if soonest < late.at:
                for early in reversed(larger[-_NEAREST:]):
                    if _is_after(late, early) and not self.may_be_prefetched(late, early):
                        yield Verdict("reordered", _describe(self._address, early, late))
                        break
            larger.append(late)
            soonest = min(soonest, late.at)

    def may_be_prefetched(self, late: Reception, early: Reception) -> bool:
        """Whether another subscriber may have prefetched `late` when `early` was fetched."""
        if not self._is_auto:
            return False
        sent = self._sent.get(late.id, 0.0)
        others = [process for process in self._consumers if process.name != early.process]
        others += [server for server in self._killed_servers if server.ended <= late.at]
        return any(_can_hold(process, sent, early) for process in others)


def _can_hold(process: Process, sent: float, early: Reception) -> bool:
    span = max(PREFETCH_LEASE_S, process.lease_s) + _SLACK_S
    return process.began <= early.at and process.ended >= sent and process.ended + span >= early.fetched


def _is_after(late: Reception, early: Reception) -> bool:
    """Whether `late` was certainly received after `early`."""
    return late.at > early.at if late.process == early.process else late.fetched > early.at


def _first_receptions(history: History) -> dict[str, list[Reception]]:
    """Return by address the receptions at the first attempt."""
    by_address: dict[str, list[Reception]] = defaultdict(list)
    for (address, _), receptions in history.receptions_by_delivery().items():
        if receptions[0].attempts == 1:
            by_address[address].append(receptions[0])
    return by_address


def _describe(address: str, early: Reception, late: Reception) -> str:
    first, second = (f"#{r.id} ({r.urgency}, {r.process})" for r in (early, late))
    return f"{first} came to {address} before {second}"


RULES = (ids_grow_in_time, messages_of_one_urgency_come_by_id, urgent_messages_come_first)
