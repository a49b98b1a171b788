"""A pool of waiters at one address: a message wakes one of them, and no waiter that fails strands it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from raven.wake.doorbell import ALL_TRAFFIC, Doorbells
from raven.wake.fifo import TEMPORARY_PREFIX, Doorbell
from raven.wake.listener import Listener
from scripts.harness.deadline import Limit
from tests.support import DEADLINE_S, Foreign, Program, bells, read_all, wait_for_watch, wait_until

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
WORKER = "worker:s"
# The longest poll interval: a poll wakes no waiter of these tests.
RARELY = 3600
# Without the clock; a wake takes about a millisecond.
AT_ONCE_S = Limit(0.8)
# A second for the clock, and one for a busy machine.
IN_TIME_S = Limit(2.0)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a pipe holds")


@pytest.fixture
def pool(db: str) -> Iterator[list[Doorbell]]:
    """Create the doorbells of 30 waiters that never answer."""
    doorbells = [Doorbells(db).create(WORKER) for _ in range(30)]
    yield doorbells
    for doorbell in doorbells:
        doorbell.close()


@pytest.fixture
def start(db: str, connect: Connect, spawn: Spawn) -> Callable[..., list[Program]]:
    """Start subscribers at one address, in the order in which senders ring them."""
    connect("boss:s")

    def start(*modes: str, **options: Any) -> list[Program]:
        programs = [
            spawn("subscriber", db, WORKER, json.dumps({"mode": mode, "poll_interval_s": RARELY, **options}))
            for mode in modes
        ]

        def order() -> list[int]:
            if not folder(db).exists():
                return []
            names = sorted(path.name for path in folder(db).iterdir() if not path.name.startswith(TEMPORARY_PREFIX))
            return [int(name.partition("-")[0]) for name in names]

        wait_until(lambda: {program.pid for program in programs} <= set(order()), "the doorbells of all")
        return sorted(programs, key=lambda program: order().index(program.pid))

    return start


def folder(db: str) -> Path:
    return Path(Doorbells(db).folder_for(WORKER))


def rung(doorbells: list[Doorbell]) -> int:
    """Return how many doorbells have a ring to answer."""
    return sum(doorbell.wait(0, drains=False) for doorbell in doorbells)


def test_each_message_rings_one_waiter_that_has_no_ring_to_answer(connect: Connect, pool: list[Doorbell]) -> None:
    boss = connect("boss:s")

    numbers = []
    for _ in range(32):
        assert boss.send(WORKER, "job").waiting == {WORKER: True}
        numbers.append(rung(pool))

    assert numbers == [*range(1, 31), 30, 30]


def test_a_message_of_an_external_writer_rings_one_waiter(
    db: str, connect: Connect, spawn: Spawn, foreign: Foreign, pool: list[Doorbell]
) -> None:
    connect("boss:s")
    watcher = spawn("subscriber", db, "watcher:s", json.dumps({"poll_interval_s": RARELY}))
    wait_for_watch(db, watcher)
    for doorbell in pool:
        doorbell.drain()

    foreign.send(WORKER)

    wait_until(lambda: rung(pool), "a ring", IN_TIME_S)
    assert rung(pool) == 1


def test_observers_and_waiters_for_a_receipt_do_not_compete_and_are_all_rung(db: str, connect: Connect) -> None:
    boss, worker = connect("boss:s"), connect(WORKER)
    observers = [Doorbells(db).create(ALL_TRAFFIC) for _ in range(3)]
    receipts = [Doorbells(db).create(f"{ALL_TRAFFIC}1") for _ in range(3)]

    boss.send(WORKER, "job")
    worker.ack(worker.claim()[0].id)

    assert (rung(observers), rung(receipts)) == (3, 3)
    for doorbell in observers + receipts:
        doorbell.close()


def test_a_waiter_that_ends_with_a_ring_to_answer_passes_it_on(db: str, connect: Connect) -> None:
    boss = connect("boss:s")
    # Without the watch, which may take the send for a foreign one and ring as well.
    waiters = [Listener(boss._handle, WORKER, elect=False) for _ in range(3)]
    waiters.sort(key=lambda waiter: waiter._path())
    for waiter in waiters:
        waiter.drain()
    boss.send(WORKER, "job")

    waiters[0].close()

    assert [waiter.wait(0) for waiter in waiters[1:]] == [True, False]
    for waiter in waiters:
        waiter.close()
    assert bells(db) == []


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
def test_a_busy_waiter_gets_no_ring_while_others_are_idle(
    connect: Connect, start: Callable[..., list[Program]], mode: str
) -> None:
    boss = connect("boss:s")
    programs = start(mode, mode, mode, hold_after=1)

    for number in range(3):
        sent_at = time.monotonic()
        boss.send(WORKER, "job", number)
        [line] = [line for lines in read_all(programs, 1).values() for line in lines]
        assert line["body"] == number
        assert line["heard_at"] - sent_at < AT_ONCE_S

    # Each holds one: the first to come back takes the next.
    boss.send(WORKER, "job", "next")
    programs[1].tell()
    assert programs[1].read(AT_ONCE_S)["body"] == "next"


@pytest.mark.parametrize("mode", ["listen", "subscribe"])
@pytest.mark.parametrize("fate", ["stopped", "killed", "stopped, then killed"])
def test_a_waiter_that_was_rung_and_does_not_answer_strands_no_message(
    connect: Connect, start: Callable[..., list[Program]], mode: str, fate: str
) -> None:
    boss = connect("boss:s")
    *failing, last = start(mode, mode, mode)
    for program in failing:
        program.signal(signal.SIGKILL if fate == "killed" else signal.SIGSTOP)

    boss.send(WORKER, "job", "rescued")
    if fate == "stopped, then killed":
        for program in failing:
            program.signal(signal.SIGKILL)

    # Also if the WAL watcher is among them, and stopped.
    assert last.read(IN_TIME_S)["body"] == "rescued"


def test_waiters_that_die_with_their_rings_and_are_swept_strand_no_message(
    db: str, connect: Connect, spawn: Spawn, start: Callable[..., list[Program]]
) -> None:
    boss = connect("boss:s")
    watcher = spawn("subscriber", db, "watcher:s", json.dumps({"poll_interval_s": RARELY}))
    wait_for_watch(db, watcher)
    *failing, last = start("listen", "listen", "listen")
    for program in failing:
        program.signal(signal.SIGSTOP)
    boss.send(WORKER, "job", "rescued")

    for program in failing:
        program.kill()
    Doorbells(db).sweep()

    assert last.read(IN_TIME_S)["body"] == "rescued"


def test_a_waiter_with_a_full_window_passes_the_ring_on(connect: Connect, start: Callable[..., list[Program]]) -> None:
    boss, full = connect("boss:s"), connect(WORKER)
    boss.send(WORKER, "job", "unacked")
    loop = full.listen(ack="manual", max_per_poll=1, poll_interval_s=RARELY, timeout_s=DEADLINE_S)
    unacked = next(loop)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(next, loop)
        programs = start("listen", "subscribe")
        for number in range(4):
            boss.send(WORKER, "job", number)
            [line] = [line for lines in read_all(programs, 1, AT_ONCE_S).values() for line in lines]
            assert line["body"] == number

        # An ack wakes the full loop itself.
        for program in programs:
            program.kill()
        full.ack(unacked.id)
        boss.send(WORKER, "job", "after the ack")
        wait_until(waiting.done, "the next message", IN_TIME_S)
        assert waiting.result().body == "after the ack"


def test_a_full_subscription_of_the_server_passes_the_ring_on(
    connect: Connect, serve: Callable[..., Any], start: Callable[..., list[Program]]
) -> None:
    boss, server = connect("boss:s"), serve()
    with server.connect() as line:
        line.ask("subscribe", {"role": WORKER, "ack": "manual", "window": 1})
        boss.send(WORKER, "job", "unacked")
        assert line.read()["params"]["message"]["body"] == "unacked"
        [program] = start("listen")

        for number in range(4):
            boss.send(WORKER, "job", number)
            assert program.read(AT_ONCE_S)["body"] == number


@pytest.mark.parametrize("way", ["send_many", "sends", "outbox", "nack"])
def test_a_backlog_wakes_as_many_waiters_as_it_has_messages(
    db: str, connect: Connect, foreign: Foreign, start: Callable[..., list[Program]], way: str
) -> None:
    boss = connect("boss:s")
    programs = start(*["listen", "subscribe"] * 4, hold_after=1)
    wait_for_watch(db, *programs)

    if way == "send_many":
        boss.send_many([{"to": WORKER, "type": "job"}] * 8)
    elif way == "sends":
        for _ in range(8):
            boss.send(WORKER, "job")
    elif way == "outbox":
        foreign.execute(
            "INSERT INTO outbox (sender, recipient, type, body) SELECT 'x:s', ?, 'job', '1' FROM json_each(?)",
            WORKER,
            json.dumps([*range(8)]),
        )
    else:
        boss.send_many([{"to": WORKER, "type": "job", "delay_s": 0.3}] * 8)

    lines = read_all(programs, 8, IN_TIME_S)
    assert {program: len(taken) for program, taken in lines.items()} == dict.fromkeys(programs, 1)


def test_a_waiter_that_was_rung_in_vain_keeps_no_second_message_from_the_others(connect: Connect) -> None:
    boss, slow, other = connect("boss:s"), connect(WORKER), connect(WORKER)
    with slow._consumer("auto", DEADLINE_S, RARELY, 100) as consumer:
        assert consumer.next(notified=True) is None
        boss.send_many([{"to": WORKER, "type": "job"}] * 2)

        assert consumer.next(notified=True) is not None

        assert len(other.claim(max=2)) == 1


def test_a_pool_of_processes_threads_tasks_and_subscriptions_takes_each_message_once(
    connect: Connect, serve: Callable[..., Any], start: Callable[..., list[Program]]
) -> None:
    boss, thread = connect("boss:s"), connect(WORKER)
    programs = start("listen", "subscribe", "subscribe")
    received: list[int] = []
    with serve().connect() as line, ThreadPoolExecutor(1) as threads:
        line.ask("subscribe", {"role": WORKER, "window": 3})
        in_thread = threads.submit(
            lambda: [message.id for message in thread.listen(poll_interval_s=RARELY, timeout_s=DEADLINE_S)]
        )
        ids = [boss.send(WORKER, "job", number).id for number in range(300)]
        wait_until(lambda: (boss.stats().ready, boss.stats().in_flight) == (0, 0), "the end of the backlog")
        thread.close()
        received += in_thread.result(DEADLINE_S)
        line.ask("ping")
        received += [push["params"]["message"]["id"] for push in line.pushed]
    taken = read_all(programs, len(ids) - len(received))
    received += [one["id"] for lines in taken.values() for one in lines]

    assert sorted(received) == ids
