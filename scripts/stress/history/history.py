"""History: the ordered events of all processes of a trial, and the contents of the bus at the end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Mode = Literal["auto", "manual", "transaction"]
# The outcome of a call: it took effect; it raised an error and had no effect; its effect is unknown.
Outcome = Literal["done", "refused", "unknown"]


class SentMessage(NamedTuple):
    """A message as it was sent; `to` lists all recipients."""

    token: str
    to: tuple[str, ...]
    urgency: str
    digest: str
    max_attempts: int


@dataclass
class Sending:
    """A call that sends messages, all or none."""

    process: str
    begin: float
    messages: tuple[SentMessage, ...]
    key: str | None
    end: float = float("inf")
    outcome: Outcome = "unknown"
    ids: tuple[int, ...] = ()


@dataclass
class Reception:
    """A message that a process received between `asked` and `at`, and fetched no earlier than `fetched`."""

    process: str
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
    released: float = float("inf")  # the earliest time of its release: by an ack, a nack or the end of the loop


@dataclass
class Ack:
    """A call that acks a message."""

    process: str
    address: str
    id: int
    lease: int | None
    begin: float
    end: float = float("inf")
    outcome: Outcome = "unknown"


@dataclass
class Process:
    """One process: its times of start, last event and end, and how it received.

    `prefetch` is the most messages that it fetches ahead. `at_risk` is the number of messages with automatic acks that
    its kill may lose, and `at_risk_in_server` the number that a kill of the server may lose.
    """

    name: str
    began: float = 0.0
    began_wall: float = 0.0
    last_event: float = 0.0
    last_event_wall: float = 0.0
    ended: float = float("inf")
    ended_wall: float = float("inf")
    was_killed: bool = False
    address: str = ""
    mode: Mode | None = None
    transport: Literal["file", "socket"] = "file"
    prefetch: int = 0
    at_risk: int = 0
    at_risk_in_server: int = 0
    lease_s: float = 0.0


class StoredMessage(NamedTuple):
    """A message in the bus."""

    id: int
    sender: str
    token: str
    digest: str
    urgency: str
    key: str | None


class Delivery(NamedTuple):
    """The delivery of a message to one recipient."""

    message: int
    recipient: str
    state: Literal["sent", "delivered", "acked", "expired", "dead"]
    attempts: int
    max_attempts: int
    finished_wall: float | None


class BusDump(NamedTuple):
    """The contents of the bus at the end; `effects` are the rows (message, process) of the trial's own table."""

    messages: tuple[StoredMessage, ...]
    deliveries: tuple[Delivery, ...]
    effects: tuple[tuple[int, str], ...]

    def of_session(self, session: str) -> BusDump:
        """Return only the messages that a session sent, their deliveries, and all deliveries without a message."""
        others = {message.id for message in self.messages if message.sender.rpartition(":")[2] != session}
        return self._replace(
            messages=tuple(message for message in self.messages if message.id not in others),
            deliveries=tuple(delivery for delivery in self.deliveries if delivery.message not in others),
        )


@dataclass
class History:
    """All facts by which the checker judges."""

    dump: BusDump
    processes: dict[str, Process] = field(default_factory=dict)
    sendings: list[Sending] = field(default_factory=list)
    receptions: list[Reception] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def modes(self) -> dict[str, Mode]:
        """Return the mode in which the consumers of each address receive."""
        return {process.address: process.mode for process in self.processes.values() if process.mode is not None}

    def receptions_by_delivery(self) -> dict[tuple[str, int], list[Reception]]:
        """Return the receptions by address and message, in order of time."""
        by_delivery: dict[tuple[str, int], list[Reception]] = defaultdict(list)
        for reception in sorted(self.receptions, key=lambda reception: reception.at):
            by_delivery[reception.address, reception.id].append(reception)
        return by_delivery


def dump_of(contents: dict[str, Any]) -> BusDump:
    """Return the dump that was read from JSON."""
    return BusDump(
        tuple(StoredMessage(*row) for row in contents["messages"]),
        tuple(Delivery(*row) for row in contents["deliveries"]),
        tuple((row[0], row[1]) for row in contents["effects"]),
    )
