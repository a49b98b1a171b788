"""Send to addresses of all hosts without end: single messages, many in one call, with keys and in transactions."""

from __future__ import annotations

from typing import Any

from raven import BusClient
from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import Actor, run_actor
from scripts.stress.kill9.producer import send, send_keyed
from scripts.stress.link.roles import ADDRESSES

_WEIGHTS = {"send": 5.0, "many": 1.0, "keyed": 1.5, "transaction": 0.7}
_URGENCIES = ("blocking", "prompt", "prompt", "prompt", "fyi")
_LENGTHS, _LENGTH_WEIGHTS = (0, 200, 2000, 20_000, 60_000), (30, 60, 8, 1.5, 0.5)
_MANY_ATTEMPTS, _FEW_ATTEMPTS = 1000, 2


def make(actor: Actor, number: int) -> dict[str, Any]:
    """Return a message with a unique token, as the parameters of `send`."""
    rng = actor.random
    [length] = rng.choices(_LENGTHS, _LENGTH_WEIGHTS)
    return {
        "to": rng.sample(ADDRESSES, 2) if rng.random() < 0.06 else rng.choice(ADDRESSES),
        "type": "job",
        "body": {"token": f"{actor.process}-{number}", "text": rng.randbytes(length // 2).hex()},
        "urgency": rng.choice(_URGENCIES),
        "max_attempts": _FEW_ATTEMPTS if rng.random() < 0.03 else _MANY_ATTEMPTS,
    }


def produce(actor: Actor) -> None:
    """Send until the process is killed; first repeat the keyed sends that an earlier process did not confirm."""
    bus = BusClient.at(f"{actor.name}:outside", actor.db)
    for message in message_factory.unconfirmed(actor):
        send_keyed(actor, bus, message)
    number = 0
    while not actor.is_draining:
        way = message_factory.choose(actor.random, _WEIGHTS)
        count = actor.random.randint(2, 12) if way in ("many", "transaction") else 1
        messages = [make(actor, number + n) for n in range(count)]
        number += count
        if way == "keyed":
            message = {**messages[0], "dedup_key": f"{actor.process}/{number}"}
            actor.journal.write("keyed", message=message)
            for _ in range(actor.random.choice((1, 2))):
                send_keyed(actor, bus, message)
        else:
            send(actor, bus, messages, way)
        actor.pause(0.01, 0.08)


if __name__ == "__main__":
    run_actor(produce)
