"""Waits for receipts end as soon as a message has reached the state, or never can."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from raven import BusClient, BusObserver, ClosedError, InputError, Receipt, UndeliveredError, WaitTimeoutError
from raven.wake.doorbell import Doorbells, receipt_address
from scripts.harness.deadline import Limit
from tests.client_process import Actor
from tests.support import (
    DEADLINE_S,
    Program,
    bells,
    descriptors,
    is_watched,
    raven_threads,
    wait_for_waiting,
    wait_for_watch,
    wait_until,
)
from tests.thread_call import wait_receipt

pytestmark = pytest.mark.both_ways

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]
# Far below the fallback poll of a waiting client, and above the time of a wake on a busy machine.
PUSHED_S = Limit(0.6)
MODES = pytest.mark.parametrize("mode", ["blocking", "async"])


@pytest.fixture
def boss(db: str, connect: Connect, way: str) -> Iterator[BusClient]:
    """Open a client that sends and waits; at the end its waits must have left nothing behind."""
    yield connect("boss:s")

    if way == "file":  # a server keeps its WAL watcher and its threads
        assert bells(db) == []
        assert not is_watched(db)
        wait_until(lambda: not raven_threads(), "the end of the threads")


@pytest.fixture
def watcher(db: str, boss: BusClient, spawn: Spawn) -> Iterator[Program]:
    """Let another process run the WAL watcher, whose first ring would wake every wait."""
    program = spawn("subscriber", db, "watcher:s")
    wait_for_watch(db, program)

    yield program

    program.kill()
    Doorbells(db).sweep()


@pytest.fixture
def worker(db: str, spawn: Spawn) -> Actor:
    """Start a client in another process, and return once it takes calls."""
    actor = Actor(spawn("actor", db, "worker:s"))
    actor.call("peers")
    return actor


def wait_in_thread(
    db: str, bus: BusObserver, message_id: int, *how: Any
) -> tuple[Callable[[], Any], Callable[[], float]]:
    """Wait for receipts in a thread; once it sleeps, return a function for the result and the time of its arrival."""
    moments: list[float] = []

    def wait() -> list[Receipt]:
        try:
            return bus.wait_receipt(message_id, *how)
        finally:
            moments.append(time.monotonic())

    pool = ThreadPoolExecutor(1)
    waiting = pool.submit(wait)
    pool.shutdown(wait=False)
    # The fallback poll comes a second after the doorbell was created: an earlier wake is no poll.
    wait_for_waiting(db, receipt_address(message_id))
    return lambda: waiting.result(DEADLINE_S), lambda: moments[0]


def test_an_expired_delivery_has_reached_expired(boss: BusClient) -> None:
    sent = boss.send("worker:s", "note", expires_in_s=0.2)

    began = time.monotonic()
    (receipt,) = boss.wait_receipt(sent.id, "expired", 20)

    assert (receipt.state, receipt.delivered_at) == ("expired", None)
    assert time.monotonic() - began < 0.2 + PUSHED_S


@pytest.mark.parametrize(
    ("method", "arguments", "state"),
    [("inbox", [], "delivered"), ("claim", [], "delivered"), ("ack", [1], "acked"), ("ack", [1], "delivered")],
)
@pytest.mark.usefixtures("watcher")
def test_a_change_by_another_process_ends_the_wait_at_once(
    db: str, boss: BusClient, worker: Actor, method: str, arguments: list[Any], state: str
) -> None:
    sent = boss.send("worker:s", "note")
    result, came_at = wait_in_thread(db, boss, sent.id, state, 20)

    worker.begin(method, *arguments)
    acted_at = worker.program.read()["at"]

    assert [receipt.reached(state) for receipt in result()] == [True]
    assert came_at() - acted_at < PUSHED_S


@pytest.mark.parametrize("ack", ["auto", "manual"])
@pytest.mark.parametrize("mode", ["listen", "subscribe"])
@pytest.mark.usefixtures("watcher")
def test_a_delivery_to_a_subscriber_ends_the_wait_at_once(
    db: str, boss: BusClient, spawn: Spawn, mode: str, ack: str
) -> None:
    options = {"mode": mode, "ack": ack, "hold_after": 1, "stop_after": 2}
    program = spawn("subscriber", db, "worker:s", json.dumps(options))
    boss.send("worker:s", "note", "holds it up")
    program.read()
    sent = boss.send("worker:s", "note")
    result, came_at = wait_in_thread(db, boss, sent.id, "acked" if ack == "auto" else "delivered", 20)

    program.tell()
    heard_at = program.read()["heard_at"]

    result()
    assert came_at() - heard_at < PUSHED_S
    program.tell()
    assert program.wait() == 0


@pytest.mark.usefixtures("watcher")
def test_an_ack_inside_a_transaction_is_told_at_its_commit(db: str, boss: BusClient, worker: Actor) -> None:
    sent = boss.send("worker:s", "note")
    result, came_at = wait_in_thread(db, boss, sent.id, "acked", 20)

    worker.call("begin")
    worker.call("ack", sent.id)
    before = boss.receipts(sent.id)[0].state
    worker.begin("commit")
    committed_at = worker.program.read()["at"]

    assert (before, [receipt.state for receipt in result()]) == ("sent", ["acked"])
    assert -0.1 < came_at() - committed_at < PUSHED_S


@pytest.mark.usefixtures("watcher")
def test_several_recipients_are_all_waited_for(db: str, boss: BusClient, worker: Actor, connect: Connect) -> None:
    sent = boss.send(["worker:s", "b:s", "c:s"], "note")
    result, came_at = wait_in_thread(db, boss, sent.id)

    connect("b:s").ack(sent.id)
    connect("c:s").ack(sent.id)
    worker.begin("ack", sent.id)
    acted_at = worker.program.read()["at"]

    assert [receipt.recipient for receipt in result()] == ["worker:s", "b:s", "c:s"]
    assert -0.1 < came_at() - acted_at < PUSHED_S


@pytest.mark.file_only
def test_several_waits_for_one_message_all_end(db: str, boss: BusClient, worker: Actor) -> None:
    first, second = boss.send("worker:s", "note"), boss.send("worker:s", "note")

    with BusObserver(db) as observer, ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(bus.wait_receipt, first.id, "acked", 20) for bus in (boss, observer)]
        other = pool.submit(boss.wait_receipt, second.id, "acked", 20)
        wait_until(lambda: len(bells(db)) >= 5, "three bells in two folders")
        worker.call("ack", first.id)

        assert [wait.result(DEADLINE_S)[0].state for wait in waits] == ["acked"] * 2
        assert not other.done()
        worker.call("ack", second.id)
        assert other.result(DEADLINE_S)[0].state == "acked"


@pytest.mark.usefixtures("watcher")
def test_a_death_is_told_at_once_with_recipient_and_reason(db: str, boss: BusClient, worker: Actor) -> None:
    sent = boss.send(["other:s", "worker:s"], "note", max_attempts=1)
    result, came_at = wait_in_thread(db, boss, sent.id, "acked", 20)

    worker.call("claim")
    worker.begin("nack", sent.id, reason="broken")
    acted_at = worker.program.read()["at"]

    with pytest.raises(UndeliveredError, match=rf"message #{sent.id} will not be acked: worker:s: dead, broken$"):
        result()
    assert came_at() - acted_at < PUSHED_S


@MODES
def test_an_expiry_ends_the_wait_in_time_without_another_process(boss: BusClient, mode: str) -> None:
    sent = boss.send(["a:s", "b:s"], "note", expires_in_s=0.3)

    began = time.monotonic()
    with pytest.raises(UndeliveredError, match="a:s: expired; b:s: expired"):
        wait_receipt(boss, mode, sent.id)

    assert 0.2 < time.monotonic() - began < 0.3 + PUSHED_S


def test_the_end_of_a_last_lease_is_told_in_time(boss: BusClient, worker: Actor) -> None:
    sent = boss.send("worker:s", "note", max_attempts=1)
    worker.call("claim", lease_s=0.5)
    worker.program.kill()

    began = time.monotonic()
    with pytest.raises(UndeliveredError, match="worker:s: dead, attempt 1 of 1 ended without an ack"):
        boss.wait_receipt(sent.id)

    assert time.monotonic() - began < 0.5 + PUSHED_S


@MODES
@pytest.mark.parametrize("timeout_s", [0, 0.3])
def test_a_timeout_names_the_missing_recipients(boss: BusClient, worker: Actor, mode: str, timeout_s: float) -> None:
    sent = boss.send(["a:s", "worker:s", *(f"{name}:s" for name in "bcdefg")], "note")
    worker.call("ack", sent.id)

    began = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=rf"not acked within {timeout_s} s by a:s, b:s, c:s, d:s, e:s, \.\.\."):
        wait_receipt(boss, mode, sent.id, timeout_s=timeout_s)

    assert timeout_s <= time.monotonic() - began < timeout_s + PUSHED_S


@pytest.mark.file_only
def test_a_wait_inside_a_transaction_is_refused(boss: BusClient) -> None:
    with boss.transaction() as tx:
        sent = tx.send("worker:s", "note")
        with pytest.raises(InputError, match="cannot wait for receipts inside a transaction"):
            boss.wait_receipt(sent.id)

    assert boss.receipts(sent.id)[0].state == "sent"


@pytest.mark.file_only
def test_a_task_waits_while_others_run_and_can_be_cancelled(db: str, boss: BusClient, worker: Actor) -> None:
    sent = boss.send("worker:s", "note")
    with pytest.raises(WaitTimeoutError):  # opens the descriptors that a client keeps
        asyncio.run(boss.wait_receipt_async(sent.id, timeout_s=0.01))
    before = descriptors()

    async def run() -> list[Receipt]:
        kept, dropped = (asyncio.create_task(boss.wait_receipt_async(sent.id)) for _ in range(2))
        async with asyncio.timeout(DEADLINE_S):
            while len(bells(db)) < 3:
                await asyncio.sleep(0.002)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        assert len(bells(db)) == 2
        worker.begin("ack", sent.id)
        acted_at = time.monotonic()
        receipts = await kept
        assert time.monotonic() - acted_at < PUSHED_S
        return receipts

    assert asyncio.run(run())[0].state == "acked"
    assert worker.result() is None
    wait_until(lambda: descriptors() == before, "as few descriptors as before")


@pytest.mark.file_only
def test_closing_ends_a_wait(db: str, boss: BusClient) -> None:
    sent = boss.send("worker:s", "note")
    observer = BusObserver(db)
    result, _ = wait_in_thread(db, observer, sent.id)

    observer.close()

    with pytest.raises(ClosedError):
        result()


def test_a_wait_for_a_consumer_that_works_past_the_expiry_does_not_poll_all_the_time(connect: Connect) -> None:
    boss, quick, slow = connect("boss:s"), connect("quick:s"), connect("slow:s")
    sent = boss.send(["quick:s", "slow:s"], "note", expires_in_s=0.1)
    quick.ack(sent.id)
    slow.claim(lease_s=60)
    time.sleep(0.15)

    began = time.process_time()
    with pytest.raises(WaitTimeoutError, match="slow:s"):
        boss.wait_receipt(sent.id, timeout_s=1.5)

    assert time.process_time() - began < 0.3
