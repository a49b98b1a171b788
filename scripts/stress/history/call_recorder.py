"""Call recorder: makes the calls of one process, and writes each to the journal that the checker reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

from raven import LostError, Message, RavenError
from scripts.stress.history.journal import Journal, digest, token_of

# A transaction inserts its effect into this table of the bus: see `a_transaction_has_its_effect_once`.
EFFECTS = "CREATE TABLE IF NOT EXISTS trial_effects (message INTEGER NOT NULL, process TEXT NOT NULL)"
ADD_EFFECT = "INSERT INTO trial_effects VALUES (?, ?)"
# Errors that trials cause; any other error ends its process.
EXPECTED = ("BusyError", "LeaseLostError", "UnreachableError", "DeliveryError")
_T = TypeVar("_T")


class CallRecorder:
    """The journal of one process, and methods that make calls and record them.

    `expected` names the errors by which a call may be refused; None allows every RavenError.
    """

    def __init__(self, journal: Journal, expected: Sequence[str] | None = EXPECTED) -> None:
        self.journal = journal
        self._expected = expected
        self.process = journal.process
        self.leases: dict[int, int | None] = {}  # by message, the lease under which it was last received
        self._calls = count()

    def next_call(self) -> int:
        """Return a new call number."""
        return next(self._calls)

    def call(self, before: str, after: str, act: Callable[[], _T], **fields: Any) -> _T | None:
        """Make a call with an event before it and one after it; returns None if it was refused.

        A LostError leaves the effect unknown: then no event follows.
        """
        number = self.next_call()
        self.journal.write(before, call=number, **fields)
        return self.outcome(number, after, act)

    def outcome(self, number: int, after: str, act: Callable[[], _T]) -> _T | None:
        """Make a call whose first event was already written, and record its result."""
        try:
            result = act()
        except RavenError as error:
            if isinstance(error, LostError):
                return None
            self.journal.write("refused", call=number, error=f"{type(error).__name__}: {error}")
            if self._expected is not None and type(error).__name__ not in self._expected:
                raise
            return None
        fields = {"ids": [sent.id for sent in result]} if after == "sent" else {}  # type: ignore[attr-defined]
        self.journal.write(after, call=number, **fields)
        return result

    def send(self, bus: Any, message: dict[str, Any]) -> None:
        """Send one message, given as the parameters of `send`, to one address."""
        messages = [describe(message, [message["to"]])]
        self.call("sending", "sent", lambda: [bus.send(**message)], messages=messages, key=None)

    def ack(self, bus: Any, message: Message) -> bool:
        """Ack a received message; returns whether the ack is known to have succeeded."""

        def act() -> bool:
            bus.ack(message.id)
            return True

        return bool(self.call("acking", "acked", act, id=message.id, lease=message.lease))

    def consuming(self, address: str, mode: str, **fields: Any) -> None:
        """Record the address and the mode in which this process receives from now on."""
        self.journal.write("consuming", address=address, mode=mode, **fields)

    def received(self, message: Message) -> None:
        """Record that a message was received."""
        self.leases[message.id] = message.lease
        self.journal.write(
            "received",
            id=message.id,
            token=token_of(message.body),
            digest=digest(message.body),
            urgency=message.urgency,
            attempts=message.attempts,
            lease=message.lease,
        )

    def each(self, messages: Iterator[Message]) -> Iterator[Message]:
        """Yield the messages of a loop, and record each request and each message."""
        while True:
            self.journal.write("asking")
            message = next(messages, None)
            if message is None:
                return
            self.received(message)
            yield message


def describe(message: dict[str, Any], recipients: list[str]) -> list[Any]:
    """Return the description of a message, given as the parameters of `send`, for a `sending` event."""
    body = message["body"]
    return [body["token"], recipients, message.get("urgency", "prompt"), digest(body), message["max_attempts"]]
