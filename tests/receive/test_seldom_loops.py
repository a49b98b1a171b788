"""Loops in what seldom happens to them: ended while they fetch, no thread for a lease, another writer for too long."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from raven import BusClient, BusyError, ExpiredError
from raven.delivery.mailbox import Lease
from raven.model.leases import Room
from raven.receive.lease_renewal import Renewal
from tests.looping import Loop
from tests.support import DEADLINE_S, NEVER_POLLS_S, wait_for_waiting, wait_until, waiting

Connect = Callable[..., BusClient]


@contextmanager
def no_threads() -> Iterator[None]:
    """Let this process start no thread: no address space has room for a stack of that size."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


def is_inside(thread: threading.Thread, *functions: str) -> bool:
    """Whether a thread is inside all of these functions just now."""
    frame, names = sys._current_frames().get(thread.ident or 0), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names.issuperset(functions)


@pytest.mark.parametrize(("ack", "handed_out"), [("auto", ["sent"]), ("manual", [])])
def test_a_loop_that_is_ended_while_it_fetches_gives_back_what_it_does_not_hand_out(
    db: str, connect: Connect, ack: str, handed_out: list[str]
) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    loop = Loop(worker, "listen", ack=ack, poll_interval_s=NEVER_POLLS_S)
    [feed] = worker._feeds
    seen = loop.collect()
    assert loop._thread
    thread = loop._thread
    wait_until(lambda: is_inside(thread, "wait"), "the loop")
    wait_for_waiting(db, "worker:s")

    with worker.impatient():  # holds the connection
        boss.send("worker:s", "note", "sent")
        waits_in = ("_acquire_to_read", "__enter__")  # to look first, or to fetch at once
        wait_until(lambda: any(is_inside(thread, "next", name) for name in waits_in), "the fetch")
        feed.release()
    thread.join(DEADLINE_S)

    assert not thread.is_alive()
    assert [boss.read(id).body for id in seen] == handed_out
    assert [message.body for message in worker.claim()] == (["sent"] if not handed_out else [])
    loop.close()


def test_an_async_loop_that_is_closed_by_hand_hands_out_no_more(db: str, connect: Connect) -> None:
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


def test_a_loop_that_finds_no_thread_to_renew_its_leases_says_so_and_goes_on(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    worker = connect("worker:s")
    worker.send("worker:s", "note", "leased")
    loop = Loop(worker, "listen", ack="manual", poll_interval_s=NEVER_POLLS_S)

    with no_threads(), caplog.at_level(logging.WARNING, logger="raven"):
        message = next(loop)
    loop.close()

    assert message.body == "leased"
    assert ["no thread can renew the leases" in record.message for record in caplog.records] == [True]
    assert [again.attempts for again in worker.claim()] == [2]


def test_a_loop_that_waits_for_room_is_rung_when_a_renewal_finds_that_a_lease_is_lost(connect: Connect) -> None:
    worker = connect("worker:s")
    room, rung, addresses = Room(), threading.Event(), list[str]()
    room.ids.add(42)
    room.is_awaited = True

    def ring(waited_for: object) -> None:
        addresses.extend(waited_for)
        rung.set()

    renewal = Renewal(worker._store, "worker:s", Lease(7, 0.03), room, ring)

    assert rung.wait(DEADLINE_S)
    assert addresses == ["worker:s"]
    assert not room.ids
    renewal.end()
    renewal._thread.join(DEADLINE_S)


def test_a_subscription_that_acks_what_it_fetches_has_nothing_more_to_take(connect: Connect) -> None:
    worker = connect("worker:s")
    sent = worker.send("worker:s", "note")
    subscription = worker.subscription(ack="auto")
    assert [message.id for message in subscription.fetch(10)] == [sent.id]

    subscription.take(sent.id)

    assert [receipt.state for receipt in worker.receipts(sent.id)] == ["acked"]
    subscription.close()


def test_once_one_of_many_has_answered_nobody_else_begins(connect: Connect) -> None:
    boss, quick, slow = connect("boss:s"), connect("quick:s"), connect("slow:s")
    question = boss.question(["quick:s", "slow:s"], "ask", timeout_s=30)
    question.post()
    [asked] = quick.claim()
    quick.reply(asked, "answer")

    question.spare_others()

    assert slow.claim() == []


def test_nobody_waits_for_the_answer_to_a_request_that_is_there_no_more(connect: Connect) -> None:
    boss, worker = connect("boss:s"), connect("worker:s")
    question = boss.question("worker:s", "ask", timeout_s=30)
    question.post()
    [asked] = worker.claim()
    worker.ack(asked.id)
    boss.send("worker:s", "note")  # the newest is never dropped
    assert boss.prune(0).messages == 1

    with pytest.raises(ExpiredError, match="nobody waits for it any more"):
        worker.reply(asked, "answer")


def test_what_is_given_back_without_a_delay_is_ready_at_once(connect: Connect) -> None:
    worker = connect("worker:s")
    worker.send("worker:s", "note")
    [first] = worker.claim()

    assert worker.nack(first.id, delay_s=None) == "delivered"

    assert [again.id for again in worker.claim()] == [first.id]
