"""Client: a client of the bus whose calls are steps, each with the facts that it must leave in the file."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING, Any

from scripts.stress.power.expectations import Expectations

if TYPE_CHECKING:
    from raven import BusClient
    from raven.host.bus import HostedBus
    from raven_rpc import Client

# Long bodies fill pages of their own.
_LENGTHS = (10, 10, 200, 3000, 9000)


class StepClient:
    """Sends to one address and receives at its own; `durable` says whether its client has durability="full"."""

    def __init__(
        self,
        bus: BusClient | Client,
        to: str,
        expectations: Expectations,
        rng: random.Random,
        numbers: count[int],
        *,
        durable: bool,
    ) -> None:
        self.bus = bus
        self._to = to
        self._expectations = expectations
        self._rng = rng
        self._numbers = numbers
        self._durable = durable

    def send(self) -> None:
        """Send one message."""
        number, body = self._body()
        with self._expectations.step([f"sent:{number}"], durable=self._durable):
            self.bus.send(self._to, "note", body)

    def send_many(self, count: int | None = None, length: int | None = None) -> None:
        """Send several messages in one call."""
        bodies = dict(self._body(length) for _ in range(count or self._rng.randint(2, 6)))
        with self._expectations.step([f"sent:{number}" for number in bodies], durable=self._durable):
            self.bus.send_many([{"to": self._to, "type": "note", "body": body} for body in bodies.values()])

    def ack(self) -> None:
        """Claim and ack."""
        for message in self._claim(self._rng.randint(1, 3)):
            with self._expectations.step([f"acked:{message.body['n']}"], durable=self._durable):
                self.bus.ack(message.id)

    def nack(self) -> None:
        """Claim and nack."""
        for message in self._claim(1):
            with self._expectations.step([], durable=self._durable):
                self.bus.nack(message.id, reason="later")

    def transact(self) -> None:
        """Ack a claimed message, reply to it, and send another, in one transaction."""
        for message in self._claim(1):
            (answer, body), (more, other) = self._body(), self._body()
            facts = [f"acked:{message.body['n']}", f"sent:{answer}", f"sent:{more}"]
            with self._expectations.step(facts, durable=self._durable), self.bus.transaction() as tx:
                tx.ack(message.id)
                tx.reply(message, "answer", body)
                tx.send(self._to, "note", other)

    def _claim(self, limit: int) -> list[Any]:
        with self._expectations.step([], durable=self._durable):
            return self.bus.claim(limit)

    def _body(self, length: int | None = None) -> tuple[int, dict[str, Any]]:
        number = next(self._numbers)
        return number, {"n": number, "pad": "x" * (length or self._rng.choice(_LENGTHS))}


class FileStepClient(StepClient):
    """A client of the file itself, with further steps."""

    bus: HostedBus

    def listen(self) -> None:
        """Receive the next message in a loop with automatic acks."""
        waiting = self.bus.inbox(max=1, peek=True)
        if waiting:
            with self._expectations.step([f"acked:{waiting[0].body['n']}"], durable=self._durable):
                for _ in self.bus.listen(max_per_poll=1):
                    break

    def work(self) -> None:
        """Ack a claimed message, send another, and insert a row, in one transaction."""
        with self._expectations.step([], durable=self._durable):
            self.bus.execute("CREATE TABLE IF NOT EXISTS effects (n INTEGER PRIMARY KEY)")
        for message in self._claim(1):
            number, body = self._body()
            facts = [f"acked:{message.body['n']}", f"row:{message.body['n']}", f"sent:{number}"]
            with self._expectations.step(facts, durable=self._durable), self.bus.transaction() as tx:
                tx.ack(message.id)
                tx.execute("INSERT INTO effects VALUES (?)", (message.body["n"],))
                tx.send(self._to, "note", body)

    def prune(self) -> None:
        """Delete the finished messages, and vacuum the file."""
        with self._expectations.step([], durable=self._durable, drops=True):
            self.bus.prune(older_than_s=0, grace_s=0)

    def upkeep(self) -> None:
        """Delete the messages beyond the retention limits."""
        with self._expectations.step([], durable=self._durable, drops=True):
            self.bus.run_maintenance()
