"""A transaction belongs to one thread and one asyncio task: no other joins it, waits inside it, or hangs after it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, BusTransaction, DatabaseError, InputError
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, NEVER_POLLS_S, Foreign

Connect = Callable[..., BusClient]
BODIES = "SELECT body ->> '$' FROM messages ORDER BY id"
OTHER_TASK = "another task of this thread has a transaction open"


class Begun:
    """A task of its own, in a transaction until `end`."""

    def __init__(self, bus: BusClient) -> None:
        self._bus = bus
        self._is_open = asyncio.Event()
        self._ends = asyncio.Event()
        self._fails = False
        self.tx: BusTransaction
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with suppress(ZeroDivisionError), self._bus.transaction() as tx:
            self.tx = tx
            tx.send("reader:s", "note", "mine")
            self._is_open.set()
            await self._ends.wait()
            if self._fails:
                raise ZeroDivisionError

    async def opened(self) -> None:
        await self._is_open.wait()

    async def end(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._ends.set()
        await self._task


@pytest.mark.parametrize(
    "call",
    [
        lambda bus: bus.send("reader:s", "note", "other"),
        lambda bus: bus.send_many([{"to": "reader:s", "type": "note", "body": "other"}]),
        lambda bus: bus.register("new:s"),
        lambda bus: bus.execute("CREATE TABLE own (id)"),
        lambda bus: bus.transaction().__enter__(),
        lambda bus: bus.request("reader:s", "note", "other", timeout_s=1),
        lambda bus: next(iter(bus.listen(timeout_s=1))),
    ],
    ids=["send", "send_many", "register", "execute", "transaction", "request", "listen"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_call_of_another_task_is_refused_and_is_no_part_of_the_transaction(
    connect: Connect, foreign: Foreign, call: Callable[[BusClient], Any], fails: bool
) -> None:
    bus = connect("worker:s")
    connect("boss:s").send("worker:s", "note", "waits")

    async def run() -> None:
        begun = Begun(bus)
        await begun.opened()
        with pytest.raises(InputError, match=OTHER_TASK):
            call(bus)
        with pytest.raises(InputError, match="belongs to the task that entered it"):
            begun.tx.send("reader:s", "note", "other")
        await begun.end(fails=fails)
        bus.send("reader:s", "note", "later")

    asyncio.run(run())

    assert foreign.execute(BODIES) == [["waits"], *([] if fails else [["mine"]]), ["later"]]


def test_a_task_that_a_transaction_has_started_is_another_task(connect: Connect, foreign: Foreign) -> None:
    bus = connect("worker:s")

    async def send() -> None:
        bus.send("reader:s", "note", "other")

    async def run() -> None:
        with bus.transaction() as tx:
            tx.send("reader:s", "note", "mine")
            [error] = await asyncio.gather(send(), return_exceptions=True)
            assert isinstance(error, InputError)

    asyncio.run(run())

    assert foreign.execute(BODIES) == [["mine"]]


def test_a_read_of_another_task_sees_only_what_is_committed(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send("reader:s", "note", "first")

    async def run() -> list[int]:
        begun = Begun(bus)
        await begun.opened()
        last = bus.last_id()
        await begun.end()
        return [last, bus.last_id()]

    assert asyncio.run(run()) == [1, 2]


@pytest.mark.parametrize("ack", ["auto", "manual"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_loop_of_another_task_waits_for_the_end_without_blocking_the_event_loop(
    connect: Connect, ack: Any, fails: bool
) -> None:
    bus = connect("worker:s", busy_timeout_s=0.1)
    bus.send("worker:s", "note", "job")
    received: list[Any] = []

    async def receive() -> None:
        async for message in bus.subscribe(ack=ack, poll_interval_s=0.05, timeout_s=NEVER_POLLS_S):
            received.append(message.body)
            bus.ack(message.id)
            return

    async def run() -> list[Any]:
        begun = Begun(bus)
        await begun.opened()
        receiving = asyncio.create_task(receive())
        # Longer than the busy timeout: the loop neither raises nor receives meanwhile.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(receiving), 0.5)
        before = list(received)
        await begun.end(fails=fails)
        await asyncio.wait_for(receiving, DEADLINE_S)
        return before

    assert asyncio.run(run()) == []
    assert received == ["job"]
    assert bus.claim() == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda bus, tx: next(iter(bus.listen(timeout_s=1))),
        lambda bus, tx: next(iter(bus.listen(ack="manual", timeout_s=1))),
        lambda bus, tx: next(iter(bus.tail(timeout_s=1))),
        lambda bus, tx: bus.request("reader:s", "ask", timeout_s=1),
        lambda bus, tx: bus.wait_receipt(1, timeout_s=1),
        lambda bus, tx: asyncio.run(anext(bus.subscribe(timeout_s=1))),
    ],
    ids=["listen", "manual", "tail", "request", "wait_receipt", "subscribe"],
)
def test_a_call_that_waits_is_refused_in_a_transaction(
    connect: Connect, wait: Callable[[BusClient, BusTransaction], Any]
) -> None:
    bus = connect("worker:s")
    bus.send("worker:s", "note")

    with bus.transaction() as tx:
        began = time.monotonic()
        with pytest.raises(InputError, match=r"inside a transaction|another task of this thread"):
            wait(bus, tx)
        assert time.monotonic() - began < Limit(1)
        tx.send("reader:s", "note")

    assert bus.last_id() == 2
    assert [message.id for message in bus.claim()] == [1]


def test_an_open_loop_takes_nothing_inside_a_transaction_of_its_task(connect: Connect) -> None:
    bus = connect("worker:s")
    bus.send_many([{"to": "worker:s", "type": "note"}] * 2)
    loop = iter(bus.listen(timeout_s=1))
    first = next(loop)

    with bus.transaction(), pytest.raises(InputError, match="inside a transaction"):
        next(loop)

    assert [first.id, *(message.id for message in bus.listen(timeout_s=0))] == [1, 2]


@pytest.mark.parametrize("end", [Generator.close, lambda work: next(work, None)], ids=["destroyed", "ended"])
def test_a_transaction_that_ends_in_another_thread_frees_the_client(
    connect: Connect, foreign: Foreign, end: Callable[[Any], object]
) -> None:
    bus = connect("worker:s")

    def work() -> Iterator[None]:
        with bus.transaction() as tx:
            tx.send("reader:s", "note", "first")
            yield

    working = work()
    next(working)
    for call in (lambda: end(working), lambda: bus.send("reader:s", "note", "later")):
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    bus.send("reader:s", "note", "last")

    assert foreign.execute(BODIES) == [*([] if end is Generator.close else [["first"]]), ["later"], ["last"]]


def test_a_transaction_whose_thread_has_ended_is_rolled_back_for_the_next_and_not_inherited(
    connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s")
    left_open: list[Any] = []
    idents: list[int] = []

    def leave_open() -> None:
        idents.append(threading.get_ident())
        tx = bus.transaction()
        left_open.append(tx)
        tx.__enter__().send("reader:s", "note", "undone")

    def send() -> None:
        idents.append(threading.get_ident())
        bus.send("reader:s", "note", "later")

    for target in (leave_open, send):
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()

    left_open.clear()
    assert foreign.execute(BODIES) == [["later"]]


def test_threads_take_turns_with_another_threads_transactions(connect: Connect) -> None:
    bus = connect("worker:s")
    stop = threading.Event()
    begun: list[float] = []

    def work() -> None:
        while not stop.is_set():
            with bus.transaction() as tx:
                begun.append(time.monotonic())
                tx.send("reader:s", "note")
                stop.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            before = len(begun)
            bus.send("reader:s", "note")
            assert len(begun) - before <= 4
            stop.wait(0.005)
    finally:
        stop.set()
        thread.join(DEADLINE_S)


# The collector may destroy the transaction before its task, and Python then prints so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "dropped"])
def test_a_transaction_of_a_task_that_can_never_run_again_locks_nothing(
    connect: Connect, foreign: Foreign, is_kept: bool
) -> None:
    bus = connect("worker:s")

    async def work() -> None:
        with bus.transaction() as tx:
            tx.send("reader:s", "note", "undone")
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    tasks = [loop.create_task(work())]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    if is_kept:
        bus.send("reader:s", "note", "later")
    else:
        tasks.clear()
        gc.collect()
        foreign.execute("BEGIN IMMEDIATE")
        foreign.execute("ROLLBACK")

    assert foreign.execute(BODIES) == ([["later"]] if is_kept else [])


@pytest.mark.parametrize(("end", "error"), [(next, DatabaseError), (lambda work: work.throw(KeyError()), KeyError)])
def test_an_abandoned_transaction_says_so_at_its_end_or_passes_the_exception_on(
    connect: Connect, foreign: Foreign, end: Callable[[Any], object], error: type[Exception]
) -> None:
    bus = connect("worker:s")

    def work() -> Iterator[None]:
        with bus.transaction() as tx:
            tx.send("reader:s", "note", "undone")
            yield

    working = work()
    thread = threading.Thread(target=next, args=(working,))
    thread.start()
    thread.join(DEADLINE_S)
    bus.send("reader:s", "note", "later")

    with pytest.raises(error):
        end(working)
    assert foreign.execute(BODIES) == [["later"]]
