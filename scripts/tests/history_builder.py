"""Tales: histories made up for the checker, by a bus that exists on paper only and makes no mistakes."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from scripts.stress.history.assemble import history_of
from scripts.stress.history.checker import check
from scripts.stress.history.history import Delivery, History, Look, Stored
from scripts.stress.history.journal import Event
from scripts.stress.history.verdict import Verdict

URGENCIES = ("blocking", "prompt", "fyi")
LEASE_S = 10.0
AUTO, MANUAL, LEDGER = "auto:s", "manual:s", "ledger:s"
CONSUMERS = {
    "auto.1": {"address": AUTO, "mode": "auto", "prefetch": 0, "at_risk": 1},
    "manual.1": {"address": MANUAL, "mode": "manual", "lease_s": LEASE_S},
    "manual.2": {"address": MANUAL, "mode": "manual", "lease_s": LEASE_S},
    "ledger.1": {"address": LEDGER, "mode": "transaction", "lease_s": LEASE_S},
}


class _Hold(NamedTuple):
    """Who has a delivery under which lease, and until when."""

    life: str
    lease: int
    ends: float


class Tale:
    """Events in the order of time, one a second, and what is in the bus."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.messages: list[Stored] = []
        self.deliveries: list[Delivery] = []
        self.effects: list[tuple[int, str]] = []
        self.now = 100.0
        self._calls = 0
        self._held: dict[int, _Hold] = {}  # by the place of the delivery
        for life in ("producer.1", *CONSUMERS):
            self.tell("watcher", "began", life=life)
        for life, told in CONSUMERS.items():
            self.tell(life, "consuming", **told)

    def tell(self, life: str, what: str, /, **told: Any) -> None:
        """Append an event of a life, a second after the last."""
        self.now += 1
        self.events.append(Event(self.now, 1000 + self.now, life, what, told))

    def call(self) -> int:
        self._calls += 1
        return self._calls

    def history(self) -> History:
        return history_of(self.events, Look(tuple(self.messages), tuple(self.deliveries), tuple(self.effects)))

    def verdicts(self) -> list[Verdict]:
        return check(self.history())

    def send(self, *tos: str | tuple[str, ...], urgency: str = "prompt", key: str | None = None) -> list[int]:
        """Send messages in one call, and return their ids."""
        call, ids, posts = self.call(), [], []
        for place, to in enumerate(tos):
            token = f"t{call}-{place}"
            posts.append([token, [to] if isinstance(to, str) else list(to), urgency, f"d-{token}", 5])
            id = len(self.messages) + 1
            ids.append(id)
            self.messages.append(Stored(id, "producer:s", token, f"d-{token}", urgency, key))
            self.deliveries += [Delivery(id, address, "sent", 0, 5, None) for address in posts[-1][1]]
        self.tell("producer.1", "sending", call=call, posts=posts, key=key)
        self.tell("producer.1", "sent", call=call, ids=ids)
        return ids

    def take(self, life: str) -> int | None:
        """Let a consumer have what comes next for it, if there is something; with automatic acks for good."""
        place = self._next_of(CONSUMERS[life]["address"])
        if place is None:
            return None
        self.tell(life, "asking")
        lease = self._hand_out(life, place)
        message, attempts = self.messages[self.deliveries[place].message - 1], self.deliveries[place].attempts
        told = {"token": message.token, "digest": message.digest, "urgency": message.urgency}
        self.tell(life, "received", id=message.id, attempts=attempts, lease=lease, **told)
        return message.id

    def finish(self, life: str, id: int) -> bool:
        """Ack what a consumer has, unless its lease is over; one that keeps a ledger writes its row with it."""
        place = self.place(CONSUMERS[life]["address"], id)
        hold = self._held.get(place)
        if hold is None or hold.life != life or hold.ends < self.now + 2:
            return False
        call = self.call()
        self.tell(life, "acking", call=call, id=id, lease=hold.lease)
        del self._held[place]
        self.deliveries[place] = replace(self.deliveries[place], state="acked", finished_wall=1000 + self.now)
        if CONSUMERS[life]["mode"] == "transaction":
            self.effects.append((id, life))
        self.tell(life, "acked", call=call)
        return True

    def kill(self, life: str) -> None:
        """Kill a consumer as it takes a message, which with automatic acks is lost by that."""
        place = self._next_of(CONSUMERS[life]["address"])
        if place is not None:
            self.now += 1
            self._hand_out(life, place)
        self.tell("watcher", "ended", life=life, code=-9)

    def lapse(self) -> None:
        """Let all leases end."""
        self.now += LEASE_S

    def place(self, address: str, id: int) -> int:
        """Return where the delivery of a message stands in the list."""
        return next(n for n, one in enumerate(self.deliveries) if (one.recipient, one.message) == (address, id))

    def change(self, address: str, id: int, **fields: Any) -> None:
        place = self.place(address, id)
        self.deliveries[place] = replace(self.deliveries[place], **fields)

    def event(self, what: str, **told: Any) -> int:
        """Return the place of the first event that tells so."""
        return next(
            n for n, e in enumerate(self.events) if e.what == what and all(e.told.get(k) == v for k, v in told.items())
        )

    def retell(self, place: int, **told: Any) -> None:
        """Change what an event tells."""
        self.events[place] = self.events[place]._replace(told={**self.events[place].told, **told})

    def _next_of(self, address: str) -> int | None:
        held = {place for place, hold in self._held.items() if hold.ends > self.now}
        ready = [
            (URGENCIES.index(self.messages[one.message - 1].urgency), one.message, place)
            for place, one in enumerate(self.deliveries)
            if one.recipient == address and one.state in ("sent", "delivered") and place not in held
            and one.attempts < one.max_attempts
        ]  # fmt: skip
        return min(ready)[2] if ready else None

    def _hand_out(self, life: str, place: int) -> int | None:
        taken = self.deliveries[place]
        attempts = taken.attempts + 1
        if CONSUMERS[life]["mode"] == "auto":
            state, lease, wall = "acked", None, 1000 + self.now
        else:
            state, lease, wall = "delivered", 1000 * place + attempts, None
            self._held[place] = _Hold(life, lease, self.now + LEASE_S)
        self.deliveries[place] = replace(taken, state=state, attempts=attempts, finished_wall=wall)
        return lease


def replace(row: Any, **fields: Any) -> Any:
    return row._replace(**fields)


def made_by(chance: random.Random, steps: int) -> Tale:
    """Return a tale of so many steps by chance, in which everything goes as it should, and consumers die."""
    tale = Tale()
    alive = set(CONSUMERS)
    hands: dict[str, list[int]] = {life: [] for life in CONSUMERS}
    for _ in range(steps):
        way = chance.choices(["send", "many", "take", "finish", "kill", "lapse"], [4, 1, 8, 6, 0.3, 0.3])[0]
        life = chance.choice(sorted(alive)) if alive else None
        if way == "send":
            tale.send(chance.choice([AUTO, MANUAL, LEDGER, (AUTO, MANUAL, LEDGER)]), urgency=chance.choice(URGENCIES))
        elif way == "many":
            tale.send(*chance.choices([AUTO, MANUAL, LEDGER], k=3))
        elif way == "lapse":
            tale.lapse()
        elif life is not None and way == "take" and (id := tale.take(life)) is not None:
            hands[life].append(id)
        elif life is not None and way == "finish" and hands[life] and CONSUMERS[life]["mode"] != "auto":
            tale.finish(life, hands[life].pop())
        elif life is not None and way == "kill":
            alive.discard(life)
            tale.kill(life)
    return tale
