"""Concurrent use: writers that hold the lock, threads that share a client, and forked children."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from raven import BusClient, BusyError, Message
from raven.store.database import Store
from tests.support import DEADLINE_S, Foreign, Program

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


def test_a_send_without_the_lock_raises_busy_writes_nothing_and_works_later(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    bus = connect("worker:s", busy_timeout_s=0.3)
    holder = spawn("lock_holder", db)
    holder.read()
    began = time.monotonic()

    with pytest.raises(BusyError, match=r"locked by another writer.*\(waited 0.3 s\)") as caught:
        bus.send("worker:s", "note", "too early")

    assert time.monotonic() - began >= 0.3
    assert caught.value.retryable
    assert bus.inbox(peek=True) == []

    holder.ask(None)
    bus.send("worker:s", "note", "later")

    assert [msg.body for msg in bus.inbox()] == ["later"]


@pytest.mark.parametrize("busy_timeout_s", [0, 0.05])
@pytest.mark.parametrize("call", ["inbox", "ack", "register", "listen", "execute", "transaction"])
def test_every_write_raises_busy_while_the_lock_is_held_and_works_after(
    db: str, connect: Connect, spawn: Spawn, call: str, busy_timeout_s: float
) -> None:
    bus = connect("worker:s", busy_timeout_s=busy_timeout_s)
    sent = bus.send("worker:s", "note")
    holder = spawn("lock_holder", db)
    holder.read()

    def register_in_a_transaction() -> None:
        with bus.transaction() as tx:
            tx.register("other:s")

    calls: dict[str, Callable[[], object]] = {
        "inbox": bus.inbox,
        "ack": lambda: bus.ack(sent.id),
        "register": lambda: bus.register("other:s"),
        "listen": lambda: next(iter(bus.listen())),
        "execute": lambda: bus.execute("CREATE TABLE own (id)"),
        "transaction": register_in_a_transaction,
    }

    with pytest.raises(BusyError) as caught:
        calls[call]()
    holder.ask(None)

    assert caught.value.retryable
    calls[call]()


def test_reads_work_while_another_process_holds_the_lock(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("worker:s", busy_timeout_s=0.05)
    sent = bus.send("worker:s", "note", "x")
    spawn("lock_holder", db).read()

    assert [msg.body for msg in bus.inbox(peek=True)] == ["x"]
    assert bus.read(sent.id).body == "x"
    assert bus.peers()[0].pending == 1
    assert [msg.body for msg in bus.tail(follow=False)] == ["x"]


def test_a_send_waits_for_a_lock_that_is_released_in_time(db: str, connect: Connect, spawn: Spawn) -> None:
    bus = connect("worker:s", busy_timeout_s=20)
    holder = spawn("lock_holder", db)
    holder.read()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bus.send, "worker:s", "note", "patient")
        with pytest.raises(TimeoutError):
            waiting.result(0.2)

        holder.ask(None)

        assert waiting.result(10).body == "patient"


def test_threads_may_share_a_client(db: str, connect: Connect) -> None:
    bus = connect("worker:s")

    def work(thread: int) -> list[int]:
        sent = [bus.send("worker:s", "note", [thread, number]) for number in range(25)]
        for message in sent[::2]:
            bus.ack(message.id)
        return [message.id for message in sent]

    with ThreadPoolExecutor(8) as pool:
        ids = [one for many in pool.map(work, range(8)) for one in many]

    assert sorted(ids) == [*range(1, 201)]
    assert len(bus.inbox(max=1000)) == 8 * 12
    assert Store(db).pragma("integrity_check") == "ok"


def test_threads_that_first_use_a_client_at_once_share_its_leases(connect: Connect) -> None:
    boss, before = connect("boss:s"), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for number in range(100):
                bus, at_once = connect(f"worker:{number}"), threading.Barrier(4)
                boss.send_many([{"to": bus.address, "type": "note"}] * 4)
                claiming = [pool.submit(claim_at_once, bus, at_once) for _ in range(4)]
                for one in claiming:
                    message = one.result(DEADLINE_S)
                    assert bus._mailbox.leases.lease_of(message.id) == message.lease
    finally:
        sys.setswitchinterval(before)


def claim_at_once(bus: BusClient, at_once: threading.Barrier) -> Message:
    at_once.wait(DEADLINE_S)
    return bus.claim()[0]


def test_threads_that_listen_with_one_client_share_its_messages(connect: Connect) -> None:
    bus = connect("worker:s")
    taken: list[list[int]] = [[], [], []]
    all_taken = threading.Event()

    def listen(mine: list[int]) -> None:
        for message in bus.listen(poll_interval_s=60):
            mine.append(message.body)
            if sum(map(len, taken)) == 300:
                all_taken.set()

    threads = [threading.Thread(target=listen, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for number in range(300):
        bus.send("worker:s", "work", number)
    assert all_taken.wait(20)
    bus.close()
    for thread in threads:
        thread.join(5)

    assert not any(thread.is_alive() for thread in threads)
    assert sorted(sum(taken, [])) == [*range(300)]  # noqa: RUF017
    assert all(mine == sorted(mine) for mine in taken)


def test_a_forked_child_and_its_parent_both_send_and_consume(db: str, spawn: Spawn, foreign: Foreign) -> None:
    program = spawn("forker", db)
    results = [program.read(), program.read()]
    assert program.wait() == 0
    taken = [body for result in results for body in result["taken"]]

    assert {result["name"] for result in results} == {"parent", "child"}
    expected = ["before the fork", *(f"{name} {number}" for name in ("parent", "child") for number in range(20))]
    assert sorted(taken) == sorted(expected)
    assert foreign.value("PRAGMA integrity_check") == "ok"


def test_a_message_of_a_forked_child_survives_its_parents_exit(db: str, spawn: Spawn, connect: Connect) -> None:
    program = spawn("daemon", db)
    program.read()

    bodies = [msg.body for msg in connect("worker:s").inbox()]

    assert bodies == ["parent", "child, with its parent", "child, alone"]


def test_a_busy_error_keeps_no_frame_of_its_caller_alive(connect: Connect) -> None:
    # A cancelled loop ends when its last reference goes, and an error in a cycle would keep one.
    bus, other = connect("worker:s", busy_timeout_s=0.05), connect("boss:s")

    def in_a_block() -> None:
        with bus.transaction() as tx:
            tx.send("boss:s", "note")

    def error_of(write: Callable[[], object]) -> weakref.ref[BaseException]:
        try:
            write()
        except BusyError as error:
            return weakref.ref(error)
        raise AssertionError("the write found no lock")

    gc.disable()
    try:
        with other.transaction() as tx:
            tx.send("worker:s", "note")
            errors = [error_of(write) for write in (lambda: bus.send("boss:s", "note"), in_a_block)]
    finally:
        gc.enable()

    assert [error() for error in errors] == [None, None]
