"""History builder: histories for tests of the checker, made by a simulated bus that keeps every promise."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from scripts.stress.history.assemble import history_of
from scripts.stress.history.checker import check
from scripts.stress.history.history import BusDump, Delivery, History, StoredMessage
from scripts.stress.history.journal import Event
from scripts.stress.history.verdict import Verdict

URGENCIES = ("blocking", "prompt", "fyi")
LEASE_S = 10.0
AUTO, MANUAL, TRANSACTION = "auto:s", "manual:s", "transaction:s"
CONSUMERS = {
    "auto.1": {"address": AUTO, "mode": "auto", "prefetch": 0, "at_risk": 1},
    "manual.1": {"address": MANUAL, "mode": "manual", "lease_s": LEASE_S},
    "manual.2": {"address": MANUAL, "mode": "manual", "lease_s": LEASE_S},
    "transaction.1": {"address": TRANSACTION, "mode": "transaction", "lease_s": LEASE_S},
}


class _Hold(NamedTuple):
    """A lease of a delivery: its holder, its number and its end."""

    process: str
    lease: int
    ends: float


class HistoryBuilder:
    """Builds the events of a history, one second apart, and the contents of the bus."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.messages: list[StoredMessage] = []
        self.deliveries: list[Delivery] = []
        self.effects: list[tuple[int, str]] = []
        self.now = 100.0
        self._calls = 0
        self._held: dict[int, _Hold] = {}  # by the index of the delivery
        for process in ("producer.1", *CONSUMERS):
            self.add("parent", "began", process=process)
        for process, fields in CONSUMERS.items():
            self.add(process, "consuming", **fields)

    def add(self, process: str, type: str, /, **fields: Any) -> None:
        """Append an event of a process, one second after the last."""
        self.now += 1
        self.events.append(Event(self.now, 1000 + self.now, process, type, fields))

    def call(self) -> int:
        self._calls += 1
        return self._calls

    def history(self) -> History:
        return history_of(self.events, BusDump(tuple(self.messages), tuple(self.deliveries), tuple(self.effects)))

    def verdicts(self) -> list[Verdict]:
        return check(self.history())

    def send(self, *tos: str | tuple[str, ...], urgency: str = "prompt", key: str | None = None) -> list[int]:
        """Send messages in one call, and return their ids."""
        call, ids, messages = self.call(), [], []
        for index, to in enumerate(tos):
            token = f"t{call}-{index}"
            messages.append([token, [to] if isinstance(to, str) else list(to), urgency, f"d-{token}", 5])
            id = len(self.messages) + 1
            ids.append(id)
            self.messages.append(StoredMessage(id, "producer:s", token, f"d-{token}", urgency, key))
            self.deliveries += [Delivery(id, address, "sent", 0, 5, None) for address in messages[-1][1]]
        self.add("producer.1", "sending", call=call, messages=messages, key=key)
        self.add("producer.1", "sent", call=call, ids=ids)
        return ids

    def receive(self, process: str) -> int | None:
        """Let a consumer receive its next message, if there is one; an automatic ack finishes it."""
        index = self._next_for(CONSUMERS[process]["address"])
        if index is None:
            return None
        self.add(process, "asking")
        lease = self._deliver(process, index)
        message, attempts = self.messages[self.deliveries[index].message - 1], self.deliveries[index].attempts
        fields = {"token": message.token, "digest": message.digest, "urgency": message.urgency}
        self.add(process, "received", id=message.id, attempts=attempts, lease=lease, **fields)
        return message.id

    def ack(self, process: str, id: int) -> bool:
        """Ack a message unless its lease has expired; in transaction mode, add the effect as well."""
        index = self.delivery_index(CONSUMERS[process]["address"], id)
        hold = self._held.get(index)
        if hold is None or hold.process != process or hold.ends < self.now + 2:
            return False
        call = self.call()
        self.add(process, "acking", call=call, id=id, lease=hold.lease)
        del self._held[index]
        self.deliveries[index] = replace(self.deliveries[index], state="acked", finished_wall=1000 + self.now)
        if CONSUMERS[process]["mode"] == "transaction":
            self.effects.append((id, process))
        self.add(process, "acked", call=call)
        return True

    def kill(self, process: str) -> None:
        """Kill a consumer while it receives a message, which an automatic ack then loses."""
        index = self._next_for(CONSUMERS[process]["address"])
        if index is not None:
            self.now += 1
            self._deliver(process, index)
        self.add("parent", "ended", process=process, code=-9)

    def expire_leases(self) -> None:
        """Advance the time beyond all leases."""
        self.now += LEASE_S

    def delivery_index(self, address: str, id: int) -> int:
        """Return the index of the delivery of a message."""
        return next(n for n, one in enumerate(self.deliveries) if (one.recipient, one.message) == (address, id))

    def change_delivery(self, address: str, id: int, **fields: Any) -> None:
        index = self.delivery_index(address, id)
        self.deliveries[index] = replace(self.deliveries[index], **fields)

    def index_of(self, type: str, **fields: Any) -> int:
        """Return the index of the first event of a type with these fields."""
        return next(
            n
            for n, e in enumerate(self.events)
            if e.type == type and all(e.fields.get(k) == v for k, v in fields.items())
        )

    def change_event(self, index: int, **fields: Any) -> None:
        """Change fields of an event."""
        self.events[index] = self.events[index]._replace(fields={**self.events[index].fields, **fields})

    def _next_for(self, address: str) -> int | None:
        held = {index for index, hold in self._held.items() if hold.ends > self.now}
        ready = [
            (URGENCIES.index(self.messages[one.message - 1].urgency), one.message, index)
            for index, one in enumerate(self.deliveries)
            if one.recipient == address and one.state in ("sent", "delivered") and index not in held
            and one.attempts < one.max_attempts
        ]  # fmt: skip
        return min(ready)[2] if ready else None

    def _deliver(self, process: str, index: int) -> int | None:
        taken = self.deliveries[index]
        attempts = taken.attempts + 1
        if CONSUMERS[process]["mode"] == "auto":
            state, lease, wall = "acked", None, 1000 + self.now
        else:
            state, lease, wall = "delivered", 1000 * index + attempts, None
            self._held[index] = _Hold(process, lease, self.now + LEASE_S)
        self.deliveries[index] = replace(taken, state=state, attempts=attempts, finished_wall=wall)
        return lease


def replace(row: Any, **fields: Any) -> Any:
    return row._replace(**fields)


def random_history(rng: random.Random, steps: int) -> HistoryBuilder:
    """Return a history of random steps in which the bus keeps every promise, and consumers are killed."""
    builder = HistoryBuilder()
    alive = set(CONSUMERS)
    held: dict[str, list[int]] = {process: [] for process in CONSUMERS}
    for _ in range(steps):
        way = rng.choices(["send", "many", "receive", "ack", "kill", "expire"], [4, 1, 8, 6, 0.3, 0.3])[0]
        process = rng.choice(sorted(alive)) if alive else None
        if way == "send":
            builder.send(
                rng.choice([AUTO, MANUAL, TRANSACTION, (AUTO, MANUAL, TRANSACTION)]), urgency=rng.choice(URGENCIES)
            )
        elif way == "many":
            builder.send(*rng.choices([AUTO, MANUAL, TRANSACTION], k=3))
        elif way == "expire":
            builder.expire_leases()
        elif process is not None and way == "receive" and (id := builder.receive(process)) is not None:
            held[process].append(id)
        elif process is not None and way == "ack" and held[process] and CONSUMERS[process]["mode"] != "auto":
            builder.ack(process, held[process].pop())
        elif process is not None and way == "kill":
            alive.discard(process)
            builder.kill(process)
    return builder
