"""A host without sockets and JSON: its test sink gets the messages, requests are deferred, writes share a commit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from raven import BusClient, Message, MessageNotFoundError
from raven.host.deferred import DeferredSet
from raven.host.host import Host
from raven.host.limits import WaitQuota
from raven.host.subscriptions import Subscriptions
from raven.host.worker import Outcome
from raven.model.status import Receipt
from raven.query.receipts import ReceiptPoller
from tests.support import DEADLINE_S

Connect = Callable[..., BusClient]
WORKER = "worker:s"


class Consumer:
    """A sink that keeps the messages, with its subscriptions and deferred requests."""

    def __init__(self, host: Host) -> None:
        self.is_full = False
        self.came: asyncio.Queue[tuple[int, Message]] = asyncio.Queue()
        self.ended: asyncio.Queue[tuple[int, str, Exception | None]] = asyncio.Queue()
        self.was_idle = 0
        self.subscriptions = Subscriptions(host, self)
        self.deferred = DeferredSet(host, self)

    def unsent_bytes(self) -> int:
        return self.came.qsize()

    def has_room(self) -> bool:
        return not self.is_full

    def encode(self, subscription: int, messages: Sequence[Message], leased_until: int | None = None) -> bytes:
        return b"%d" % subscription

    def write(self, text: bytes, messages: Sequence[Message]) -> None:
        for message in messages:
            self.came.put_nowait((int(text), message))

    def end(self, subscription: int, reason: str, error: Exception | None = None) -> None:
        self.ended.put_nowait((subscription, reason, error))

    def on_idle(self) -> None:
        self.was_idle += 1

    async def next(self) -> tuple[int, Any]:
        number, message = await asyncio.wait_for(self.came.get(), DEADLINE_S)
        return number, message.body

    def read_on(self) -> None:
        self.is_full = False
        self.subscriptions.resume()
        self.deferred.resume()

    def close(self) -> None:
        self.deferred.close()
        self.subscriptions.close()


@asynccontextmanager
async def hosting(db: str, **options: Any) -> AsyncIterator[tuple[Host, Consumer]]:
    """Host a bus, with one consumer."""
    host = Host(db, **options)
    host.start(asyncio.get_running_loop(), 100, lambda: None)
    consumer = Consumer(host)
    try:
        yield host, consumer
    finally:
        consumer.close()
        assert await host.end(DEADLINE_S)


async def done(submit: Callable[..., None], *arguments: Any) -> Outcome:
    """Submit a job and return its outcome."""
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    submit(*arguments, future.set_result)
    return await asyncio.wait_for(future, DEADLINE_S)


def test_a_sink_is_pushed_the_mail_of_an_address_and_the_log_as_they_come(db: str, connect: Connect) -> None:
    boss = connect("boss:s")
    boss.send(WORKER, "note", "before")

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            mail = consumer.subscriptions.add_mail(host.for_address(WORKER), "auto", 64)
            mail.poller.start()
            assert await consumer.next() == (mail.number, "before")
            log = consumer.subscriptions.add_log(host.reader_bus.log(2), follow=True)
            log.poller.start()

            boss.send(WORKER, "note", "after")

            assert sorted([await consumer.next(), await consumer.next()]) == [(mail.number, "after"), (2, "after")]
            assert host.pushed == 3

    asyncio.run(run())
    assert [boss.read(id).state for id in (1, 2)] == ["acked", "acked"]


def test_a_window_is_filled_again_by_acks_and_the_rest_is_released_at_the_end(db: str, connect: Connect) -> None:
    boss = connect("boss:s")
    boss.send_many([{"to": WORKER, "type": "job", "body": number} for number in range(4)])

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            worker = host.for_address(WORKER)
            consumer.subscriptions.add_mail(worker, "manual", 2).poller.start()
            assert [await consumer.next() for _ in range(2)] == [(1, 0), (1, 1)]
            assert len(host.unacked) == 2

            await done(host.writer.submit, partial(worker.ack, 1))
            host.unacked.release(WORKER, 1)

            assert await consumer.next() == (1, 2)
            assert consumer.came.empty()

    asyncio.run(run())
    assert [message.body for message in connect(WORKER).claim(10)] == [1, 2, 3]


def test_nothing_is_taken_for_a_sink_that_is_full_until_it_reads_on(db: str, connect: Connect) -> None:
    boss = connect("boss:s")

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            consumer.is_full = True
            consumer.subscriptions.add_mail(host.for_address(WORKER), "auto", 64).poller.start()
            boss.send(WORKER, "note", "kept in the store")
            await done(host.reader.submit, lambda: None)
            await done(host.writer.submit, lambda: None)
            assert boss.read(1).state == "sent"

            consumer.read_on()

            assert await consumer.next() == (1, "kept in the store")

    asyncio.run(run())


def test_a_log_that_is_not_followed_ends_with_its_last_message(db: str, connect: Connect) -> None:
    connect("boss:s").send(WORKER, "note", 1)

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            consumer.subscriptions.add_log(host.reader_bus.log(), follow=False).poller.start()
            assert await consumer.next() == (1, 1)
            assert await asyncio.wait_for(consumer.ended.get(), DEADLINE_S) == (1, "done", None)
            assert (len(consumer.subscriptions), consumer.was_idle) == (0, 1)

    asyncio.run(run())


def test_a_subscription_that_ended_while_messages_were_fetched_for_it_tells_when_none_are_left(
    db: str, connect: Connect
) -> None:
    boss = connect("boss:s")

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            mail = consumer.subscriptions.add_mail(host.for_address(WORKER), "auto", 64)
            boss.send(WORKER, "note", "acked already")
            mail.poller.start()

            consumer.subscriptions.remove(mail.number)

            assert (consumer.subscriptions.is_fetching(), consumer.was_idle) == (True, 0)
            assert await consumer.next() == (1, "acked already")
            assert (consumer.subscriptions.is_fetching(), consumer.was_idle) == (False, 1)

    asyncio.run(run())


def test_a_question_and_receipts_are_waited_for_and_give_their_places_back(db: str, connect: Connect) -> None:
    oracle = connect("oracle:s")

    async def run() -> None:
        async with hosting(db) as (host, consumer):
            outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
            pending = host.for_address("boss:s").pending_request("oracle:s", "ask", timeout_s=DEADLINE_S)
            consumer.deferred.reserve()
            sent = (await done(host.writer.submit, pending.send)).value
            poller = ReceiptPoller(lambda: host.reader_bus.receipts(sent.id), sent.id)
            consumer.deferred.reserve()
            encoded: list[object] = []
            start = partial(consumer.deferred.start, done=outcomes.put_nowait, encode=encoded.append)
            start(consumer.deferred.for_reply(pending, DEADLINE_S))
            start(consumer.deferred.for_receipts(poller, sent.id, DEADLINE_S))
            assert (len(consumer.deferred), outcomes.qsize()) == (2, 0)

            [asked] = oracle.claim()
            oracle.reply(asked, "answer", 42)
            oracle.ack(asked.id)

            ended = [await asyncio.wait_for(outcomes.get(), DEADLINE_S) for _ in range(2)]
            answer = next(one.value for one in ended if isinstance(one.value, Message))
            receipts = next(one.value for one in ended if isinstance(one.value, list))
            assert (answer.body, answer.state) == (42, "acked")
            assert answer in encoded
            assert receipts in encoded
            assert [(type(one), one.state) for one in receipts] == [(Receipt, "acked")]
            assert len(consumer.deferred) == 0

    asyncio.run(run())


def test_writes_of_one_turn_share_a_commit_and_fail_alone(db: str, connect: Connect) -> None:
    async def run() -> None:
        async with hosting(db) as (host, _):
            a, b = host.for_address("a:s"), host.for_address("b:s")
            steps = [partial(a.send, "c:s", "note", 1), partial(a.ack, 99), partial(b.send, "c:s", "note", 2)]
            before = host.writer.commits

            first, lost, last = await asyncio.gather(*(done(host.writer.submit, step) for step in steps))

            assert (first.value.body, type(lost.error), last.value.body) == (1, MessageNotFoundError, 2)
            assert host.writer.commits == before + 1

    asyncio.run(run())
    assert [message.body for message in connect("c:s").claim(10)] == [1, 2]


def test_a_tick_tells_whether_another_has_written(db: str, connect: Connect) -> None:
    boss = connect("boss:s")

    async def run() -> None:
        async with hosting(db) as (host, _):
            seen: asyncio.Queue[bool] = asyncio.Queue()

            async def tick() -> bool:
                host.tick(seen.put_nowait)
                return await asyncio.wait_for(seen.get(), DEADLINE_S)

            await tick()
            while await tick():  # its own upkeep may have written
                pass
            boss.send(WORKER, "note")
            assert await tick()

    asyncio.run(run())


def test_a_wait_is_counted_once_and_can_be_released() -> None:
    quota = WaitQuota(1)
    quota.acquire()

    with pytest.raises(Exception, match="which is the limit: try again"):
        quota.acquire()

    quota.release()
    quota.acquire()


def test_a_host_needs_neither_the_server_nor_a_socket() -> None:
    program = "import sys; from raven.host import deferred, host, subscriptions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"raven_rpc", "jsonrpcserver", "pydantic", "asyncio"} & set(loaded)
