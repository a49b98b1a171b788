"""Posts: the messages that a storm's producers make up, and who gets them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from scripts.stress.history import journal
from scripts.stress.history.call_recorder import post
from scripts.stress.kill9.actor import Part

# How the mail of each address is taken, so that each promise is put to the test.
ADDRESSES = (
    "auto:kill9",  # two subscribers with automatic acks
    "solo:kill9",  # one
    "manual:kill9",  # one that claims, one that listens, with acks by hand
    "ledger:kill9",  # two that ack, write a row and send on in one transaction
    "audit:kill9",  # through the helper, with acks by hand; also what the ledgers send on
    "wire:kill9",  # through the helper, the Python client with automatic acks
    "raw:kill9",  # through the helper, raw lines with automatic acks
)
EVERYBODY = "*:kill9"
_URGENCIES = ("blocking", "prompt", "prompt", "prompt", "prompt", "prompt", "fyi")
_LONG = 120_000
# All but a few are handed out as often as it takes.
_MANY_ATTEMPTS, _FEW_ATTEMPTS = 1000, 2


class Maker:
    """Makes up messages, each with a token of its own."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._random = part.random
        self._count = 0

    def make(self, to: str | list[str] | None = None) -> dict[str, Any]:
        """Return a message as the parameters of `send`, to somebody by chance where it is not said."""
        self._count += 1
        chance = self._random
        if to is None:
            to = chance.choices([chance.choice(ADDRESSES), chance.sample(ADDRESSES, 2), EVERYBODY], [20, 1, 1])[0]
        long = chance.random() < 0.01
        text = "é\u2028\"'\\\0"[chance.randrange(6) :] * chance.randrange(_LONG // 6 if long else 40)
        return {
            "to": to,
            "type": chance.choice(["job", "note"]),
            "body": {"token": f"{self._part.life}-{self._count}", "text": text, "number": chance.random()},
            "urgency": chance.choice(_URGENCIES),
            "max_attempts": _FEW_ATTEMPTS if chance.random() < 0.03 else _MANY_ATTEMPTS,
        }


def told(messages: list[dict[str, Any]]) -> list[Any]:
    """Return messages as an event tells of them."""
    return [post(message, list(recipients(message["to"]))) for message in messages]


def recipients(to: str | list[str]) -> tuple[str, ...]:
    """Return who gets what is sent so."""
    return ADDRESSES if to == EVERYBODY else (to,) if isinstance(to, str) else tuple(to)


def left_unsure(part: Part) -> Iterator[dict[str, Any]]:
    """Yield what earlier lives of this actor meant to send under a key, and never learned whether they had."""
    known: dict[str, dict[str, Any]] = {}
    for event in journal.read(part.journals, f"{part.actor}.*"):
        if event.what == "keyed":
            known[event.told["message"]["dedup_key"]] = event.told["message"]
        elif event.what == "kept":
            known.pop(event.told["key"], None)
    yield from known.values()


def choose(chance: random.Random, ways: dict[str, float]) -> str:
    """Return the name of one way, by its weight."""
    return chance.choices(list(ways), list(ways.values()))[0]
