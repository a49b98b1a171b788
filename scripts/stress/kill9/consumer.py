"""Receive at an address without end, in one of several modes, and record every message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from raven import BusClient, BusyError, Message, UnreachableError
from raven_rpc import Client
from scripts.stress.history import journal
from scripts.stress.history.call_recorder import ADD_EFFECT
from scripts.stress.history.order import PREFETCH_LEASE_S
from scripts.stress.kill9.actor import CONNECT_TIMEOUT_S, LEASE_S, Actor, run_actor

# The most messages that a subscriber prefetches, see BusClient.subscribe and raven_rpc.
_PREFETCH, _PREFETCH_OVER_SOCKET = 50, 4
_WINDOW = 3
_IDLE_S = 0.02
# A pause of this many leases loses the lease.
_TOO_LONG = 1.2


def subscribe(actor: Actor) -> None:
    """Receive with automatic acks, under asyncio."""
    bus = BusClient.at("auto:kill9", actor.db)

    async def receive() -> None:
        while True:
            actor.consuming(bus.address, "auto", prefetch=_PREFETCH, at_risk=1)
            messages = bus.subscribe(poll_interval_s=actor.poll_interval_s)
            actor.journal.write("asking")
            async for message in messages:
                actor.received(message)
                if actor.random.random() < 0.01:
                    actor.journal.write("leaving")
                    break
                await asyncio.sleep(actor.random.choice((0, 0, 0, 0.002)))
                actor.journal.write("asking")
            await messages.aclose()

    asyncio.run(receive())


def listen(actor: Actor, address: str = "auto:kill9") -> None:
    """Receive with automatic acks."""
    bus = BusClient.at(address, actor.db)
    while True:
        actor.consuming(address, "auto", prefetch=_PREFETCH, at_risk=1)
        messages = bus.listen(poll_interval_s=actor.poll_interval_s)
        for _ in actor.each(messages):
            actor.pause(0, actor.random.choice((0, 0, 0.004)))
            if actor.random.random() < 0.003:
                time.sleep(_TOO_LONG * PREFETCH_LEASE_S)
            if actor.random.random() < 0.01:
                actor.journal.write("leaving")
                messages.close()  # type: ignore[attr-defined]
                break


def listen_alone(actor: Actor) -> None:
    """Receive with automatic acks, as the only consumer of the address."""
    listen(actor, "solo:kill9")


def claim(actor: Actor) -> None:
    """Claim several messages; ack most of them, some too late, nack some, and drop some."""
    bus = BusClient.at("manual:kill9", actor.db)
    actor.consuming(bus.address, "manual", lease_s=LEASE_S)
    while True:
        actor.journal.write("asking")
        messages = bus.claim(actor.random.randint(1, 5), LEASE_S)
        for message in messages:
            actor.received(message)
        for message in messages:
            actor.pause(0, 0.004)
            if actor.random.random() < 0.02:
                time.sleep(_TOO_LONG * LEASE_S)
            if actor.random.random() > 0.02:
                ack_or_nack(actor, bus, message)
        if not messages:
            time.sleep(_IDLE_S)


def listen_manual(actor: Actor) -> None:
    """Receive with manual acks, some of them late, and leave the loop now and then."""
    _listen_manual(actor, BusClient.at("manual:kill9", actor.db), LEASE_S, 0, {"lease_s": LEASE_S})


def listen_over_socket(actor: Actor) -> None:
    """Receive with manual acks over the socket; server.py gives leases that are three times as long."""
    bus = Client(actor.socket, "audit:kill9", connect_timeout_s=CONNECT_TIMEOUT_S)
    _listen_manual(actor, bus, 3 * LEASE_S, _WINDOW, {})


def _listen_manual(actor: Actor, bus: Any, lease_s: float, prefetch: int, options: dict[str, Any]) -> None:
    transport = "socket" if isinstance(bus, Client) else "file"
    while True:
        actor.consuming(bus.address, "manual", lease_s=lease_s, prefetch=prefetch, transport=transport)
        unacked: list[Message] = []
        messages = bus.listen(ack="manual", max_per_poll=_WINDOW, poll_interval_s=actor.poll_interval_s, **options)
        for message in actor.each(messages):
            actor.pause(0, 0.004)
            unacked.append(message)
            if actor.is_draining or len(unacked) == _WINDOW or actor.random.random() < 0.8:
                for held in unacked:
                    ack_or_nack(actor, bus, held)
                unacked.clear()
            if actor.random.random() < 0.01:
                actor.journal.write("leaving")
                messages.close()
                break


def listen_over_socket_auto(actor: Actor) -> None:
    """Receive with automatic acks over the socket."""
    bus = Client(actor.socket, "python:kill9", connect_timeout_s=CONNECT_TIMEOUT_S)
    risks = {"at_risk": 1, "at_risk_in_server": 1}
    actor.consuming(bus.address or "", "auto", prefetch=_PREFETCH_OVER_SOCKET, transport="socket", **risks)
    for _ in actor.each(bus.listen(poll_interval_s=actor.poll_interval_s)):
        actor.pause(0, 0.002)


def consume_in_transactions(actor: Actor) -> None:
    """Ack each message, write a row, and send on, in one commit. One of the two actors claims, the other listens."""
    bus = BusClient.at("transaction:kill9", actor.db, max_attempts=1000)
    actor.consuming(bus.address, "transaction", lease_s=LEASE_S)
    if actor.mode == "transaction-listen":
        for message in actor.each(
            bus.listen(ack="manual", lease_s=LEASE_S, max_per_poll=1, poll_interval_s=actor.poll_interval_s)
        ):
            ack_in_transaction(actor, bus, message)
    while True:
        actor.journal.write("asking")
        messages = bus.claim(1, LEASE_S)
        for message in messages:
            actor.received(message)
            ack_in_transaction(actor, bus, message)
        if not messages:
            time.sleep(_IDLE_S)


def ack_in_transaction(actor: Actor, bus: BusClient, message: Message) -> None:
    """Ack a message, write a row, and send on, in one transaction and in random order."""
    call = actor.next_call()
    body = {"token": f"on:{message.body['token']}", "text": ""}
    described = [[body["token"], ["audit:kill9"], "prompt", journal.digest(body), 1000]]
    actor.journal.write("acking", call=call, id=message.id, lease=message.lease)
    actor.journal.write("sending", call=call, messages=described, key=None)

    def commit() -> list[Message]:
        sent: list[Message] = []
        with bus.transaction() as tx:
            steps: list[Callable[[], object]] = [
                lambda: sent.append(tx.send("audit:kill9", "done", body)),
                lambda: tx.execute(ADD_EFFECT, (message.id, actor.process)),
                lambda: tx.ack(message.id),
            ]
            actor.random.shuffle(steps)
            for step in steps:
                step()
        return sent

    sent = actor.outcome(call, "sent", commit)
    if sent is not None:
        actor.journal.write("acked", call=call)


def ack_or_nack(actor: Actor, bus: Any, message: Message) -> None:
    """Ack or nack a message, under its own lease or under the last one, which the client remembers."""
    options = {"lease": message.lease} if actor.random.random() < 0.5 else {}
    fields = {"id": message.id, "lease": message.lease if options else actor.leases[message.id]}
    if actor.random.random() < 0.05:
        delay_s = actor.random.choice((0, 0.05))
        actor.call("nacking", "nacked", lambda: bus.nack(message.id, delay_s, **options), **fields)
    else:
        actor.call("acking", "acked", lambda: bus.ack(message.id, **options), **fields)


MODES = {
    "subscribe": subscribe,
    "listen": listen,
    "solo": listen_alone,
    "claim": claim,
    "manual": listen_manual,
    "transaction-claim": consume_in_transactions,
    "transaction-listen": consume_in_transactions,
    "audit": listen_over_socket,
    "python": listen_over_socket_auto,
}


def run_forever(actor: Actor) -> None:
    """Run the actor's mode, and start again after a BusyError or an UnreachableError."""
    while True:
        try:
            MODES[actor.mode](actor)
        except (BusyError, UnreachableError):
            actor.journal.write("leaving")


if __name__ == "__main__":
    run_actor(run_forever)
