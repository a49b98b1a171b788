"""The end of a loop beside another writer: its messages come first in the next loop, and other consumers get them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from raven import BusClient
from tests.loop import taken
from tests.support import Foreign, leased

Connect = Callable[..., BusClient]


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Open a client with 100 ready messages."""
    client = connect("worker:s")
    client.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(100)])
    return client


def rest(client: BusClient) -> list[int]:
    """Return the messages that can still be claimed."""
    return [message.body for message in taken(client)]


@contextmanager
def locked(foreign: Foreign, seconds: float | None = None) -> Iterator[None]:
    """Hold the write lock in another process: for some seconds, or during the block."""
    foreign.execute("BEGIN IMMEDIATE")
    end = partial(foreign.execute, "ROLLBACK")
    if seconds is None:
        try:
            yield
        finally:
            end()
    else:
        timer = threading.Timer(seconds, end)
        timer.start()
        yield
        timer.join()


def left_in_the_middle(bus: BusClient, foreign: Foreign) -> tuple[Any, int]:
    """Return a loop that holds messages which it has not yielded, and the next of them."""
    loop: Any = bus.listen()
    return loop, next(one for one in loop if leased(foreign)).body + 1


@pytest.mark.parametrize("end", ["close", "drop"])
def test_the_end_of_a_loop_waits_for_another_writer_and_releases_its_messages(
    bus: BusClient, foreign: Foreign, end: str
) -> None:
    loop, following = left_in_the_middle(bus, foreign)

    with locked(foreign, seconds=0.05):
        if end == "close":
            loop.close()
        del loop

    assert leased(foreign) == 0
    assert rest(bus) == [*range(following, 100)]


def test_after_a_loop_ended_beside_a_long_writer_the_next_loop_begins_with_its_messages(
    bus: BusClient, foreign: Foreign
) -> None:
    loop, following = left_in_the_middle(bus, foreign)

    with locked(foreign):
        began = time.monotonic()
        loop.close()
        took_s = time.monotonic() - began
    held = leased(foreign)
    bodies = [message.body for message in bus.listen(timeout_s=0.05)]

    assert held > 0
    assert took_s < 1
    assert bodies == [*range(following, 100)]


def test_after_a_loop_ended_beside_a_long_writer_any_write_releases_its_messages(
    bus: BusClient, foreign: Foreign
) -> None:
    loop, following = left_in_the_middle(bus, foreign)

    with locked(foreign):
        loop.close()
    bus.send("boss:s", "note")

    assert leased(foreign) == 0
    assert rest(bus) == [*range(following, 100)]


def test_the_end_of_an_async_loop_waits_for_another_writer_and_the_event_loop_goes_on(
    bus: BusClient, foreign: Foreign
) -> None:
    async def run() -> tuple[int, float]:
        messages = bus.subscribe()
        while True:
            message = await anext(messages)
            if leased(foreign):
                break
        with locked(foreign, seconds=0.3):
            closing = asyncio.create_task(messages.aclose())
            latest_s = 0.0
            while not closing.done():
                began = time.monotonic()
                await asyncio.sleep(0.005)
                latest_s = max(latest_s, time.monotonic() - began)
        return message.body + 1, latest_s

    following, latest_s = asyncio.run(run())

    assert latest_s < 0.2
    assert leased(foreign) == 0
    assert rest(bus) == [*range(following, 100)]
