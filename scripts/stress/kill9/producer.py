"""Send without end: single messages and many in one call, with keys and without, by the file or (mode `socket`) by RPC.

It first repeats the keyed sends that an earlier process of this actor began and did not confirm.
"""

from __future__ import annotations

from typing import Any

from raven import BusClient, Message
from raven_rpc import Client
from scripts.stress.kill9 import message_factory
from scripts.stress.kill9.actor import CONNECT_TIMEOUT_S, Actor, run_actor

_WEIGHTS = {"send": 5.0, "many": 1.0, "keyed": 1.5, "transaction": 0.5}


def produce(actor: Actor) -> None:
    """Send until the process is killed; when draining, send one message to each address and return."""
    address = f"{actor.name}:outside"
    bus: Any
    if actor.mode == "socket":
        bus = Client(actor.socket, address, connect_timeout_s=CONNECT_TIMEOUT_S)
    else:
        bus = BusClient.at(address, actor.db)
    for message in message_factory.unconfirmed(actor):
        send_keyed(actor, bus, message)
    factory = message_factory.MessageFactory(actor)
    if actor.is_draining:
        # In single sends, so that each must wake its recipients by itself.
        for to in message_factory.ADDRESSES:
            send(actor, bus, [factory.make(to)], None)
        return
    while True:
        way = message_factory.choose(actor.random, _WEIGHTS)
        if way == "keyed":
            key = f"{actor.process}/{actor.next_call()}"
            message = {**factory.make(), "dedup_key": key}
            actor.journal.write("keyed", message=message)
            for _ in range(actor.random.choice((1, 1, 2))):
                send_keyed(actor, bus, message)
        else:
            messages = [factory.make() for _ in range(1 if way == "send" else actor.random.randint(2, 6))]
            send(actor, bus, messages, way)
        actor.pause(0.005, 0.05)


def send_keyed(actor: Actor, bus: Any, message: dict[str, Any]) -> None:
    """Send a message with a dedup_key, and record the confirmation."""
    key, described = message["dedup_key"], message_factory.describe_all([message])
    if actor.call("sending", "sent", lambda: [bus.send(**message)], messages=described, key=key):
        actor.journal.write("kept", key=key)


def send(actor: Actor, bus: Any, messages: list[dict[str, Any]], way: str | None) -> None:
    """Send messages in one call."""

    def act() -> list[Message]:
        if way == "many":
            return list(bus.send_many(messages))
        if way == "transaction":
            with bus.transaction() as tx:
                sent = [tx.send(**message) for message in messages]
            return list(tx.results) if actor.mode == "socket" else sent
        return [bus.send(**message) for message in messages]

    actor.call("sending", "sent", act, messages=message_factory.describe_all(messages), key=None)


if __name__ == "__main__":
    run_actor(produce)
