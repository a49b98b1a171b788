"""Requests without a reply: the sender gets an error, and nothing is left behind."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from raven import BusClient, ExpiredError, Message, RavenError, WaitTimeoutError
from raven.wake.doorbell import Doorbells
from scripts.harness.deadline import Limit
from tests.client_process import Actor
from tests.support import (
    DEADLINE_S,
    Foreign,
    Program,
    bells,
    descriptors,
    is_watched,
    leased,
    raven_threads,
    wait_for_waiting,
    wait_until,
)

Connect = Callable[..., BusClient]
Spawn = Callable[..., Program]


@pytest.fixture
def boss(db: str, connect: Connect, foreign: Foreign) -> Iterator[BusClient]:
    """Open a client that sends requests; at the end they must have left nothing behind."""
    client = connect("boss:s")

    yield client

    assert bells(db) == []
    assert not is_watched(db)
    wait_until(lambda: not raven_threads(), "the end of the threads")
    assert foreign.execute("SELECT * FROM pending") == []
    assert leased(foreign) == 0


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect("worker:s")


def ask(bus: BusClient, method: str, **options: Any) -> Message:
    came = getattr(bus, method)("worker:s", "ask", **options)
    return asyncio.run(came) if asyncio.iscoroutine(came) else came


def wait_for_the_bell_of(db: str, msg: Message) -> None:
    wait_for_waiting(db, str(msg.reply_address))


def cancel_once(boss: BusClient, ready: Callable[[], Any], **options: Any) -> None:
    """Send a request in a task, and cancel the task once a condition holds."""

    async def run() -> None:
        task = asyncio.create_task(boss.request_async("worker:s", "ask", **options))
        async with asyncio.timeout(DEADLINE_S):
            while not ready():
                await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_request_is_withdrawn_if_a_signal_handler_raises_at_any_call(connect: Connect, foreign: Foreign) -> None:
    boss, calls, committed = connect("boss:s"), 0, 0

    def interrupt(frame: FrameType, event: str, arg: object) -> None:
        """Raise when no call is left: here a function has begun, or one in C has returned."""
        nonlocal calls
        calls -= event in ("call", "c_return")
        if calls == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def was_interrupted() -> bool:
        try:
            sys.setprofile(interrupt)
            boss.request("worker:s", "ask", timeout_s=0.01)
        except KeyboardInterrupt:
            return True
        except WaitTimeoutError:
            return False
        finally:
            sys.setprofile(None)
        raise AssertionError("a reply came")

    for number in itertools.count(1):
        calls, before = number, boss.last_id()
        if not was_interrupted():
            break
        assert foreign.execute("SELECT * FROM pending") == [], number
        committed += boss.last_id() > before
    assert 10 < committed < number


@pytest.mark.parametrize("method", ["request", "request_async"])
def test_a_request_without_a_reply_times_out_in_time(boss: BusClient, worker: BusClient, method: str) -> None:
    began = time.monotonic()

    with pytest.raises(WaitTimeoutError, match=r"no reply to message #\d+ arrived within 0.3 s") as caught:
        ask(boss, method, timeout_s=0.3)

    assert 0.3 <= time.monotonic() - began < Limit(2)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, RavenError)
    assert (worker.inbox(), worker.claim(), list(worker.listen(timeout_s=0.05))) == ([], [], [])
    assert [(peer.address, peer.pending) for peer in boss.peers()] == [("boss:s", 0), ("worker:s", 0)]


@pytest.mark.parametrize("to", [["worker:s", "other:s"], "*:s"])
def test_a_request_that_was_given_up_is_withdrawn_from_all(
    boss: BusClient, worker: BusClient, connect: Connect, to: str | list[str]
) -> None:
    other = connect("other:s")

    with pytest.raises(WaitTimeoutError):
        boss.request(to, "ask", timeout_s=0.05, delay_s=0.01)

    assert (worker.claim(), other.claim()) == ([], [])
    assert {receipt.state for receipt in boss.receipts(boss.last_id())} == {"expired"}


def test_requests_in_turn_leave_no_descriptor(boss: BusClient) -> None:
    for method in ("request", "request_async"):  # opens the descriptors that a client keeps
        with pytest.raises(WaitTimeoutError):
            ask(boss, method, timeout_s=0.02)
    before = descriptors()

    for method in ("request", "request_async") * 5:
        with pytest.raises(WaitTimeoutError):
            ask(boss, method, timeout_s=0.02)

    wait_until(lambda: descriptors() == before, "as few descriptors as before")


@pytest.mark.parametrize("reply_to", ["message", "id"])
def test_an_answer_that_comes_too_late_is_refused_and_not_stored(
    boss: BusClient, worker: BusClient, reply_to: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(boss.request, "worker:s", "ask", timeout_s=0.3)
        (asked,) = wait_until(lambda: worker.claim(lease_s=60), "the request")
        with pytest.raises(WaitTimeoutError):
            asking.result(DEADLINE_S)

    with pytest.raises(ExpiredError, match=f"request #{asked.id} has expired or was withdrawn"):
        worker.reply(asked if reply_to == "message" else asked.id, "answer")

    assert boss.last_id() == asked.id
    worker.ack(asked.id)  # a claimed message can still be acked
    assert boss.read(asked.id).state == "acked"


def test_a_request_claimed_by_a_responder_that_dies_goes_to_another(
    boss: BusClient, worker: BusClient, db: str, spawn: Spawn
) -> None:
    first = Actor(spawn("actor", db, "worker:s"))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(boss.request, "worker:s", "ask", timeout_s=DEADLINE_S)
        held = first.claimed(lease_s=0.3)
        first.program.kill()

        (msg,) = wait_until(worker.claim, "the request to come back")
        worker.reply(msg, "answer", "of the second")
        worker.ack(msg.id)

        assert (msg.id, msg.attempts) == (held.id, 2)
        assert asking.result(DEADLINE_S).body == "of the second"


def test_the_request_and_doorbell_of_a_killed_sender_expire_and_are_swept(
    db: str, boss: BusClient, worker: BusClient, spawn: Spawn, foreign: Foreign
) -> None:
    asker = Actor(spawn("actor", db, "asker:s"))
    asker.begin("request", "worker:s", "ask", timeout_s=1)
    seen = wait_until(worker.inbox, "the request")[0]
    wait_for_the_bell_of(db, seen)
    asker.program.kill()

    worker.reply(seen, "answer", "for nobody")
    wait_until(lambda: not foreign.execute("SELECT * FROM pending"), "the end of request and answer")
    Doorbells(db).sweep()

    assert bells(db) == []
    assert worker.claim() == []


def test_a_cancelled_request_leaves_nothing(db: str, boss: BusClient, worker: BusClient) -> None:
    cancel_once(boss, lambda: bells(db), timeout_s=60)

    assert worker.claim() == []
    assert bells(db) == []


def test_a_request_whose_answer_comes_as_it_is_cancelled_leaves_nothing(
    boss: BusClient, worker: BusClient, foreign: Foreign
) -> None:
    def answered() -> bool:
        return any(worker.reply(msg, "answer") and worker.ack(msg.id) is None for msg in worker.claim())

    with suppress(AssertionError):  # the wait may have ended before
        cancel_once(boss, answered, timeout_s=1)

    # `peers` would not show an answer at the private reply address.
    wait_until(lambda: not foreign.execute("SELECT * FROM pending"), "the end of the answer")


@pytest.mark.parametrize("method", ["request", "request_async"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_request_and_leaves_nothing(
    db: str, boss: BusClient, worker: BusClient, spawn: Spawn, method: str, number: signal.Signals
) -> None:
    asker = Actor(spawn("actor", db, "asker:s"))
    asker.begin(method, "worker:s", "ask", timeout_s=60)
    wait_for_the_bell_of(db, wait_until(lambda: worker.inbox(peek=True), "the request")[0])

    asker.program.signal(number)

    if number == signal.SIGINT:
        assert asker.error()["error"][0] == "KeyboardInterrupt"
    else:
        assert asker.program.wait() == 143
    assert (worker.claim(), bells(db)) == ([], [])


def test_an_exception_of_the_bus_at_the_send_leaves_nothing(boss: BusClient) -> None:
    for to, error in (("nobody:*", "no registered address matches"), ("bad", "no ':'")):
        with pytest.raises(RavenError, match=error):
            boss.request(to, "ask")


@pytest.mark.parametrize("method", ["request", "request_async"])
def test_a_request_waits_for_the_end_of_another_writer(
    db: str, boss: BusClient, worker: BusClient, spawn: Spawn, method: str
) -> None:
    holder = spawn("lock_holder", db)
    holder.read()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, boss, method)
        with pytest.raises(TimeoutError):
            asking.result(0.3)
        holder.ask(None)

        msg = wait_until(worker.claim, "the request")[0]
        worker.reply(msg, "answer")
        worker.ack(msg.id)

        assert asking.result(DEADLINE_S).reply_to == msg.id
