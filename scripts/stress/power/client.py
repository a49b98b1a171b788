"""Hand: one client of the bus that takes steps, each entered in the ledger with what it is to leave behind."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING, Any

from scripts.stress.power.expectations import Ledger

if TYPE_CHECKING:
    from raven import BusClient
    from raven.host.bus import HostedBus
    from raven_rpc import Client

# Of long bodies each fills pages of its own.
_LENGTHS = (10, 10, 200, 3000, 9000)


class Hand:
    """Sends to one address and takes what comes to its own; `durable` says what its client was asked for."""

    def __init__(
        self,
        bus: BusClient | Client,
        to: str,
        ledger: Ledger,
        chance: random.Random,
        numbers: count[int],
        *,
        durable: bool,
    ) -> None:
        self.bus = bus
        self._to = to
        self._ledger = ledger
        self._chance = chance
        self._numbers = numbers
        self._durable = durable

    def send(self) -> None:
        """Send one message."""
        number, body = self._body()
        with self._ledger.step([f"sent:{number}"], durable=self._durable):
            self.bus.send(self._to, "note", body)

    def send_many(self, count: int | None = None, length: int | None = None) -> None:
        """Send several in one call."""
        bodies = dict(self._body(length) for _ in range(count or self._chance.randint(2, 6)))
        with self._ledger.step([f"sent:{number}" for number in bodies], durable=self._durable):
            self.bus.send_many([{"to": self._to, "type": "note", "body": body} for body in bodies.values()])

    def ack(self) -> None:
        """Claim something and ack it."""
        for message in self._claim(self._chance.randint(1, 3)):
            with self._ledger.step([f"acked:{message.body['n']}"], durable=self._durable):
                self.bus.ack(message.id)

    def nack(self) -> None:
        """Claim something and give it back."""
        for message in self._claim(1):
            with self._ledger.step([], durable=self._durable):
                self.bus.nack(message.id, reason="later")

    def transact(self) -> None:
        """Ack what was claimed, answer it, and send something, in one transaction."""
        for message in self._claim(1):
            (answer, body), (more, other) = self._body(), self._body()
            facts = [f"acked:{message.body['n']}", f"sent:{answer}", f"sent:{more}"]
            with self._ledger.step(facts, durable=self._durable), self.bus.transaction() as tx:
                tx.ack(message.id)
                tx.reply(message, "answer", body)
                tx.send(self._to, "note", other)

    def _claim(self, limit: int) -> list[Any]:
        with self._ledger.step([], durable=self._durable):
            return self.bus.claim(limit)

    def _body(self, length: int | None = None) -> tuple[int, dict[str, Any]]:
        number = next(self._numbers)
        return number, {"n": number, "pad": "x" * (length or self._chance.choice(_LENGTHS))}


class DirectHand(Hand):
    """A client that has the file itself: it can do some things more."""

    bus: HostedBus

    def listen(self) -> None:
        """Take the next message as a loop does: acked when it is handed out."""
        waiting = self.bus.inbox(max=1, peek=True)
        if waiting:
            with self._ledger.step([f"acked:{waiting[0].body['n']}"], durable=self._durable):
                for _ in self.bus.listen(max_per_poll=1):
                    break

    def work(self) -> None:
        """Ack what was claimed, send what came of it, and keep a row of it, in one transaction."""
        with self._ledger.step([], durable=self._durable):
            self.bus.execute("CREATE TABLE IF NOT EXISTS effects (n INTEGER PRIMARY KEY)")
        for message in self._claim(1):
            number, body = self._body()
            facts = [f"acked:{message.body['n']}", f"row:{message.body['n']}", f"sent:{number}"]
            with self._ledger.step(facts, durable=self._durable), self.bus.transaction() as tx:
                tx.ack(message.id)
                tx.execute("INSERT INTO effects VALUES (?)", (message.body["n"],))
                tx.send(self._to, "note", body)

    def prune(self) -> None:
        """Drop what is finished, and make the file as short as it can be."""
        with self._ledger.step([], durable=self._durable, drops=True):
            self.bus.prune(older_than_s=0)

    def upkeep(self) -> None:
        """Drop what is beyond the limits."""
        with self._ledger.step([], durable=self._durable, drops=True):
            self.bus.run_maintenance()
