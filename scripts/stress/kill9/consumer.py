"""Take the mail of an address without end, in the way that the role says, and write down all that comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from raven import BusClient, BusyError, Message, UnreachableError
from raven_rpc import Client
from scripts.stress.history import journal
from scripts.stress.history.call_recorder import ADD_EFFECT
from scripts.stress.history.order import AHEAD_LEASE_S
from scripts.stress.kill9.actor import LEASE_S, PATIENCE_S, Part, play

# How many messages a subscriber fetches ahead at most, see BusClient.subscribe and raven_rpc.streams.
_AHEAD, _AHEAD_OVER_SOCKET = 50, 4
_WINDOW = 3
_IDLE_S = 0.02
# Who takes so many times as long as a lease has lost it.
_TOO_LONG = 1.2


def subscribe(part: Part) -> None:
    """With automatic acks, asynchronously."""
    bus = BusClient.at("auto:kill9", part.db)

    async def take() -> None:
        while True:
            part.consuming(bus.address, "auto", ahead=_AHEAD, at_risk=1)
            messages = bus.subscribe(poll_interval_s=part.poll_interval_s)
            part.journal.write("asking")
            async for message in messages:
                part.received(message)
                if part.random.random() < 0.01:
                    part.journal.write("leaving")
                    break
                await asyncio.sleep(part.random.choice((0, 0, 0, 0.002)))
                part.journal.write("asking")
            await messages.aclose()

    asyncio.run(take())


def listen(part: Part, address: str = "auto:kill9") -> None:
    """With automatic acks."""
    bus = BusClient.at(address, part.db)
    while True:
        part.consuming(address, "auto", ahead=_AHEAD, at_risk=1)
        messages = bus.listen(poll_interval_s=part.poll_interval_s)
        for _ in part.each(messages):
            part.pause(0, part.random.choice((0, 0, 0.004)))
            if part.random.random() < 0.003:
                time.sleep(_TOO_LONG * AHEAD_LEASE_S)
            if part.random.random() < 0.01:
                part.journal.write("leaving")
                messages.close()  # type: ignore[attr-defined]
                break


def listen_alone(part: Part) -> None:
    """With automatic acks, as the only one."""
    listen(part, "solo:kill9")


def claim(part: Part) -> None:
    """Claim some at a time; ack most of them, some too late, give some back, and forget some."""
    bus = BusClient.at("manual:kill9", part.db)
    part.consuming(bus.address, "manual", lease_s=LEASE_S)
    while True:
        part.journal.write("asking")
        messages = bus.claim(part.random.randint(1, 5), LEASE_S)
        for message in messages:
            part.received(message)
        for message in messages:
            part.pause(0, 0.004)
            if part.random.random() < 0.02:
                time.sleep(_TOO_LONG * LEASE_S)
            if part.random.random() > 0.02:
                finish(part, bus, message)
        if not messages:
            time.sleep(_IDLE_S)


def listen_manual(part: Part) -> None:
    """With acks by hand, some of them late; leave the loop now and then."""
    _listen_manual(part, BusClient.at("manual:kill9", part.db), LEASE_S, 0, {"lease_s": LEASE_S})


def listen_over_socket(part: Part) -> None:
    """With acks by hand, through the helper, whose leases are three times as long here: see server."""
    _listen_manual(part, Client(part.socket, "audit:kill9", patience_s=PATIENCE_S), 3 * LEASE_S, _WINDOW, {})


def _listen_manual(part: Part, bus: Any, lease_s: float, ahead: int, options: dict[str, Any]) -> None:
    over = "socket" if isinstance(bus, Client) else "file"
    while True:
        part.consuming(bus.address, "manual", lease_s=lease_s, ahead=ahead, over=over)
        late: list[Message] = []
        messages = bus.listen(ack="manual", max_per_poll=_WINDOW, poll_interval_s=part.poll_interval_s, **options)
        for message in part.each(messages):
            part.pause(0, 0.004)
            late.append(message)
            if part.is_calm or len(late) == _WINDOW or part.random.random() < 0.8:
                for held in late:
                    finish(part, bus, held)
                late.clear()
            if part.random.random() < 0.01:
                part.journal.write("leaving")
                messages.close()
                break


def listen_over_socket_auto(part: Part) -> None:
    """With automatic acks, through the helper."""
    bus = Client(part.socket, "wire:kill9", patience_s=PATIENCE_S)
    part.consuming(bus.address or "", "auto", ahead=_AHEAD_OVER_SOCKET, at_risk=1, at_helpers_risk=1, over="socket")
    for _ in part.each(bus.listen(poll_interval_s=part.poll_interval_s)):
        part.pause(0, 0.002)


def keep_ledger(part: Part) -> None:
    """Ack each, write a row, and send on: in one commit. One of the two claims, the other listens."""
    bus = BusClient.at("ledger:kill9", part.db, max_attempts=1000)
    part.consuming(bus.address, "transaction", lease_s=LEASE_S)
    if part.role == "ledger-listen":
        for message in part.each(
            bus.listen(ack="manual", lease_s=LEASE_S, max_per_poll=1, poll_interval_s=part.poll_interval_s)
        ):
            book(part, bus, message)
    while True:
        part.journal.write("asking")
        messages = bus.claim(1, LEASE_S)
        for message in messages:
            part.received(message)
            book(part, bus, message)
        if not messages:
            time.sleep(_IDLE_S)


def book(part: Part, bus: BusClient, message: Message) -> None:
    """Ack a message, write a row, and send on, in one transaction and in any order."""
    call = part.next_call()
    body = {"token": f"on:{message.body['token']}", "text": ""}
    told = [[body["token"], ["audit:kill9"], "prompt", journal.digest(body), 1000]]
    part.journal.write("acking", call=call, id=message.id, lease=message.lease)
    part.journal.write("sending", call=call, posts=told, key=None)

    def commit() -> list[Message]:
        sent: list[Message] = []
        with bus.transaction() as tx:
            steps: list[Callable[[], object]] = [
                lambda: sent.append(tx.send("audit:kill9", "booked", body)),
                lambda: tx.execute(ADD_EFFECT, (message.id, part.life)),
                lambda: tx.ack(message.id),
            ]
            part.random.shuffle(steps)
            for step in steps:
                step()
        return sent

    sent = part.outcome(call, "sent", commit)
    if sent is not None:
        part.journal.write("acked", call=call)


def finish(part: Part, bus: Any, message: Message) -> None:
    """Ack a message or give it back, under its own lease or the one that the client remembers, which is the last."""
    given = {"lease": message.lease} if part.random.random() < 0.5 else {}
    told = {"id": message.id, "lease": message.lease if given else part.leases[message.id]}
    if part.random.random() < 0.05:
        delay_s = part.random.choice((0, 0.05))
        part.call("nacking", "nacked", lambda: bus.nack(message.id, delay_s, **given), **told)
    else:
        part.call("acking", "acked", lambda: bus.ack(message.id, **given), **told)


ROLES = {
    "subscribe": subscribe,
    "listen": listen,
    "solo": listen_alone,
    "claim": claim,
    "manual": listen_manual,
    "ledger-claim": keep_ledger,
    "ledger-listen": keep_ledger,
    "audit": listen_over_socket,
    "wire": listen_over_socket_auto,
}


def go_on(part: Part) -> None:
    """Play a role, and again where another writer was in the way for too long, or no helper came."""
    while True:
        try:
            ROLES[part.role](part)
        except (BusyError, UnreachableError):
            part.journal.write("leaving")


if __name__ == "__main__":
    play(go_on)
