"""Witness: writes down what one life sends, takes and finishes, in the words that the checker reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

from raven import LostError, Message, RavenError
from scripts.stress.history.journal import Journal, digest, token_of

# A transaction writes what it did into this table of the bus: see `a_transaction_has_its_effect_once`.
EFFECTS = "CREATE TABLE IF NOT EXISTS trial_effects (message INTEGER NOT NULL, life TEXT NOT NULL)"
ADD_EFFECT = "INSERT INTO trial_effects VALUES (?, ?)"
# Errors that trials bring about; any other ends the life that meets it.
EXPECTED = ("BusyError", "LeaseLostError", "UnreachableError", "DeliveryError")
_T = TypeVar("_T")


class Witness:
    """The journal of one life, and the calls of its process that are written down there.

    A call may be refused by errors of the names that are `expected`, or by any of raven if that is None.
    """

    def __init__(self, journal: Journal, expected: Sequence[str] | None = EXPECTED) -> None:
        self.journal = journal
        self._expected = expected
        self.life = journal.life
        self.leases: dict[int, int | None] = {}  # of each message the last under which it was received
        self._calls = count()

    def next_call(self) -> int:
        """Return the number of another call."""
        return next(self._calls)

    def call(self, before: str, after: str, act: Callable[[], _T], **told: Any) -> _T | None:
        """Make a call with an event before it and one after it; returns None if it was refused.

        An error after which it is not known what was done is none of the two: nothing is written then.
        """
        number = self.next_call()
        self.journal.write(before, call=number, **told)
        return self.outcome(number, after, act)

    def outcome(self, number: int, after: str, act: Callable[[], _T]) -> _T | None:
        """Do what was written down as begun, and write down what came of it."""
        try:
            result = act()
        except RavenError as error:
            if isinstance(error, LostError):
                return None
            self.journal.write("refused", call=number, error=f"{type(error).__name__}: {error}")
            if self._expected is not None and type(error).__name__ not in self._expected:
                raise
            return None
        told = {"ids": [sent.id for sent in result]} if after == "sent" else {}  # type: ignore[attr-defined]
        self.journal.write(after, call=number, **told)
        return result

    def send(self, bus: Any, message: dict[str, Any]) -> None:
        """Send one message, given as the parameters of `send`, to one address."""
        self.call("sending", "sent", lambda: [bus.send(**message)], posts=[post(message, [message["to"]])], key=None)

    def ack(self, bus: Any, message: Message) -> bool:
        """Finish a message that was received; returns whether that is known to be done."""

        def act() -> bool:
            bus.ack(message.id)
            return True

        return bool(self.call("acking", "acked", act, id=message.id, lease=message.lease))

    def consuming(self, address: str, mode: str, **told: Any) -> None:
        """Tell how this life takes whose mail."""
        self.journal.write("consuming", address=address, mode=mode, **told)

    def received(self, message: Message) -> None:
        """Tell that a message is in hand."""
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
        """Yield the messages of a loop, with the events around them."""
        while True:
            self.journal.write("asking")
            message = next(messages, None)
            if message is None:
                return
            self.received(message)
            yield message


def post(message: dict[str, Any], recipients: list[str]) -> list[Any]:
    """Return a message, given as the parameters of `send`, as an event tells of it."""
    body = message["body"]
    return [body["token"], recipients, message.get("urgency", "prompt"), digest(body), message["max_attempts"]]
