"""A loop that ends, in any way, leaves no FIFO, thread, descriptor or leased delivery behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from raven import BusClient, BusyError, Message
from raven.host.bus import HostedBus
from tests.loop import Loop, taken
from tests.support import (
    DEADLINE_S,
    NEVER_POLLS_S,
    Foreign,
    Program,
    bells,
    descriptors,
    hold_with_a_lease,
    is_watched,
    leased,
    raven_threads,
    wait_for_waiting,
    wait_for_watch,
    wait_until,
    waiting,
)

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]


def is_inside(thread: threading.Thread, function: str, *others: str) -> bool:
    """Whether a thread is inside a function now, and inside one of the other functions if any are given."""
    frame, names = sys._current_frames().get(thread.ident or 0), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return function in names and (not others or not names.isdisjoint(others))


class LeftError(Exception):
    """An exception of a loop's body."""


@pytest.fixture
def bus(db: str, connect: Connect, foreign: Foreign) -> Iterator[BusClient]:
    """Open a client with 100 ready messages; at the end its loops must have left nothing behind."""
    client = connect("worker:s")
    list(client.listen(timeout_s=0.01))  # opens the descriptors that a client keeps
    asyncio.run(stop_at_once(client))
    before = descriptors()
    client.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(100)])

    yield client

    assert bells(db) == []
    wait_until(lambda: not raven_threads(), "the end of the threads")
    assert not is_watched(db)
    wait_until(lambda: descriptors() == before, "as few descriptors as before")
    assert leased(foreign) == 0


async def stop_at_once(client: BusClient) -> None:
    async for _ in client.subscribe(timeout_s=0.01):
        pass


def rest(client: BusClient) -> list[int]:
    """Return the messages that can still be claimed."""
    return [message.body for message in taken(client)]


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
@pytest.mark.parametrize("error", [None, LeftError], ids=["break", "exception"])
def test_a_break_and_an_exception_release_unyielded_messages_at_once(
    bus: BusClient, foreign: Foreign, mode: str, error: type[Exception] | None
) -> None:
    seen = []

    def is_last(message: Message) -> bool:
        seen.append(message.body)
        holds_more = leased(foreign) > 0
        if holds_more and error:
            raise error
        return holds_more

    def listen() -> None:
        for message in bus.listen():
            if is_last(message):
                break

    async def subscribe() -> None:
        async for message in bus.subscribe():
            if is_last(message):
                break
        assert leased(foreign) == 0

    with pytest.raises(LeftError) if error else nullcontext():
        asyncio.run(subscribe()) if mode == "subscribe" else listen()

    assert leased(foreign) == 0
    assert rest(bus) == [*range(len(seen), 100)]


def test_closing_the_iterator_releases_unyielded_messages(bus: BusClient, foreign: Foreign) -> None:
    loop: Any = bus.listen()
    message = next(one for one in loop if leased(foreign))

    loop.close()

    assert leased(foreign) == 0
    assert rest(bus) == [*range(message.body + 1, 100)]


def test_cancelling_a_task_that_holds_a_message_gives_back_the_others(bus: BusClient, foreign: Foreign) -> None:
    seen = []

    async def work() -> None:
        async for message in bus.subscribe():
            seen.append(message.body)
            if leased(foreign):
                await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(work())
        while not leased(foreign):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

    assert leased(foreign) == 0
    assert rest(bus) == [*range(len(seen), 100)]


def test_cancelling_a_task_that_waits_leaves_nothing(db: str, bus: BusClient) -> None:
    assert len(rest(bus)) == 100

    async def run() -> None:
        task = asyncio.create_task(stop_never(bus.subscribe(poll_interval_s=60)))
        while not bells(db):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bells(db) == []

    asyncio.run(run())


async def stop_never(messages: AsyncIterator[Any]) -> None:
    async for _ in messages:
        pass


def test_a_subscription_that_was_never_iterated_leaves_nothing(bus: BusClient) -> None:
    bus.subscribe()
    bus.listen()

    assert len(rest(bus)) == 100


def test_many_loops_in_turn_open_no_more_descriptors_than_one(bus: BusClient) -> None:
    assert len(rest(bus)) == 100
    before = descriptors()

    for _ in range(5):
        assert list(bus.listen(timeout_s=0.02)) == []
        asyncio.run(stop_at_once(bus))

    wait_until(lambda: descriptors() == before, "as few descriptors as before")


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_waiting_program_leaves_nothing(
    db: str, connect: Connect, spawn: Spawn, mode: str, number: signal.Signals
) -> None:
    connect("boss:s")
    program = spawn("subscriber", db, "worker:s", json.dumps({"mode": mode, "poll_interval_s": 60}))
    wait_for_waiting(db, "worker:s")
    wait_until(lambda: is_watched(db), "the watch")

    program.signal(number)

    assert program.wait() in ({143} if number == signal.SIGTERM else {130, -signal.SIGINT, 1})
    assert bells(db) == []
    assert not is_watched(db)


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_signal_that_another_thread_catches_ends_a_waiting_program_at_once(
    db: str, connect: Connect, spawn: Spawn, mode: str
) -> None:
    connect("boss:s")
    program = spawn("signalled_thread", db, "worker:s", mode)
    wait_for_watch(db, program)

    program.tell()

    assert program.wait(5) == 143
    assert bells(db) == []


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_sigterm_releases_the_unyielded_messages_of_a_program(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, mode: str
) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(200)])
    program = spawn("subscriber", db, "worker:s", json.dumps({"mode": mode, "hold_after": 20}))
    taken = hold_with_a_lease(program, foreign, 20)

    program.signal(signal.SIGTERM)

    assert program.wait() == 143
    assert leased(foreign) == 0
    assert bells(db) == []
    assert rest(bus) == [*range(len(taken), 200)]


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_loop_that_is_garbage_collected_in_the_thread_of_the_watch_leaves_nothing(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, mode: str
) -> None:
    connect("boss:s").send("worker:s", "note")
    program = spawn("dropped_loop", db, "worker:s", mode)
    program.read()
    wait_for_watch(db, program)

    program.tell()
    foreign.send("other:s", "gives the watch something to do")

    wait_until(lambda: bells(db) == [] and not is_watched(db), "the end of the dropped loop", 10)


def test_a_program_with_a_sigterm_handler_of_its_own_keeps_it(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    before = signal.signal(signal.SIGTERM, handler := lambda *_: None)
    try:
        list(bus.listen(timeout_s=0.01))
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("ack", "handed_out"), [("auto", ["sent"]), ("manual", [])])
def test_a_loop_that_is_ended_while_it_fetches_releases_the_unyielded_messages(
    db: str, hosted: Hosted, ack: str, handed_out: list[str]
) -> None:
    boss, worker = hosted("boss:s"), hosted("worker:s")
    loop = Loop(worker, "listen", ack=ack, poll_interval_s=NEVER_POLLS_S)
    [consumer] = worker._consumers
    seen = loop.collect()
    assert loop._thread
    thread = loop._thread
    wait_until(lambda: is_inside(thread, "wait"), "the loop")
    wait_for_waiting(db, "worker:s")

    with worker._store.lock:
        boss.send("worker:s", "note", "sent")
        wait_until(lambda: is_inside(thread, "next", "_query", "write"), "the fetch")
        consumer.release()
    thread.join(DEADLINE_S)

    assert not thread.is_alive()
    assert [boss.read(id).body for id in seen] == handed_out
    assert [message.body for message in worker.claim()] == (["sent"] if not handed_out else [])
    loop.close()


def test_an_async_loop_that_is_closed_by_the_program_yields_no_more(db: str, connect: Connect) -> None:
    worker = connect("worker:s")
    worker.send_many([{"to": "worker:s", "type": "note", "body": number} for number in range(3)])

    async def take_one() -> list[object]:
        messages = worker.subscribe(timeout_s=NEVER_POLLS_S)
        first = await anext(messages)
        await messages.aclose()
        return [first.body, *[message.body async for message in messages]]

    assert asyncio.run(take_one()) == [0]
    assert waiting(db, "worker:s") == 0
    assert [message.body for message in worker.claim(max=10)] == [1, 2]


def test_an_async_loop_has_no_more_patience_with_another_writer_than_its_client(connect: Connect) -> None:
    boss, worker = connect("boss:s"), connect("worker:s", busy_timeout_s=0)
    boss.send("worker:s", "note")

    async def take_one() -> None:
        await anext(worker.subscribe())

    with boss.transaction() as tx:
        tx.send("worker:s", "note")
        with pytest.raises(BusyError):
            asyncio.run(take_one())

    assert len(worker.claim(max=10)) == 2
