"""History: what all processes of a trial have written down, put in order, and what is left in the bus at the end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Mode = Literal["auto", "manual", "transaction"]
# What became of a call: it was done; it raised, and nothing was done; nobody knows.
Outcome = Literal["done", "refused", "unknown"]


class Post(NamedTuple):
    """One message as it was sent: `to` are those who must have it."""

    token: str
    to: tuple[str, ...]
    urgency: str
    digest: str
    max_attempts: int


@dataclass
class Sending:
    """A call that sends some messages, all or none."""

    life: str
    begin: float
    posts: tuple[Post, ...]
    key: str | None
    end: float = float("inf")
    outcome: Outcome = "unknown"
    ids: tuple[int, ...] = ()


@dataclass
class Receipt:
    """A message in the hands of a life: taken between `asked` and `at`, fetched not before `fetched`."""

    life: str
    address: str
    id: int
    token: str
    digest: str
    urgency: str
    attempts: int
    lease: int | None
    asked: float
    fetched: float
    at: float
    freed: float = float("inf")  # not before this time its holder gave it back by an ack, a nack, or by leaving


@dataclass
class Ack:
    """An attempt to finish a message."""

    life: str
    address: str
    id: int
    lease: int | None
    begin: float
    end: float = float("inf")
    outcome: Outcome = "unknown"


@dataclass
class Life:
    """One process: what it consumed and how; when it was last heard of, and when it was seen to have ended."""

    name: str
    began: float = 0.0
    began_wall: float = 0.0
    heard: float = 0.0
    heard_wall: float = 0.0
    ended: float = float("inf")
    ended_wall: float = float("inf")
    was_killed: bool = False
    address: str = ""
    mode: Mode | None = None
    over: Literal["file", "socket"] = "file"
    ahead: int = 0
    at_risk: int = 0
    at_helpers_risk: int = 0
    lease_s: float = 0.0


class Stored(NamedTuple):
    """A message in the bus."""

    id: int
    sender: str
    token: str
    digest: str
    urgency: str
    key: str | None


class Delivery(NamedTuple):
    """What became of a message for one recipient."""

    message: int
    recipient: str
    state: Literal["sent", "delivered", "acked", "expired", "dead"]
    attempts: int
    max_attempts: int
    finished_wall: float | None


class Look(NamedTuple):
    """What is in the bus at the end: messages, deliveries, and the rows of the trial's own table (message, life)."""

    messages: tuple[Stored, ...]
    deliveries: tuple[Delivery, ...]
    effects: tuple[tuple[int, str], ...]

    def of_session(self, session: str) -> Look:
        """Return what was sent from a session and what became of it, and every delivery without a message."""
        others = {message.id for message in self.messages if message.sender.rpartition(":")[2] != session}
        return self._replace(
            messages=tuple(message for message in self.messages if message.id not in others),
            deliveries=tuple(delivery for delivery in self.deliveries if delivery.message not in others),
        )


@dataclass
class History:
    """Everything that a checker judges by."""

    look: Look
    lives: dict[str, Life] = field(default_factory=dict)
    sendings: list[Sending] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def modes(self) -> dict[str, Mode]:
        """Return how the mail of each address was taken."""
        return {life.address: life.mode for life in self.lives.values() if life.mode is not None}

    def receipts_by_delivery(self) -> dict[tuple[str, int], list[Receipt]]:
        """Return the receipts by address and message, the first first."""
        found: dict[tuple[str, int], list[Receipt]] = defaultdict(list)
        for receipt in sorted(self.receipts, key=lambda receipt: receipt.at):
            found[receipt.address, receipt.id].append(receipt)
        return found


def look_of(shape: dict[str, Any]) -> Look:
    """Return a look from its JSON shape."""
    return Look(
        tuple(Stored(*row) for row in shape["messages"]),
        tuple(Delivery(*row) for row in shape["deliveries"]),
        tuple((row[0], row[1]) for row in shape["effects"]),
    )
