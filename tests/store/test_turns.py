"""Writers take turns: beside long transactions back to back every other write succeeds, after a few of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raven import BusClient, BusyError
from raven.files.turnstile import SUFFIX
from raven.host.bus import HostedBus
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, Program, wait_until

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
# The time of one send beside writers with this length of a transaction; the tests run several at once.
LENGTH_S = 0.1
FEW = 20


@pytest.fixture
def hogs(db: str, connect: Connect, spawn: Spawn, request: pytest.FixtureRequest) -> Iterator[list[Program]]:
    """Start some processes that make long transactions, and check in the end that no transaction of theirs failed."""
    connect("sink:s")
    number, length_s = getattr(request, "param", (1, LENGTH_S))
    programs = [spawn("long_writer", db, str(one), str(length_s)) for one in range(number)]
    for program in programs:
        assert program.read() == 1
    yield programs
    for program in programs:
        program.tell()
        assert program.read() >= 1
        assert program.wait() == 0


@pytest.mark.parametrize("hogs", [(1, 0.1), (1, 0.02), (5, 0.1)], indirect=True, ids=["1 of 100 ms", "20 ms", "5"])
def test_beside_long_transactions_each_send_waits_for_a_few_of_them(connect: Connect, hogs: list[Program]) -> None:
    bus, prober, longest_s = connect("worker:s"), connect("prober:s", busy_timeout_s=0, register=False), 0.0

    for _ in range(10):
        wait_until(lambda: is_locked(prober), "a long transaction")
        began = time.monotonic()
        bus.send("sink:s", "note")
        longest_s = max(longest_s, time.monotonic() - began)

    assert longest_s < Limit(FEW * LENGTH_S)


def test_beside_long_transactions_every_kind_of_write_succeeds(db: str, hogs: list[Program]) -> None:
    with BusClient.at("worker:s", db) as bus:
        bus.send_many([{"to": bus.address, "type": "note"}] * 3)
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE own (i)")
        first, second, third = bus.claim(max=3)
        bus.ack(first.id)
        bus.nack(second.id)
        bus.extend(third.id)
        assert len(bus.inbox()) == 2
        bus.prune(0)


def test_beside_long_transactions_loops_and_requests_of_an_event_loop_get_their_turn(
    db: str, connect: Connect, hogs: list[Program]
) -> None:
    asker, oracle = connect("asker:s"), connect("oracle:s")

    async def answer() -> None:
        async for message in oracle.subscribe():
            await asyncio.to_thread(oracle.reply, message, "answer")

    async def ask() -> None:
        answering = asyncio.create_task(answer())
        for _ in range(3):
            assert (await asker.request_async(oracle.address, "question", timeout_s=DEADLINE_S)).type == "answer"
        answering.cancel()

    asyncio.run(ask())


def test_beside_long_transactions_timers_are_applied(hosted: Hosted, hogs: list[Program]) -> None:
    bus = hosted("worker:s")
    sent = bus.send("nowhere:s", "note", expires_in_s=0.05)

    wait_until(
        lambda: bus.run_maintenance() or bus.receipts(sent.id)[0].finished_at, "the end of its life", every_s=0.1
    )


def test_a_write_that_may_not_wait_takes_no_turn(
    db: str, connect: Connect, hosted: Hosted, hogs: list[Program]
) -> None:
    bus, prober = hosted("worker:s"), connect("prober:s", busy_timeout_s=0, register=False)
    began, busy = time.monotonic(), 0

    for _ in range(5):
        wait_until(lambda: is_locked(prober), "a long transaction")
        try:
            bus.no_wait(lambda: bus.send("sink:s", "note"))
        except BusyError:
            busy += 1

    assert busy
    assert time.monotonic() - began < Limit(FEW * LENGTH_S)


def test_the_wait_for_a_turn_and_for_the_lock_are_no_longer_than_the_busy_timeout(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    bus = connect("worker:s", busy_timeout_s=0.5)
    with bus.transaction() as tx:  # long: the next one takes a turn before it tries
        tx.send("sink:s", "note")
        time.sleep(0.01)
    spawn("turn_holder", db).read()
    spawn("lock_holder", db).read()
    began = time.monotonic()

    with pytest.raises(BusyError):
        bus.send("sink:s", "note")

    assert 0.5 <= time.monotonic() - began < Limit(5)


def test_a_stopped_writer_that_holds_the_turn_keeps_no_other_out(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("worker:s")
    with bus.transaction() as tx:
        tx.send("sink:s", "note")
        time.sleep(0.01)
    holder = spawn("turn_holder", db)
    holder.read()
    holder.signal(signal.SIGSTOP)

    bus.send("sink:s", "note")

    holder.signal(signal.SIGCONT)


def test_short_writes_without_others_make_no_file(db: str, connect: Connect) -> None:
    bus = connect("worker:s")
    bus._store.was_long = False

    bus.ack(bus.send(bus.address, "note").id)

    assert not os.path.exists(db + SUFFIX)


def test_in_a_folder_that_cannot_be_written_writers_wait_without_turns(
    db: str, connect: Connect, foreign: Foreign
) -> None:
    bus = connect("worker:s", busy_timeout_s=DEADLINE_S)
    Path(db + SUFFIX).mkdir()
    foreign.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=bus.send, args=("sink:s", "note"))
    thread.start()
    wait_until(lambda: is_inside(thread, "wait_for_turn"), "the wait")
    foreign.execute("ROLLBACK")
    thread.join(DEADLINE_S)

    assert bus.last_id() == 1


def is_locked(prober: BusClient) -> bool:
    """Whether another process holds the write lock."""
    try:
        prober.execute("SELECT 1")
    except BusyError:
        return True
    return False


def is_inside(thread: threading.Thread, function: str) -> bool:
    import sys

    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None
