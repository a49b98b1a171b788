"""End the program while daemon threads are in loops and waits of every kind: `exiting_loops.py DB`.

It ends once they all wait, with a ring for each, so that they wake while the interpreter exits.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from raven import BusClient, WaitTimeoutError
from raven.wake.doorbell import ALL_TRAFFIC, receipt_address
from tests.support import bells, wait_until

db = sys.argv[1]
boss = BusClient.at("boss:s", db)
unread = boss.send("nowhere:s", "note").id


def subscribe(bus: BusClient, ack: str) -> None:
    async def take() -> None:
        async for message in bus.subscribe(ack=ack):  # type: ignore[arg-type]
            bus.ack(message.id)

    asyncio.run(take())


def listen(bus: BusClient, ack: str) -> None:
    for message in bus.listen(ack=ack):  # type: ignore[arg-type]
        bus.ack(message.id)


def tail(bus: BusClient) -> None:
    for _ in bus.tail():
        pass


def request(bus: BusClient) -> None:
    with suppress(WaitTimeoutError):
        bus.request("nowhere:s", "question", timeout_s=60)


waits: dict[str, Callable[[BusClient], object]] = {
    "listen": lambda bus: listen(bus, "auto"),
    "listen-manual": lambda bus: listen(bus, "manual"),
    "subscribe": lambda bus: subscribe(bus, "auto"),
    "subscribe-manual": lambda bus: subscribe(bus, "manual"),
    "tail": tail,
    "request": request,
    "request-async": lambda bus: asyncio.run(bus.request_async("nowhere:s", "question", timeout_s=60)),
    "receipt": lambda bus: bus.wait_receipt(unread, timeout_s=60),
    "receipt-async": lambda bus: asyncio.run(bus.wait_receipt_async(unread, timeout_s=60)),
}
for name, wait in waits.items():
    bus = BusClient.at(f"{name}:s", db)
    threading.Thread(target=wait, args=(bus,), daemon=True).start()


def hanging() -> list[str]:
    return [path for path in bells(db) if "/" in path and "/.new-" not in path]


wait_until(lambda: len(hanging()) == len(waits), "the waits")
boss.send([f"{name}:s" for name in waits], "note")
boss._doorbells.ring([ALL_TRAFFIC, receipt_address(unread)])
