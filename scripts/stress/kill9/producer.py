"""Send without end, alone and many at once, with keys and without, by the file or (role `socket`) through the helper.

What an earlier life meant to send under a key, and never learned whether it had, is sent again.
"""

from __future__ import annotations

from typing import Any

from raven import BusClient, Message
from raven_rpc import Client
from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import PATIENCE_S, Part, play

_WAYS = {"send": 5.0, "many": 1.0, "keyed": 1.5, "transaction": 0.5}


def produce(part: Part) -> None:
    """Send until the end."""
    address = f"{part.actor}:outside"
    bus: Any
    if part.role == "socket":
        bus = Client(part.socket, address, patience_s=PATIENCE_S)
    else:
        bus = BusClient.at(address, part.db)
    for message in message_factory.left_unsure(part):
        send_keyed(part, bus, message)
    maker = message_factory.Maker(part)
    if part.is_calm:
        # One to each, since there is nothing else that could wake those who wait.
        for to in message_factory.ADDRESSES:
            send(part, bus, [maker.make(to)], None)
        return
    while True:
        way = message_factory.choose(part.random, _WAYS)
        if way == "keyed":
            key = f"{part.life}/{part.next_call()}"
            message = {**maker.make(), "dedup_key": key}
            part.journal.write("keyed", message=message)
            for _ in range(part.random.choice((1, 1, 2))):
                send_keyed(part, bus, message)
        else:
            messages = [maker.make() for _ in range(1 if way == "send" else part.random.randint(2, 6))]
            send(part, bus, messages, way)
        part.pause(0.005, 0.05)


def send_keyed(part: Part, bus: Any, message: dict[str, Any]) -> None:
    """Send a message under its key, and note that it needs not be sent again."""
    key = message["dedup_key"]
    if part.call("sending", "sent", lambda: [bus.send(**message)], posts=message_factory.told([message]), key=key):
        part.journal.write("kept", key=key)


def send(part: Part, bus: Any, messages: list[dict[str, Any]], way: str | None) -> None:
    """Send messages in one call."""

    def act() -> list[Message]:
        if way == "many":
            return list(bus.send_many(messages))
        if way == "transaction":
            with bus.transaction() as tx:
                sent = [tx.send(**message) for message in messages]
            return list(tx.results) if part.role == "socket" else sent
        return [bus.send(**message) for message in messages]

    part.call("sending", "sent", act, posts=message_factory.told(messages), key=None)


if __name__ == "__main__":
    play(produce)
