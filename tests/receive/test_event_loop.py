"""An event loop never waits for a thread's wait: neither for another writer, nor for another use of the client."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, wait_until

Connect = Callable[..., BusClient]
BUSY_S = 1.0
# About 20 ms on an idle machine; the tests run several at once.
LARGEST_GAP_S = Limit(0.3)


@asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """Measure the gaps between the turns of the event loop."""
    gaps: list[float] = []

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    task = asyncio.create_task(beat())
    try:
        yield gaps
    finally:
        task.cancel()


async def subscribe(bus: BusClient) -> None:
    async for _ in bus.subscribe(poll_interval_s=0.02):
        pass


async def subscribe_manually(bus: BusClient) -> None:
    async for message in bus.subscribe(ack="manual", poll_interval_s=0.02):
        await asyncio.to_thread(bus.ack, message.id)


async def subscribe_again_and_again(bus: BusClient) -> None:
    while True:
        async for _ in bus.subscribe(timeout_s=0.02):
            pass


async def request(bus: BusClient) -> None:
    while True:
        with suppress(TimeoutError):
            await bus.request_async("nowhere:s", "question", timeout_s=0.05)


async def wait_receipt(bus: BusClient) -> None:
    while True:
        with suppress(TimeoutError):
            await bus.wait_receipt_async(1, timeout_s=0.02)


WAITS: dict[str, Callable[[BusClient], Awaitable[None]]] = {
    "subscribe": subscribe,
    "subscribe-manual": subscribe_manually,
    "subscribe-anew": subscribe_again_and_again,
    "request": request,
    "receipt": wait_receipt,
}


async def largest_gap(
    bus: BusClient, wait: Callable[[BusClient], Awaitable[None]], occupy: Callable[[], None]
) -> float:
    """Run a wait of the event loop while `occupy` runs in a thread, and return the largest gap of a heartbeat."""
    task = asyncio.ensure_future(wait(bus))
    await asyncio.sleep(0.1)
    async with heartbeat() as gaps:
        thread = threading.Thread(target=occupy)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.02)
    return max(gaps)


@pytest.mark.parametrize("name", WAITS)
def test_a_thread_that_waits_for_another_writer_stops_no_event_loop(
    connect: Connect, foreign: Foreign, name: str
) -> None:
    bus = connect("worker:s")
    bus.send("nowhere:s", "note")
    foreign.execute("BEGIN IMMEDIATE")

    def occupy() -> None:
        sender = threading.Thread(target=bus.send, args=(bus.address, "note"))
        sender.start()
        sender.join(BUSY_S)
        foreign.execute("ROLLBACK")
        sender.join(DEADLINE_S)

    assert asyncio.run(largest_gap(bus, WAITS[name], occupy)) < LARGEST_GAP_S


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("use", ["user SQL", "a transaction"])
def test_a_thread_that_uses_the_client_for_long_stops_no_event_loop(connect: Connect, name: str, use: str) -> None:
    bus = connect("worker:s")
    bus.send("nowhere:s", "note")
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000)"

    def occupy() -> None:
        if use == "user SQL":
            bus.execute(f"{numbers} SELECT count(*) FROM n")
            return
        with bus.transaction() as tx:
            tx.send(bus.address, "note")
            time.sleep(BUSY_S / 2)

    assert asyncio.run(largest_gap(bus, WAITS[name], occupy)) < LARGEST_GAP_S


def test_a_message_that_comes_while_a_thread_waits_is_delivered_after_it(connect: Connect, foreign: Foreign) -> None:
    bus, seen = connect("worker:s"), []

    async def take() -> None:
        async for message in bus.subscribe():
            seen.append(message.body)
            return

    async def run() -> None:
        foreign.execute("BEGIN IMMEDIATE")
        taking = asyncio.create_task(take())
        sending = asyncio.create_task(asyncio.to_thread(bus.send, bus.address, "note", 7))
        await asyncio.sleep(0.05)
        foreign.execute("ROLLBACK")
        await asyncio.wait_for(asyncio.gather(taking, sending), DEADLINE_S)

    asyncio.run(run())

    assert seen == [7]
    wait_until(lambda: not bus.inbox(), "the ack")
