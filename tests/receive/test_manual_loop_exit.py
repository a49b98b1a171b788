"""A loop with `ack="manual"` that ends, in any way, releases its unacked messages at once and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raven import BusClient
from scripts.harness.deadline import Limit
from tests.loop import Loop
from tests.support import (
    NEVER_POLLS_S,
    Foreign,
    Program,
    bells,
    descriptors,
    is_watched,
    leased,
    wait_for_waiting,
    wait_until,
)

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# Far below the poll interval and the leases here, and far above the time of a wake.
AT_ONCE_S = Limit(5.0)
both_modes = pytest.mark.parametrize("mode", ["listen", "subscribe"])


class LeftError(Exception):
    """An exception of a loop's body."""


def of_raven() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("raven")]


@pytest.fixture
def bus(db: str, connect: Connect) -> Iterator[BusClient]:
    """Open a client with three ready messages; at the end no thread and no FIFO of its loops may be left."""
    client = connect(WORKER)
    client.send_many([{"to": WORKER, "type": "job"}] * 3)

    yield client

    wait_until(lambda: not of_raven(), "the end of raven's threads")
    assert bells(db) == []
    assert not is_watched(db)


def start(bus: BusClient, mode: str, **options: Any) -> Loop:
    """Start a manual loop whose lease is longer than any test."""
    return Loop(bus, mode, **{"ack": "manual", "lease_s": 3600, **options})


def attempts_left(bus: BusClient) -> list[tuple[int, int]]:
    """Return the ids of the messages that are ready now, each with its earlier attempts."""
    return sorted((message.id, message.attempts - 1) for message in bus.claim(max=10, lease_s=1e-3))


@both_modes
def test_closing_a_loop_releases_unacked_messages(bus: BusClient, foreign: Foreign, mode: str) -> None:
    loop = start(bus, mode)
    assert [next(loop).id, next(loop).id] == [1, 2]
    bus.ack(1)

    loop.close()

    assert leased(foreign) == 0
    assert attempts_left(bus) == [(2, 1), (3, 0)]


def test_a_break_and_an_exception_give_back_at_once(bus: BusClient, foreign: Foreign) -> None:
    for _ in bus.listen(ack="manual", lease_s=3600):
        break
    after_break = leased(foreign)

    def run() -> None:
        for _ in bus.listen(ack="manual", lease_s=3600):
            raise LeftError

    with pytest.raises(LeftError):
        run()

    assert (after_break, leased(foreign)) == (0, 0)
    assert attempts_left(bus) == [(1, 2), (2, 0), (3, 0)]


def test_an_asynchronous_break_and_an_exception_give_back_at_once(bus: BusClient, foreign: Foreign) -> None:
    async def run(error: type[Exception] | None) -> None:
        async for _ in bus.subscribe(ack="manual", lease_s=3600):
            if error is not None:
                raise error
            break
        assert leased(foreign) == 0

    asyncio.run(run(None))
    with pytest.raises(LeftError):
        asyncio.run(run(LeftError))

    assert attempts_left(bus) == [(1, 2), (2, 0), (3, 0)]


@pytest.mark.parametrize("busy", [True, False])
def test_a_cancelled_task_releases_its_messages(bus: BusClient, busy: bool) -> None:
    async def work() -> None:
        async for message in bus.subscribe(ack="manual", lease_s=3600, max_per_poll=1 + busy):
            if busy and message.id == 2:
                await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(work())
        while bus.read(1 + busy).attempts == 0:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

    assert attempts_left(bus) == [(1, 1), (2, int(busy)), (3, 0)]


@both_modes
def test_a_loop_that_is_left_while_another_writes_gives_back_soon_after(
    db: str, bus: BusClient, foreign: Foreign, spawn: Spawn, mode: str
) -> None:
    loop = start(bus, mode)
    next(loop)
    writer = spawn("lock_holder", db)
    writer.read()
    release = threading.Timer(0.5, writer.tell)
    release.start()

    loop.close()

    wait_until(lambda: leased(foreign) == 0, "what was held", AT_ONCE_S)


@both_modes
def test_a_client_that_is_closed_in_another_thread_releases_the_messages_of_its_loop(
    db: str, bus: BusClient, connect: Connect, foreign: Foreign, mode: str
) -> None:
    consumer = connect(WORKER)
    loop = start(consumer, mode, poll_interval_s=NEVER_POLLS_S)
    seen = loop.collect()
    wait_until(lambda: seen == [1, 2, 3], "all there is")
    wait_for_waiting(db, WORKER)

    consumer.close()

    assert leased(foreign) == 0
    assert attempts_left(bus) == [(1, 1), (2, 1), (3, 1)]
    loop.close()


def test_a_dropped_asynchronous_loop_gives_back_at_once_and_one_in_a_cycle_when_it_is_collected(
    bus: BusClient, foreign: Foreign
) -> None:
    async def run() -> None:
        loop = bus.subscribe(ack="manual", lease_s=3600)
        await anext(loop)
        held = leased(foreign)
        del loop
        assert (held, leased(foreign)) == (1, 0)

        loop = bus.subscribe(ack="manual", lease_s=3600)
        await anext(loop)
        cycle: list[Any] = [loop]
        cycle.append(cycle)
        del loop, cycle
        gc.collect()
        assert leased(foreign) == 0

    asyncio.run(run())


@both_modes
def test_many_loops_in_turn_open_no_more_descriptors_than_one(bus: BusClient, mode: str) -> None:
    def hold_and_leave() -> None:
        loop = start(bus, mode)
        next(loop)
        loop.close()
        wait_until(lambda: not of_raven(), "the end of raven's threads")

    hold_and_leave()  # opens the descriptors that a client keeps
    before = descriptors()

    for _ in range(4):
        hold_and_leave()

    wait_until(lambda: descriptors() == before, "as few descriptors as before")


@both_modes
def test_a_released_message_is_not_renewed(bus: BusClient, connect: Connect, mode: str) -> None:
    loop = start(bus, mode, lease_s=0.15)
    next(loop)
    loop.close()
    other = connect(WORKER)
    (message,) = other.claim(lease_s=0.5)
    began = time.monotonic()

    # After the time of ten renewals.
    (again,) = wait_until(lambda: [one for one in bus.claim(max=10) if one.id == message.id], "the lapse")

    assert again.attempts == 3
    assert 0.45 < time.monotonic() - began < AT_ONCE_S


@both_modes
def test_another_consumer_is_woken_for_a_released_message(db: str, bus: BusClient, spawn: Spawn, mode: str) -> None:
    loop = start(bus, mode)
    assert [next(loop).id for _ in range(3)] == [1, 2, 3]
    other = spawn("subscriber", db, WORKER, json.dumps({"mode": mode, "poll_interval_s": NEVER_POLLS_S}))
    wait_until(lambda: len(bells(db)) == 3, "both at their doorbells")  # and the folder

    left_at = time.monotonic()
    loop.close()
    lines = [other.read() for _ in range(3)]

    assert sorted(line["id"] for line in lines) == [1, 2, 3]
    assert lines[-1]["heard_at"] - left_at < AT_ONCE_S
    other.signal(signal.SIGTERM)
    other.wait()


# Not SIGINT with an event loop: asyncio would only cancel the task, which is busy with the message.
@pytest.mark.parametrize(
    ("mode", "number"), [("listen", signal.SIGTERM), ("listen", signal.SIGINT), ("subscribe", signal.SIGTERM)]
)
def test_a_signal_to_a_program_releases_its_messages(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, mode: str, number: signal.Signals
) -> None:
    connect(WORKER).send_many([{"to": WORKER, "type": "job"}] * 3)
    options = {"mode": mode, "ack": "manual", "hold_after": 1, "lease_s": 3600}
    program = spawn("subscriber", db, WORKER, json.dumps(options))
    assert program.read()["id"] == 1

    program.signal(number)

    assert program.wait() in ({143} if number == signal.SIGTERM else {130, -signal.SIGINT, 1})
    assert leased(foreign) == 0
    assert bells(db) == []
    assert attempts_left(connect(WORKER)) == [(1, 1), (2, 0), (3, 0)]


def test_a_forked_childs_copy_of_a_loop_ends_and_leaves_its_parents_alone(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign
) -> None:
    bus = connect(WORKER)
    bus.send_many([{"to": WORKER, "type": "job"}] * 2)
    program = spawn("forked_holder", db, WORKER)

    assert program.read() == 0  # it got no message, and ended without an error
    lease_ends = bus.receipts(1)[0].ready_at
    wait_until(lambda: bus.receipts(1)[0].ready_at != lease_ends, "a renewal by the parent")
    assert leased(foreign) == 1
    assert program.ask(None) == 1

    assert program.wait() == 0
    assert [(bus.read(id).state, bus.read(id).attempts) for id in (1, 2)] == [("acked", 1), ("sent", 0)]
