"""Clients of the file and of the socket, unchanged, on two linked hosts: each call does what it does on one host."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from raven import BusClient, LeaseLostError, Message, UndeliveredError, WaitTimeoutError
from raven_rpc import Client
from scripts.harness.deadline import DEADLINE_S, wait_until
from tests.linked_hosts import Realm, Worker, take, wait_for_peer
from tests.thread_server import ServedHere

NUMBERS = itertools.count()


class Pair(NamedTuple):
    """A boss on alpha and a worker on beta who know of each other; `more` makes other clients of their session."""

    boss: Any
    worker: Any
    more: Callable[..., Any]
    session: str


@pytest.fixture(scope="module")
def sockets(linked: Realm) -> Iterator[dict[str, str]]:
    """Serve the buses of both hosts."""
    with ExitStack() as stack:
        served = {host: ServedHere(linked.db(host)) for host in ("alpha", "beta")}
        for server in served.values():
            stack.callback(server.close)
        yield {host: server.path for host, server in served.items()}


@pytest.fixture(params=["file to socket", "socket to file"])
def pair(linked: Realm, sockets: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Return the pair of a session of its own."""
    ways = dict(zip(("alpha", "beta"), request.param.split(" to "), strict=True))
    session = f"s{next(NUMBERS)}"
    with ExitStack() as stack:

        def more(host: str, role: str) -> Any:
            address = f"{role}:{session}"
            by_socket = ways[host] == "socket"
            client = Client(sockets[host], address) if by_socket else BusClient.at(address, linked.db(host))
            stack.callback(client.close)
            client.register(address)
            return client

        pair = Pair(more("alpha", "boss"), more("beta", "worker"), more, session)
        wait_for_peer(pair.boss, pair.worker.address)
        wait_for_peer(pair.worker, pair.boss.address)
        yield pair


def test_replies_make_one_thread_on_both_hosts_with_the_ids_of_each(pair: Pair) -> None:
    task = pair.boss.send(
        pair.worker.address, "task", {"ä": [1.5, None]}, correlation_id=f"c-{pair.session}", task_id="t", tags=["x"]
    )
    [taken] = take(pair.worker)
    answer = pair.worker.reply(taken, "answer", "done")
    [answered] = take(pair.boss)
    pair.boss.reply(answered, "thanks")
    [thanked] = take(pair.worker)

    assert (taken.body, taken.tags) == ({"ä": [1.5, None]}, ("x",))
    assert (answered.reply_to, answered.task_id, answered.sender) == (task.id, "t", pair.worker.address)
    assert thanked.reply_to == answer.id
    for client, first in ((pair.boss, task.id), (pair.worker, taken.id)):
        assert [message.type for message in client.thread(first)] == ["task", "answer", "thanks"]
        assert [message.type for message in client.history(f"c-{pair.session}")] == ["task", "answer", "thanks"]


def test_both_kinds_of_subscription_receive_and_a_release_comes_again(pair: Pair) -> None:
    def send(*numbers: int) -> list[Message]:
        return pair.boss.send_many([{"to": pair.worker.address, "type": "task", "body": n} for n in numbers])

    sent = send(0, 1, 2)

    async def consume() -> tuple[list[int], list[tuple[int, int]]]:
        at_most_once: list[int] = []
        at_least_once: list[tuple[int, int]] = []
        async for message in pair.worker.subscribe(timeout_s=DEADLINE_S, max_per_poll=1):
            at_most_once.append(message.body)
            if len(at_most_once) == 3:
                break
        sent.extend(send(3, 4, 5))
        async for message in pair.worker.subscribe(ack="manual", timeout_s=DEADLINE_S, max_per_poll=1):
            at_least_once.append((message.body, message.attempts))
            if message.body == 4 and message.attempts == 1:
                pair.worker.nack(message.id, reason="once more")
                continue
            pair.worker.ack(message.id)
            if message.body == 5:
                break
        return at_most_once, at_least_once

    assert asyncio.run(consume()) == ([0, 1, 2], [(3, 1), (4, 1), (4, 2), (5, 1)])
    receipts = [pair.boss.wait_receipt(message.id, timeout_s=DEADLINE_S)[0] for message in sent]
    assert [receipt.attempts for receipt in receipts] == [1, 1, 1, 1, 2, 1]
    assert {receipt.host for receipt in receipts} == {"beta"}
    assert receipts[4].reason == "once more"


def test_a_lease_that_ends_gives_the_message_to_another_consumer_of_that_host(pair: Pair) -> None:
    sent = pair.boss.send(pair.worker.address, "task")
    [late] = wait_until(lambda: pair.worker.claim(lease_s=0.05), "the message is on beta")
    other = pair.more("beta", "worker")
    [again] = wait_until(lambda: other.claim(lease_s=60), "the lease has ended")

    with pytest.raises(LeaseLostError):
        pair.worker.ack(late.id)
    other.ack(again.id)

    [receipt] = pair.boss.wait_receipt(sent.id, timeout_s=DEADLINE_S)
    assert (receipt.state, receipt.attempts) == ("acked", 2)


def test_requests_are_answered_in_both_directions_at_once(pair: Pair) -> None:
    boss, worker = (Worker(pair.more(host, role)) for host, role in (("alpha", "oracle"), ("beta", "sage")))
    for client, other in ((pair.boss, worker), (pair.worker, boss)):
        wait_for_peer(client, other.bus.address)

    async def ask() -> list[Any]:
        asked = [
            client.request_async(other.bus.address, "question", n, timeout_s=DEADLINE_S)
            for client, other in ((pair.boss, worker), (pair.worker, boss))
            for n in range(3)
        ]
        return [reply.body for reply in await asyncio.gather(*asked)]

    try:
        assert asyncio.run(ask()) == [{"answer": n} for n in (0, 1, 2, 0, 1, 2)]
        assert pair.boss.request(worker.bus.address, "question", 7, timeout_s=DEADLINE_S).body == {"answer": 7}
    finally:
        worker.end()
        boss.end()


def test_what_expires_on_the_other_host_or_is_withdrawn_ends_on_both_and_is_reported(pair: Pair) -> None:
    message = pair.boss.send(pair.worker.address, "task", expires_in_s=4, report="undelivered")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(pair.boss.request, pair.worker.address, "question", timeout_s=4)
        wait_until(lambda: len(pair.worker.inbox(peek=True)) == 2, "both are on beta")

        with pytest.raises(UndeliveredError, match="expired"):
            pair.boss.wait_receipt(message.id, timeout_s=DEADLINE_S)
        with pytest.raises(WaitTimeoutError):
            asked.result(DEADLINE_S)

    [report] = take(pair.boss)
    assert (report.type, report.reply_to) == ("raven.undelivered", message.id)
    wait_until(lambda: not pair.worker.inbox(peek=True), "both have ended on beta")


def test_a_dead_message_is_dead_on_both_hosts_and_requeued_on_the_receiving_one(pair: Pair) -> None:
    message = pair.boss.send(pair.worker.address, "task", max_attempts=1)
    [claimed] = wait_until(pair.worker.claim, "the message is on beta")
    pair.worker.nack(claimed.id, reason="no such thing")
    [letter] = wait_until(lambda: pair.boss.dead(pair.worker.address), "it is dead on alpha")
    assert (letter.id, letter.reason) == (message.id, "no such thing")
    assert [dead.id for dead in pair.worker.dead(pair.worker.address)] == [claimed.id]

    assert pair.worker.requeue(claimed.id) == 1
    assert take(pair.worker)[0].id == claimed.id

    wait_until(lambda: pair.boss.receipts(message.id)[0].state == "acked", "alpha has heard of it")
    assert not pair.boss.dead(pair.worker.address)


def test_a_delayed_message_leaves_at_its_time_and_a_deduplicated_one_once(pair: Pair) -> None:
    later = pair.boss.send(pair.worker.address, "later", delay_s=1.5)
    first, second = (pair.boss.send(pair.worker.address, "once", n, dedup_key="k") for n in range(2))
    assert (second.id, second.duplicate) == (first.id, True)

    taken = take(pair.worker, 2)

    assert [(message.type, message.body) for message in taken] == [("once", 0), ("later", None)]
    receipts = [pair.boss.wait_receipt(message.id, timeout_s=DEADLINE_S)[0] for message in (later, first)]
    assert (receipts[0].finished_at - later.created_at).total_seconds() > 1.4


def test_a_transaction_sends_and_acks_across_hosts_as_a_whole_or_not_at_all(pair: Pair) -> None:
    for fails in (True, False):
        try:
            with pair.boss.transaction() as tx:
                for n in range(3):
                    tx.send(pair.worker.address, "task", [fails, n])
                assert not fails
        except AssertionError:
            continue
    taken = wait_until(lambda: (got := pair.worker.claim(max=3, lease_s=60)) and got, "the messages are on beta")
    while len(taken) < 3:
        taken += wait_until(lambda: pair.worker.claim(max=3, lease_s=60), "the rest is on beta")
    for fails in (True, False):
        try:
            with pair.worker.transaction() as tx:
                for message in taken:
                    tx.reply(message, "answer", [fails, message.body[1]])
                    tx.ack(message.id)
                assert not fails
        except AssertionError:
            continue

    assert [message.body for message in taken] == [[False, n] for n in range(3)]
    assert [message.body for message in take(pair.boss, 3)] == [[False, n] for n in range(3)]
    assert not pair.worker.inbox(peek=True)


def test_a_broadcast_counts_the_agents_of_both_hosts_and_a_sender_sees_that_one_waits_there(pair: Pair) -> None:
    near, far = Worker(pair.more("alpha", "near")), Worker(pair.more("beta", "far"))
    try:
        wait_for_peer(pair.boss, far.bus.address)
        wait_until(lambda: pair.boss.send(far.bus.address, "ping").waiting[far.bus.address], "a loop waits on beta")

        message = pair.boss.send(f"*:{pair.session}", "note", "to all")

        expected = [far.bus.address, near.bus.address, pair.worker.address]
        assert sorted(pair.boss.recipients(message.id)) == expected
        assert [got.body for got in take(pair.worker)] == ["to all"]

        async def receipts() -> dict[str, str | None]:
            acked = await pair.boss.wait_receipt_async(message.id, timeout_s=DEADLINE_S)
            return {receipt.recipient: receipt.host for receipt in acked}

        assert asyncio.run(receipts()) == dict(zip(expected, ("beta", None, "beta"), strict=True))
    finally:
        near.end()
        far.end()


def test_an_agent_whose_answer_is_here_is_reached_by_a_broadcast(linked: Realm) -> None:
    boss = linked.bus("alpha", "boss:new")
    for n in range(4):
        address = f"worker-{n}:new"
        boss.send(address, "question")
        worker = linked.worker("beta", address)
        assert take(boss)[0].sender == address

        assert address in boss.recipients(boss.send("*:new", "note").id)

        worker.end()
