"""Cancelled requests: no recipient can claim a withdrawn request, or reply to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from raven import BusClient, ClosedError, ExpiredError, Message, RavenError, UndeliveredError, WaitTimeoutError
from raven.host.bus import HostedBus
from raven.wake.doorbell import receipt_address
from scripts.harness.deadline import Limit
from tests.client_process import Actor
from tests.support import DEADLINE_S, Foreign, Program, wait_for_waiting, wait_until

Connect = Callable[..., BusClient]
Hosted = Callable[..., HostedBus]
Spawn = Callable[..., Program]
AT_ONCE_S = Limit(0.6)


@pytest.fixture
def boss(connect: Connect) -> BusClient:
    return connect("boss:s")


@pytest.fixture
def worker(connect: Connect) -> BusClient:
    return connect("worker:s")


def ask(bus: BusClient, method: str, **options: Any) -> Message:
    came = getattr(bus, method)("worker:s", "ask", **options)
    return asyncio.run(came) if asyncio.iscoroutine(came) else came


def give_up_while_held(boss: BusClient, worker: BusClient, lease_s: float = 60) -> Message:
    """Cancel a request after its recipient has claimed it, long before its timeout; returns the request."""

    async def run() -> Message:
        task = asyncio.create_task(boss.request_async("worker:s", "ask", timeout_s=60))
        async with asyncio.timeout(DEADLINE_S):
            while not (held := worker.claim(lease_s=lease_s)):
                await asyncio.sleep(0.002)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return held[0]

    return asyncio.run(run())


def test_an_answer_to_a_request_that_was_cancelled_is_refused(boss: BusClient, worker: BusClient) -> None:
    held = give_up_while_held(boss, worker)

    with pytest.raises(ExpiredError):
        worker.reply(held, "answer")

    assert boss.last_id() == held.id


def test_a_cancelled_request_does_not_come_back_when_its_lease_ends(boss: BusClient, worker: BusClient) -> None:
    held = give_up_while_held(boss, worker, lease_s=0.05)

    wait_until(lambda: not boss.receipts(held.id)[0].leased, "the end of the lease")

    assert worker.claim() == []


def test_a_wait_for_the_receipts_of_a_cancelled_request_ends_at_once(
    db: str, boss: BusClient, worker: BusClient, spawn: Spawn
) -> None:
    asker = Actor(spawn("actor", db, "asker:s"))
    asker.begin("request", "worker:s", "ask", timeout_s=60)
    asked = wait_until(lambda: worker.inbox(peek=True), "the request")[0]
    wait_for_waiting(db, str(asked.reply_address))
    moments: list[float] = []

    def wait() -> None:
        try:
            boss.wait_receipt(asked.id, timeout_s=20)
        finally:
            moments.append(time.monotonic())

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        wait_for_waiting(db, receipt_address(asked.id))
        asker.program.signal(2)
        given_up_at = asker.error()["at"]
        with pytest.raises(UndeliveredError):
            waiting.result(DEADLINE_S)

    assert moments[0] - given_up_at < AT_ONCE_S


def test_closing_a_client_ends_its_requests_at_once_and_says_so(db: str, boss: BusClient, worker: BusClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(boss.request, "worker:s", "ask", timeout_s=20)
        asked = wait_until(lambda: worker.inbox(peek=True), "the request")[0]
        wait_for_waiting(db, str(asked.reply_address))
        closed_at = time.monotonic()
        boss.close()
        with pytest.raises(ClosedError):
            asking.result(DEADLINE_S)

    assert time.monotonic() - closed_at < AT_ONCE_S
    assert worker.claim() == []


@pytest.mark.parametrize("expires_in_s", [None, 3600])
def test_no_answer_outlives_its_request(
    db: str, worker: BusClient, spawn: Spawn, foreign: Foreign, expires_in_s: float | None
) -> None:
    asker = Actor(spawn("actor", db, "asker:s"))
    asker.begin("request", "worker:s", "ask", timeout_s=0.7)
    asked = wait_until(worker.claim, "the request")[0]
    worker.ack(asked.id)
    asker.program.kill()

    worker.reply(asked, "answer", expires_in_s=expires_in_s)

    wait_until(lambda: not foreign.execute("SELECT * FROM pending"), "the end of the answer", timeout_s=2)


def test_the_event_loop_goes_on_while_a_request_waits_for_another_writer(
    db: str, connect: Connect, spawn: Spawn
) -> None:
    boss = connect("boss:s", busy_timeout_s=2)
    holder = spawn("lock_holder", db)
    holder.read()
    gaps: list[float] = []

    async def run() -> None:
        task = asyncio.create_task(boss.request_async("worker:s", "ask", timeout_s=1.5))
        began = last = time.monotonic()
        while time.monotonic() - began < 1:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
        holder.tell()
        with suppress(RavenError):
            await task

    asyncio.run(run())

    assert max(gaps) < Limit(0.5)


@pytest.mark.parametrize("method", ["request", "request_async"])
def test_a_timeout_is_a_timeout_though_another_writer_is_in_the_way(
    db: str, connect: Connect, worker: BusClient, spawn: Spawn, method: str
) -> None:
    boss = connect("boss:s", busy_timeout_s=0.5)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, boss, method, timeout_s=1)
        wait_until(lambda: worker.inbox(peek=True), "the request")
        spawn("lock_holder", db).read()

        with pytest.raises(WaitTimeoutError):
            asking.result(DEADLINE_S)


def test_after_the_first_reply_no_other_recipient_can_claim_the_request(hosted: Hosted) -> None:
    boss, quick, slow = hosted("boss:s"), hosted("quick:s"), hosted("slow:s")
    pending = boss.pending_request(["quick:s", "slow:s"], "ask", timeout_s=30)
    pending.send()
    [asked] = quick.claim()
    quick.reply(asked, "answer")

    pending.cancel_others()

    assert slow.claim() == []


def test_a_reply_to_a_pruned_request_is_refused(hosted: Hosted) -> None:
    boss, worker = hosted("boss:s"), hosted("worker:s")
    pending = boss.pending_request("worker:s", "ask", timeout_s=30)
    pending.send()
    [asked] = worker.claim()
    worker.ack(asked.id)
    boss.send("worker:s", "note")  # the newest message is never pruned
    assert boss.prune(0, grace_s=0).kept == 1  # its sender waits
    pending.withdraw()
    assert boss.prune(0, grace_s=0).messages == 1

    with pytest.raises(ExpiredError, match="its sender no longer waits"):
        worker.reply(asked, "answer")
