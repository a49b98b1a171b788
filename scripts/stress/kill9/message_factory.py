"""Message factory: random messages for the producers of the trial, and their recipients."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from scripts.stress.history import journal
from scripts.stress.history.call_recorder import describe
from scripts.stress.kill9.actor import Actor

# Each address has consumers of another kind, so that each promise is tested.
ADDRESSES = (
    "auto:kill9",  # two subscribers with automatic acks
    "solo:kill9",  # one subscriber with automatic acks
    "manual:kill9",  # one process that claims and one that listens, with manual acks
    "transaction:kill9",  # two processes that ack, write a row and send on in one transaction
    "audit:kill9",  # a client of the server, with manual acks; it also gets the messages that the transactions send on
    "python:kill9",  # the Python client of the server, with automatic acks
    "raw:kill9",  # a client of the server that writes JSON lines itself, with automatic acks
)
BROADCAST = "*:kill9"
_URGENCIES = ("blocking", "prompt", "prompt", "prompt", "prompt", "prompt", "fyi")
_LONG = 120_000
# Most messages may be delivered many times, since consumers are killed; a few become dead letters.
_MANY_ATTEMPTS, _FEW_ATTEMPTS = 1000, 2


class MessageFactory:
    """Makes random messages, each with a unique token."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._random = actor.random
        self._count = 0

    def make(self, to: str | list[str] | None = None) -> dict[str, Any]:
        """Return a message as the parameters of `send`; without `to`, the recipients are random."""
        self._count += 1
        rng = self._random
        if to is None:
            to = rng.choices([rng.choice(ADDRESSES), rng.sample(ADDRESSES, 2), BROADCAST], [20, 1, 1])[0]
        long = rng.random() < 0.01
        text = "é\u2028\"'\\\0"[rng.randrange(6) :] * rng.randrange(_LONG // 6 if long else 40)
        return {
            "to": to,
            "type": rng.choice(["job", "note"]),
            "body": {"token": f"{self._actor.process}-{self._count}", "text": text, "number": rng.random()},
            "urgency": rng.choice(_URGENCIES),
            "max_attempts": _FEW_ATTEMPTS if rng.random() < 0.03 else _MANY_ATTEMPTS,
        }


def describe_all(messages: list[dict[str, Any]]) -> list[Any]:
    """Return the descriptions of messages for a `sending` event."""
    return [describe(message, list(recipients(message["to"]))) for message in messages]


def recipients(to: str | list[str]) -> tuple[str, ...]:
    """Return the addresses that get a message with this `to`."""
    return ADDRESSES if to == BROADCAST else (to,) if isinstance(to, str) else tuple(to)


def unconfirmed(actor: Actor) -> Iterator[dict[str, Any]]:
    """Yield the messages with a dedup_key whose send an earlier process of this actor began and did not confirm."""
    messages: dict[str, dict[str, Any]] = {}
    for event in journal.read(actor.journals, f"{actor.name}.*"):
        if event.type == "keyed":
            messages[event.fields["message"]["dedup_key"]] = event.fields["message"]
        elif event.type == "kept":
            messages.pop(event.fields["key"], None)
    yield from messages.values()


def choose(rng: random.Random, weights: dict[str, float]) -> str:
    """Return a random name, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]
